"""The report's figures, plots and both its forms, from rows as runs leave them."""

from __future__ import annotations

import html.parser
import re
import time
import tracemalloc
import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from fabricated import record_of
from fabricated_measures import measured_table
from markdown_it import MarkdownIt

from catalogs.codes import CODES
from catalogs.records import Record, to_table
from catalogs.run_report import About, RunReport
from catalogs.run_report_columns import Columns
from catalogs.run_report_figures import RunFigures, figures_of, run_figures
from catalogs.run_report_quality import quality_of
from catalogs.run_report_text import as_markdown, duration, money, percent
from catalogs.safe_text import on_one_line
from catalogs.store import Store

ABOUT = About(
    title="Works",
    planned={None: 4},
    items=4,
    configuration="catalog: in\noutput: out\n",
    seed=7,
    written_at="2026-01-02T03:04:05.000000Z",
)
TIMES = {"t_fetch": 1.0, "t_proxy": 10.0, "t_distill": 100.0, "t_upload": 3489.0}


def records() -> list[Record]:
    """Two done works, a failed one, one set aside."""
    gpu = {"device": "cuda:0", "peak_memory": 2 * 2**30, "duration": 2.0, "artist": "Van_Eyck"}
    return [
        record_of(
            "a", title="Slow", **TIMES, **gpu, flag="good", motion=0.01, prompt_source="user"
        ),
        record_of("b", t_fetch=3.0, **{**gpu, "artist": "Anna"}, flag="static", motion=0.03),
        record_of("c", status="failed", code="too_large", message="too many pixels", outputs=()),
        record_of("d", status="quarantined", code="worker_killed", message="3 died", outputs=()),
    ]


def report_of(rows: list[Record], **about: Any) -> RunReport:
    planned = {"planned": {None: len(rows)}, "items": len(rows), **about}
    return RunReport(to_table(rows), replace(ABOUT, **planned), lambda keys: {})


