"""Texts of a hostile catalog through a whole run: into paths, tags, pages, tables and terminals."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import pyarrow.parquet as pq
import pytest
import yaml
from chromium import Browser, needs_chromium, running
from command_line import Answer, caller
from local_runner import run_locally
from paintings import TINY, painting, tiny_run
from PIL import Image

from catalogs.catalog import open_source, select
from catalogs.errors import ConfigError
from catalogs.safe_text import as_cell, as_json
from epa_core.media.tags import clean_text
from tasks.collection import Collection

HACK = "window.hacked=1"
TEXTS = {
    "script": f"<script>{HACK}</script>",
    "breaker": f"</script><img src=x onerror={HACK}>",
    "comment": f"<!--<script>{HACK}//-->",
    "attribute": f'" onmouseover="{HACK}" x=\'',
    "separators": "one\u2028two\u2029three",
    "url": f"javascript:{HACK}",
    "up": "../../../../up",
    "up-windows": "..\\..\\up",
    "absolute": "/tmp/absolute",
    "device": "con.",
    "nul": "before\0after",
    "ansi": "\x1b[31mred\x1b]0;owned\x07\x1b[2J",
    "c1": "\x9b31m\x9d0;owned\x9c",
    "bidi": "\u202egpj.exe\u2066x",
    "newlines": "first\nsecond\rthird\r\nfourth",
    "metadata": "a\ntitle=owned\nencoder=owned;comment=owned\n[STREAM]",
    "formula": "=cmd|' /C calc'!A0",
    "plus": '+HYPERLINK("http://x")',
    "minus": "-2+3+cmd|x",
    "at": "@SUM(1+1)",
    "tab": "\t=1+1",
    "wide": "\uff1d1+1",
    "sql": "'); DROP TABLE catalog; --",
    "format": "%s%n{0}{{7*7}}${jndi:ldap://x}",
    "markup": "[red]not red[/] [link=file:///]x[/link]",
    "surrogate": "broken \ud83d here",
    "persian": "می\u200cخواهم 👩\u200d🎨",
    "combining": "Z" + "\u0310\u0311\u0312" * 200,
    "long": "long " * 4000,
}
# What no terminal may be sent (lines end with \n, tables hold tabs).
CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
FORMULA = re.compile(r"\s*[=+\-@\uff1d\uff0b\uff0d\uff20]|[\t\r\n]")


def valid(text: str) -> str:
    """As a catalog holds it: lone surrogates are no text."""
    return text.encode("utf-8", "replace").decode()


def item(name: str) -> str:
    """The id of a work; every one holds its text, too."""
    return f"{valid(TEXTS[name])[:500]} #{name}"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    """A collection of one work per text, and one broken work per text."""
    root = tmp_path_factory.mktemp("hostile") / "here"
    folder = root / "in"
    folder.mkdir(parents=True)
    painting(1).save(folder / "a.png")
    rows = []
    for name, text in TEXTS.items():
        row = {"title": text, "artist": text, "style": text, "rights": text, "license": text}
        row |= {"landing_url": text, "prompt": f"the water ripples {text}"[:900], text: text}
        rows.append({"id": item(name), "image": "a.png", **row})
        rows.append({"id": "broken " + item(name), "image": text[:150] or "x", "title": text})
    (folder / "works.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = root / "out"
    tree = {**TINY, "catalog": str(folder / "works.jsonl"), "output": "."}
    collection = run_locally(
        tiny_run(folder / "works.jsonl", out, title=TEXTS["breaker"] + TEXTS["bidi"])
    )[1]
    (out / "run.yaml").write_text(yaml.safe_dump({**tree, "title": TEXTS["breaker"]}))
    return collection


def out_of(collection: Collection) -> Path:
    return Path(collection.run.output).resolve()


def rows_of(collection: Collection) -> dict[str, dict[str, Any]]:
    return {row["item_id"]: row for row in collection.ledger.table().to_pylist()}


def video_of(collection: Collection, name: str, file: str = "video.mp4") -> Path:
    outputs = rows_of(collection)[item(name)]["outputs"]
    return out_of(collection) / next(o["path"] for o in outputs if o["name"] == file)


def test_every_work_ended_as_it_should(finished: Collection) -> None:
    rows = rows_of(finished)
    states = {name: rows[item(name)]["status"] for name in TEXTS}
    assert states == dict.fromkeys(TEXTS, "done")
    assert all(rows["broken " + item(name)]["status"] == "failed" for name in TEXTS)


def test_every_file_lies_inside(finished: Collection) -> None:
    root = out_of(finished)
    above = root.parent.parent
    assert {path.name for path in above.iterdir()} == {"here"}
    assert {path.name for path in (above / "here").iterdir()} == {"in", "out"}
    assert {path.name for path in (above / "here" / "in").iterdir()} == {"a.png", "works.jsonl"}
    assert not Path("/tmp/absolute").exists()
    files = [path for path in root.rglob("*") if path.is_file()]
    assert len([path for path in files if path.name == "video.mp4"]) == len(TEXTS)
    for path in files:
        assert path.resolve().is_relative_to(root)
        for part in path.relative_to(root).parts:
            assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,254}", part), part
            assert not part.endswith(".")


@pytest.mark.parametrize("name", TEXTS)
def test_tags_say_the_cleaned_text_and_nothing_else(finished: Collection, name: str) -> None:
    text = valid(TEXTS[name])
    with av.open(str(video_of(finished, name))) as container:
        tags = dict(container.metadata)
        inner = [dict(stream.metadata) for stream in container.streams]
    artist = rows_of(finished)[item(name)]["artist"]
    assert tags.get("title") == clean_text(f"{text} (animated)", 200)
    assert tags.get("artist", "") == clean_text(artist, 200)
    assert tags.get("copyright", "") == clean_text(text, 500)
    usual = {"title", "artist", "copyright", "description", "comment", "encoder", "date"}
    assert set(tags) <= usual | {"major_brand", "minor_version", "compatible_brands"}
    assert "owned" not in tags.get("encoder", "")
    assert not CONTROLS.search("".join(tags.values()))
    assert all(
        set(found) <= {"language", "handler_name", "vendor_id", "encoder"} for found in inner
    )


@pytest.mark.parametrize("name", TEXTS)
def test_the_marking_of_pictures_stays_well_formed(finished: Collection, name: str) -> None:
    with Image.open(video_of(finished, name, "poster.jpg")) as poster:
        packet = poster.info.get("xmp") or poster.info["XML:com.adobe.xmp"]
    body = packet.decode("utf-8")
    tree = ElementTree.fromstring(body[body.index("<x:xmpmeta") : body.index("<?xpacket end")])
    language = "{http://www.w3.org/XML/1998/namespace}lang"
    titles = [
        node.text
        for title in tree.iter("{http://purl.org/dc/elements/1.1/}title")
        for node in title.iter("{http://www.w3.org/1999/02/22-rdf-syntax-ns#}li")
        if node.attrib == {language: "x-default"}
    ]
    assert titles == [clean_text(f"{valid(TEXTS[name])} (animated)", 200)]


# -- the page


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with running(tmp_path_factory.mktemp("profile")) as started:
        yield started


@pytest.mark.browser
@needs_chromium
def test_the_page_shows_texts_as_texts_and_runs_none(
    finished: Collection, browser: Browser
) -> None:
    with browser.page() as page:
        page.view(1400, 900)
        page.open((out_of(finished) / "index.html").as_uri())
        page.wait("document.querySelectorAll('.card .title').length >= 20")
        page.eval("scrollTo(0, document.body.scrollHeight)")
        page.wait(f"document.querySelectorAll('.card .title').length === {2 * len(TEXTS)}")
        shown = page.eval("[...document.querySelectorAll('.card .title')].map(n => n.textContent)")
        for name in TEXTS:
            seen = re.sub("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]", "", valid(TEXTS[name]))
            assert seen[:90].strip() in " ".join(shown), name  # but for what turns text around
        assert page.eval("document.querySelectorAll('.card script, .card [onerror]').length") == 0
        # Every work's own view, where links, outputs and all other texts are.
        page.eval("document.querySelector('.card .title').click()")
        for number in range(2 * len(TEXTS)):
            title = json.dumps(shown[number])
            page.wait(f"document.querySelector('#detail-title').textContent === {title}")
            links = page.eval("[...document.querySelectorAll('a[href]')].map(a => a.protocol)")
            assert set(links) <= {"file:", "http:", "https:"}
            assert page.eval("document.querySelector('.detail script, .detail [onerror]')") is None
            page.press("ArrowRight", 39)
        page.eval("0")
        assert page.eval("window.hacked") is None
        assert [error for error in page.errors if "dialog" in error or "hack" in error] == []
        assert page.errors == []
        assert [url for url in page.requests if not url.startswith(("file:", "data:"))] == []
        files = [url for url in page.requests if url.startswith("file:")]
        assert [url for url in files if not url.startswith(out_of(finished).as_uri())] == []


@pytest.mark.browser
@needs_chromium
def test_the_report_shows_texts_as_texts_and_runs_none(
    finished: Collection, browser: Browser
) -> None:
    report = out_of(finished) / "report.html"
    with browser.page() as page:
        page.view(390, 844, phone=True)
        page.open(report.as_uri())
        shown = page.eval("document.body.textContent")
        assert TEXTS["markup"] in shown
        assert "<script>window.hacked=1</script>" in shown
        assert page.eval("document.querySelectorAll('.plots svg').length") >= 5
        assert page.eval("document.querySelectorAll('script, img, [onerror]').length") == 0
        links = page.eval("[...document.querySelectorAll('a[href]')].map(a => a.protocol)")
        assert set(links) == {"file:"}
        assert page.eval("document.documentElement.scrollWidth") <= 390
        assert page.eval("window.hacked") is None
        assert page.errors == []
        assert {url for url in page.requests if not url.startswith("data:")} == {report.as_uri()}
    for name in ("report.html", "report.md"):
        assert not CONTROLS.search((out_of(finished) / name).read_text())


def test_no_markup_of_theirs_in_any_file_of_the_page(finished: Collection) -> None:
    for path in [out_of(finished) / "index.html", *(out_of(finished) / "gallery").iterdir()]:
        data = path.read_bytes()
        if path.suffix == ".html":
            assert f"<script>{HACK}".encode() not in data
            assert b"<img src=x" not in data
        elif path.name.startswith(("works", "detail.")):
            assert b"</script" not in data
            assert b"<!--" not in data
            assert "\u2028".encode() not in data


# -- the terminal


@pytest.fixture
def epa(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Answer]:
    return caller(monkeypatch, capsys)


@pytest.mark.parametrize(
    "command",
    [
        ["status", "{out}"],
        ["status", "{out}", "--json"],
        ["manifest", "{out}"],
        ["manifest", "{out}", "--format", "json"],
        ["gallery", "{out}"],
        ["report", "{out}"],
        ["verify", "{out}", "--deep"],
        ["gc", "{out}"],
        ["rebuild", "{out}"],
        ["plan", "{out}/run.yaml"],
        ["plan", "{out}/run.yaml", "--json"],
        ["export", "{out}", "--format", "videofolder", "-o", "{tmp}/x"],
        ["export", "{out}", "--format", "webdataset", "-o", "{tmp}/x"],
        ["export", "{out}", "--format", "folder", "-o", "{tmp}/x"],
        ["catalog", "show", "{in}", "--limit", "100"],
        ["catalog", "check", "{in}"],
        ["catalog", "build", "{in}", "-o", "{tmp}/c.parquet"],
    ],
)
def test_a_terminal_is_sent_no_commands(
    finished: Collection, epa: Callable[..., Answer], command: list[str], tmp_path: Path
) -> None:
    out = out_of(finished)
    places = {"out": out, "in": out.parent / "in" / "works.jsonl", "tmp": tmp_path}
    answer = epa(*(word.format(**places) for word in command))
    assert answer.code in (0, 1), answer.err
    assert answer.out
    assert CONTROLS.findall(answer.out + answer.err) == []


@pytest.mark.parametrize("name", TEXTS)
def test_why_is_sent_no_commands(
    finished: Collection, epa: Callable[..., Answer], name: str
) -> None:
    for asked in (item(name), "broken " + item(name), "no such " + item(name)):
        if "\0" in asked:
            continue  # no argument of a program holds one
        answer = epa("why", out_of(finished), "--", asked)
        assert answer.code == (2 if asked.startswith("no such") else 0), answer.err
        if answer.code == 0 and name == "markup":
            assert "[red]not red[/] [link=file:///]x[/link]" in answer.out
        assert answer.out or answer.err
        assert CONTROLS.findall(answer.out + answer.err) == []


# -- tables


def test_a_spreadsheet_meets_no_formula(finished: Collection, epa: Callable[..., Answer]) -> None:
    text = epa("manifest", out_of(finished)).out
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert len(rows) == 2 * len(TEXTS)
    texts = {name for name, kind in _columns(finished).items() if kind == "string"}
    assert {"item_id", "title", "artist", "prompt", "message"} <= texts
    for row in rows:
        assert None not in row  # no cell more than columns
        assert [row[name] for name in texts if FORMULA.match(row[name])] == []
    titles = [row["title"] for row in rows]
    assert titles.count("'" + TEXTS["formula"]) == 2
    assert titles.count(TEXTS["persian"]) == 2
    assert {row["motion"][:1] for row in rows} & {"=", "'"} == set()


def _columns(collection: Collection) -> dict[str, str]:
    return {field.name: str(field.type) for field in collection.results().schema}


def test_json_and_parquet_say_the_exact_text(
    finished: Collection, epa: Callable[..., Answer], tmp_path: Path
) -> None:
    lines = epa("manifest", out_of(finished), "--format", "json").out.split("\n")
    told = {row["item_id"]: row["title"] for row in map(json.loads, filter(None, lines))}
    file = tmp_path / "m.parquet"
    epa("manifest", out_of(finished), "--format", "parquet", "-o", file)
    kept = {row["item_id"]: row["title"] for row in pq.read_table(file).to_pylist()}
    expected = {item(name): valid(text).strip() for name, text in TEXTS.items()}
    assert {name: told[name] for name in expected} == expected
    assert {name: kept[name] for name in expected} == expected


# -- exports


def test_exports_have_safe_names_and_exact_texts(
    finished: Collection, epa: Callable[..., Answer], tmp_path: Path
) -> None:
    import datasets
    import webdataset

    titles = sorted(valid(text).strip() for text in TEXTS.values())
    for form in ("folder", "videofolder", "webdataset"):
        answer = epa("export", out_of(finished), "--format", form, "-o", tmp_path / form)
        assert answer.code == 0, answer.err
    assert {path.name for path in tmp_path.iterdir()} == {"folder", "videofolder", "webdataset"}
    with (tmp_path / "folder" / "index.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(TEXTS)
    for row in rows:
        assert None not in row
        measures = ("motion", "drift", "seed")
        assert [t for n, t in row.items() if n not in measures and FORMULA.match(t)] == []
        video = (tmp_path / "folder" / row["file_name"]).resolve()
        assert video.is_relative_to(tmp_path / "folder" / row["file_name"].partition("/")[0])
        assert not CONTROLS.search(row["file_name"])
        assert not set(row["file_name"]) & set('<>:"|?*\\')
        assert video.is_file()
    place = tmp_path / "videofolder"
    loaded = datasets.load_dataset(
        "videofolder", data_dir=str(place), cache_dir=str(tmp_path / "c")
    )
    assert sorted(loaded["train"].remove_columns("video")["title"]) == titles
    card = (place / "README.md").read_text()
    head = card.split("---\n")[1]
    assert yaml.safe_load(head)["pretty_name"].startswith("</script><img")
    body = card.removeprefix(f"---\n{head}---\n")
    assert "<img" not in body
    assert "<script" not in body
    assert not CONTROLS.search(card)
    shards = str(tmp_path / "webdataset" / "epa-000000.tar")
    told = [json.loads(s["json"]) for s in webdataset.WebDataset(shards, shardshuffle=False)]
    assert sorted(row["title"] for row in told) == titles


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("Ships", "Ships"),
        ("=1+1", "'=1+1"),
        ("  =1", "'  =1"),
        ("\u00a0=1", "'\u00a0=1"),
        ("-44", "-44"),
        ("+44.5", "+44.5"),
        ("-44 BC", "'-44 BC"),
        ("-1+cmd", "'-1+cmd"),
        ("\r=1", "\\r=1"),
        ("a\x1b[0m", "a\\x1b[0m"),
        ("a\u202eb", "a\\u202eb"),
        ("a\nb", "a\nb"),
        ("", ""),
    ],
)
def test_cells(text: str, cell: str) -> None:
    assert as_cell(text) == cell


@pytest.mark.parametrize("name", TEXTS)
def test_json_lines_keep_their_value(name: str) -> None:
    line = as_json({TEXTS[name]: [TEXTS[name]]})
    assert not CONTROLS.search(line)
    assert json.loads(line) == {TEXTS[name]: [TEXTS[name]]}
    assert len(line.splitlines()) == 1


@pytest.mark.parametrize("name", TEXTS)
def test_sql_takes_contents_for_contents(finished: Collection, name: str) -> None:
    table = open_source(out_of(finished).parent / "in" / "works.jsonl")
    text = valid(TEXTS[name])
    if "\0" not in text:
        quoted = text.strip().replace("'", "''")
        found = select(table, f"title = '{quoted}' AND artist IS NOT NULL")
        assert item(name) in found["id"].to_pylist()
    with contextlib.suppress(ConfigError):  # as an expression it is a mistake or a selection
        assert select(table, text).num_rows <= table.num_rows
    assert table.num_rows == 2 * len(TEXTS)


_ESCAPE = "\x1b[2Jgone\x9b"
_BROKEN_TABLES = {
    "no image column": ("t.csv", f"{_ESCAPE},b\n1,2\n"),
    "two of a name": ("t.csv", f"{_ESCAPE},{_ESCAPE},image\n1,2,a.png\n"),
    "a line too long": ("t.csv", f"image,title\na.png,{_ESCAPE},{_ESCAPE},{_ESCAPE}\n"),
    "no JSON": ("t.jsonl", f"{_ESCAPE}\n"),
    "another column": ("t.csv", f"{_ESCAPE},image\n1,a.png\n"),
}


@pytest.mark.parametrize("what", _BROKEN_TABLES)
def test_complaints_about_a_table_send_no_commands(
    epa: Callable[..., Answer], tmp_path: Path, what: str
) -> None:
    name, text = _BROKEN_TABLES[what]
    (tmp_path / name).write_text(text)
    column = ["--column", "title=nothing"] if what == "another column" else []
    words = ("catalog", "build", tmp_path / name, *column, "-o", tmp_path / "c.parquet")
    answer = epa(*words)
    assert answer.code == 2
    assert len(answer.err.splitlines()) == 1
    assert CONTROLS.findall(answer.out + answer.err) == []


def test_complaints_about_a_condition_send_no_commands(
    finished: Collection, epa: Callable[..., Answer]
) -> None:
    source = out_of(finished).parent / "in" / "works.jsonl"
    told = "CASE WHEN id LIKE '%#{}' THEN {} END"
    casts = [told.format(name, "title::INT > 1") for name in ("ansi", "c1", "bidi")]
    raised = [told.format(name, "error(title)") for name in ("ansi", "c1", "bidi")]
    for condition in (*casts, *raised, "nothing = 1", "\x1b[2J", "("):
        answer = epa("catalog", "show", source, "--where", condition)
        assert answer.code == 2
        assert CONTROLS.findall(answer.out + answer.err) == []