class Text(html.parser.HTMLParser):
    """The elements of a page, and what it shows between them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.parts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.parts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.parts).split())


def rendered(text: str) -> str:
    """Markdown as HTML, raw HTML let through, as the laxest reader would."""
    return MarkdownIt("commonmark", {"html": True}).enable("table").render(text)


# -- figures


def test_states_times_and_failures_are_counted() -> None:
    figures = figures_of(Columns(to_table(records())), {None: 6})
    assert figures.states == {"done": 2, "failed": 1, "quarantined": 1, "pending": 2}
    stages = {stage.name: stage for stage in figures.stages}
    assert stages["t_fetch"].seconds == 4.0
    assert stages["t_fetch"].works == 2
    assert stages["t_fetch"].median == 2.0
    assert stages["t_fetch"].p95 == pytest.approx(2.9)
    assert "t_prepare" not in stages
    assert sum(stage.share for stage in figures.stages) == pytest.approx(1)
    assert figures.seconds == 3603.0
    assert figures.gpu_seconds == 110.0  # what is computed, not what is fetched or stored
    assert figures.video_seconds == 4.0
    assert [(f.about.code, f.works) for f in figures.failures] == [
        ("too_large", 1),
        ("worker_killed", 1),
    ]
    assert figures.failures[0].about is CODES["too_large"]
    assert figures.failures[0].examples[0].message == "too many pixels"
    assert [(one.item, one.stage) for one in figures.slowest] == [
        ("a", "t_upload"),
        ("b", "t_fetch"),
    ]
    assert figures.lists["Devices"] == [("cuda:0", 2), ("not known", 2)]
    assert figures.numbers["peak GPU memory"] == 2 * 2**30


def test_a_run_is_what_it_set_out_with_and_ended() -> None:
    rows = [*records(), record_of("e", attempt=2, status="failed", code="dns", outputs=())]
    begun = {rows[0].key: 1, rows[2].key: 1, rows[4].key: 3, "never ended": 1}
    run = run_figures(Columns(to_table(rows)), begun, run_id="r", ended_at="2026", seconds=7200)
    # e was to be tried a third time and has not been: what stands is of an earlier run.
    assert run.works == 4
    assert run.counts == {"done": 1, "failed": 1}
    assert run.codes == {"too_large": 1}
    assert run.stage_seconds == TIMES
    assert (run.gpu_seconds, run.video_seconds) == (110.0, 2.0)
    assert run.per_hour == 1.0


def test_only_so_many_categories_are_told_apart() -> None:
    rows = [record_of(f"w{i}", style=f"s{i % 20}" if i % 7 else None) for i in range(140)]
    quality = quality_of(Columns(to_table(rows)))
    groups = quality.groups["style"]
    assert [group.label for group in groups[-2:]] == ["8 others", "not known"]
    assert len(groups) == 14
    assert sum(group.works for group in groups) == 140
    assert groups[-1].works == 20


def test_values_that_are_none_are_left_out() -> None:
    values = [0.01, float("nan"), float("inf"), None]
    rows = [record_of(f"w{i}", motion=value, style="S") for i, value in enumerate(values)]
    rows.append(record_of("other", style="T"))
    group, other = quality_of(Columns(to_table(rows))).groups["style"]
    assert other.spreads["motion"].median is None
    assert group.works == 4
    assert group.spreads["motion"].points == (1.0,)  # in percent
    assert group.spreads["drift"].median is None


def test_an_empty_collection_has_a_report() -> None:
    report = report_of([], planned={None: 3}, items=3)
    assert "3" in report.html()
    assert "<svg" not in report.html()
    assert "Videos" not in report.markdown()


# -- the page


def test_the_page_says_what_there_is() -> None:
    run = RunFigures(
        run_id="r",
        ended_at=ABOUT.written_at,
        seconds=1800,
        works=3,
        counts={"done": 2},
        codes={},
        stage_seconds={},
        gpu_seconds=90,
        video_seconds=4,
    )
    earlier = [run.model_copy(update={"ended_at": "2025-12-31T23:59:00Z", "seconds": 60})]
    report = report_of(
        records(),
        run=run,
        earlier=earlier,
        price_per_hour=2.0,
        currency="EUR",
        versions=[("torch", "2.13.0")],
        manifest=["manifest/parts/s.0123.parquet"],
        unsealed=2,
    )
    text = Text(report.html()).text.replace("\u00a0", " ")
    for said in (
        "Works",
        "2026-01-02 03:04 UTC",
        "This run",
        "2025-12-31 23:59 UTC",
        "too_large",
        CODES["too_large"].meaning,
        "epa retry --reason worker_killed",
        "too many pixels",
        "1 h 0 min",  # of 3603 s
        "2.00 EUR",
        "1.94 EUR",  # the upload's 3489 s
        "Van Eyck",
        "hardly moves",
        "torch 2.13.0",
        "Seed of the run: 7",
        "catalog: in",
        "2 records are not in them yet",
    ):
        assert said in text, said
    assert re.search(r"4 works an hour|works an hour 4\b", text)


def test_without_a_price_nothing_is_said_of_money() -> None:
    report = report_of(records(), currency="EUR")
    assert "EUR" not in report.html() + report.markdown()
    assert "cost" not in Text(report.html()).text


def test_the_page_asks_for_nothing_and_runs_nothing() -> None:
    page = Text(report_of(records()).html())
    for tag, attributes in page.tags:
        assert tag not in ("script", "img", "iframe", "object", "embed", "video", "form"), tag
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("href", "src", "xlink:href"):
            target = attributes.get(name) or "#"
            assert re.match(r"#|data:,|index\.html$|manifest/|videos/", target), target
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    refs = re.findall(r"(?:url\(|href=\")#([^\")]+)", report_of(records()).html())
    assert refs
    assert set(refs) <= set(ids)


@pytest.mark.parametrize(("base", "there"), [("", ""), ("../../", "../../"), (None, None)])
def test_links_lead_to_the_collection(base: str | None, there: str | None) -> None:
    table = measured_table(80)
    rows = table.select(["key", "outputs"]).to_pylist()
    paths = {row["key"]: row["outputs"][0]["path"] for row in rows if row["outputs"]}
    asked: list[str] = []

    def videos(keys: Any) -> Mapping[str, str]:
        asked.extend(keys)
        return {key: paths[key] for key in keys if key in paths}

    manifest = ["manifest/parts/s.0.parquet"]
    about = replace(ABOUT, planned={None: 80}, manifest=manifest)
    report = RunReport(table, about, videos)
    page = Text(report.html(base))
    links = [a.get("href") or "" for tag, a in page.tags if tag == "a"]
    outward = [link for link in links if not link.startswith("#")]
    written = re.findall(r"\]\(([^)]+)\)", report.markdown(base))
    assert 10 <= len(set(asked)) < 30  # those of the examples, not all there are
    if there is None:
        assert outward == written == []
        return
    assert f"{there}index.html" in outward
    assert f"{there}manifest/parts/s.0.parquet" in outward
    assert any(link.startswith(f"{there}videos/") for link in outward)
    assert any(link.startswith(f"{there}videos/") for link in written)
    slowest = report.figures.slowest[0]
    assert there + paths[slowest.key] in outward


def test_a_matrix_is_shown_by_cell() -> None:
    cells = ["variant=V", "animate.half_slerp=true"]
    rows = [
        record_of(f"w{i}", fps=i % 2 + 1, cell=cells[i % 2], motion=0.01, flag="good")
        for i in range(6)
    ]
    planned = {cells[0]: 3, cells[1]: 5}
    report = report_of(rows, planned=planned, items=4)
    assert [(cell.label, cell.states) for cell in report.figures.cells] == [
        ("variant=V", {"done": 3}),
        ("animate.half_slerp=true", {"done": 3, "pending": 2}),
    ]
    text = Text(report.html()).text
    assert "of 4 paintings" in text
    assert [group.label for group in report.quality.groups["cell"]] == cells
    assert "By cell" in text
    assert "3 done, 2 pending" in text
    row = r"| animate.half\_slerp=true | 5 | 3 done, 2 pending |"
    assert row in report.markdown()
    assert "Settings side by side" not in report_of(rows).html()


# -- plots


def test_plots_show_boxes_of_many_works_and_dots_of_few() -> None:
    many = [record_of(f"m{i}", style="Many", motion=0.01 + i / 1e4, flag="good") for i in range(40)]
    few = [record_of(f"f{i}", style="Few", motion=0.02, flag="static") for i in range(3)]
    report = report_of(many + few)
    page = report.html()
    assert page.count("<svg") == 2  # motion and flags by style; of artists there is one
    motion = next(g for g in report._groups if g.name == "style").plots[0][2]
    assert motion.count("<use") >= 3  # the dots, and marks of the axis
    assert ">Many (40)</text>" in motion
    assert ">Few (3)</text>" in motion
    assert "#" not in re.sub(r"(url\(|href=\")#", "", motion)  # every colour is the page's
    assert "var(--ink)" in motion
    assert report_of(many + few).html() == page


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "name", ["$x^{", r"$\frac{1}{0}$", "葛飾北斎 🎨", "مقهى", "_", "Z" + "\u0301" * 500]
)
def test_names_in_plots_are_text(name: str, recwarn: pytest.WarningsRecorder) -> None:
    rows = [record_of(f"w{i}", style=name, motion=0.01, flag="good") for i in range(2)]
    rows.append(record_of("other", style="other", motion=0.02))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plot = report_of(rows)._groups[0].plots[0][2]
    shown = re.findall(r">([^<>]*) \(2\)</text>", plot)
    assert len(shown) == 1
    assert len(shown[0]) <= 60
    assert name.replace("_", " ").strip()[:1] == shown[0][:1] or shown == ["not known"]


# -- Markdown


HOSTILE = {
    "markup": "<script>window.hacked=1</script>",
    "image": "![x](http://x/y.png)",
    "link": "[x](javascript:alert(1))",
    "web link": "[x](http://x.example)",
    "autolink": "<http://x.example>",
    "bare": "http://x.example www.x.example a@x.example",
    "reference": "[x]: http://x.example",
    "table": "a | b | c",
    "escaped": "a\\| b \\",
    "code": "`` ` ```",
    "heading": "# x",
    "list": "- x",
    "numbered": "1. x",
    "quote": "> x",
    "rule": "***",
    "setext": "===",
    "fence": "```\nx",
    "html": "<!-- x",
    "entity": "&lt;b&gt; &amp;amp; &#60;",
    "bold": "**x** __y__ ~~z~~ $x^2$",
    "lines": "first\n\n# second\r\n<b>",
    "ansi": "\x1b[31mred\x9b",
    "bidi": "\u202egpj.exe",
    "surrogate": "broken \udc80",
    "format": "%s {0} {{7*7}} {% raw %}",
}


def hostile_report(text: str) -> RunReport:
    fields = {"title": text, "artist": text, "style": text, "prompt_source": text, "flag": text}
    fields |= {"prompt_rule": text, "model": text, "model_identity": text, "device": text}
    rows = [
        record_of(text, **fields, motion=0.01, t_fetch=1.0),
        record_of("other", motion=0.02, artist="another", style="another"),
        record_of("broken", **fields, status="failed", code=text, message=text, outputs=()),
    ]
    return report_of(
        rows,
        title=text,
        currency="EUR",
        price_per_hour=1.0,
        configuration=f"title: x\n{text}",
    )


def spaced(text: str) -> str:
    """The text as labels have it."""
    return " ".join(text.replace("_", " ").split())


def tame(html_text: str) -> list[str]:
    """Elements that a report in Markdown has, once rendered, whatever its texts are."""
    return sorted({tag for tag, _ in Text(html_text).tags})


@pytest.mark.parametrize("name", HOSTILE)
def test_catalog_texts_are_nothing_but_text(name: str) -> None:
    safe = {**HOSTILE, "surrogate": "broken \ufffd"}[name]
    report, plain = hostile_report(safe), hostile_report("plain")
    text = report.markdown()
    assert tame(rendered(text)) == tame(rendered(plain.markdown()))
    # As many lines, rows, cells, links and headings as with a plain word.
    lines, same = text.splitlines(), plain.markdown().splitlines()
    assert abs(len(lines) - len(same)) <= safe.count("\n")
    found, expected = (Text(rendered(r.markdown())).tags for r in (report, plain))
    for tag in ("tr", "td", "th", "h1", "h2", "h3", "li", "a", "table"):
        counts = [sum(1 for other, _ in tags if other == tag) for tags in (found, expected)]
        assert counts[0] == counts[1], tag
    assert [a for tag, a in found if tag == "a"] == [a for tag, a in expected if tag == "a"]
    # Every word of it is there, as often.
    words = spaced(Text(rendered(text)).text)
    often = Text(rendered(plain.markdown())).text.count("plain")
    assert often > 12
    assert words.count(spaced(on_one_line(safe))) >= often - 1
    page, other = Text(report.html()), Text(plain.html())
    assert [tag for tag, _ in page.tags] == [tag for tag, _ in other.tags]
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", report.html())


@pytest.mark.parametrize("name", HOSTILE)
def test_markdown_shows_the_very_text(name: str) -> None:
    text = " ".join(HOSTILE[name].split())
    shown = Text(rendered(f"x {as_markdown(text)}")).text
    if name not in ("surrogate", "ansi"):
        assert shown == f"x {text}"
    alone = Text(rendered(as_markdown(text)))
    assert [tag for tag, _ in alone.tags] == ["p"]


def test_a_surrogate_is_no_obstacle(tmp_path: Any) -> None:
    report = RunReport(to_table(records()), replace(ABOUT, title="broken \udc80 here"))
    report.write(Store.open(str(tmp_path)))
    assert r"broken \udc80 here" in (tmp_path / "report.html").read_text()


# -- words


def test_numbers_are_written_for_people() -> None:
    def plain(text: str) -> str:
        return text.replace("\u00a0", " ")

    assert [plain(duration(s)) for s in (0.0123, 5.26, 59, 75, 3600, 400_000)] == [
        *("0.012 s", "5.3 s", "59 s", "1 min 15 s", "1 h 0 min"),
        "111 h",
    ]
    assert [plain(percent(s)) for s in (0, 0.0001, 0.125, 0.999, 1)] == [
        *("0 %", "< 0.1 %", "12.5 %", "99.9 %", "100 %"),
    ]
    assert [plain(money(3600, price, "EUR")) for price in (1234.5, 0.004)] == [
        "1,234.50 EUR",
        "0.0040 EUR",
    ]


# -- many


def test_eighty_thousand_works_take_seconds_and_bounded_memory() -> None:
    table = measured_table(80_000)
    about = replace(ABOUT, planned={None: 80_000}, items=80_000)
    report_of(records()).html()  # matplotlib is loaded, its fonts are found
    tracemalloc.start()
    started = time.process_time()
    report = RunReport(table, about)
    page, text = report.html(), report.markdown()
    seconds = time.process_time() - started
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert f"{80_000 - 2_000:,}" in page
    assert len(page) < 600_000
    assert len(text) < 20_000
    assert peak < 120 * 2**20
    assert seconds < 20  # of the processor, while memory is watched: some 5 without
    medians = np.median(table["t_distill"].to_numpy())
    stage = next(s for s in report.figures.stages if s.name == "t_distill")
    assert stage.median == pytest.approx(medians)
