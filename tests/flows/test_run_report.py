"""The report at the end of a run, and `epa report`: real runs at toy size."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from chromium import Browser, needs_chromium, running
from command_line import Answer
from local_runner import run_locally
from paintings import TINY, tiny_run, write_paintings

from catalogs import paths
from catalogs.store_local import LocalStore
from flows import run_report
from flows.run_report import write_report
from flows.wrap_up import Summary
from tasks.collection import Collection

torch = pytest.importorskip("torch")
torch.set_num_threads(1)


def paintings_of(folder: Path, count: int) -> Path:
    """So many paintings, the third broken, each by somebody else."""
    source = write_paintings(folder, count)
    (source / "work-0002.png").write_bytes(b"no picture at all")
    rows = (source / "metadata.csv").read_text().splitlines()
    by = [row.replace("The Tester", f"Tester {number}") for number, row in enumerate(rows)]
    (source / "metadata.csv").write_text("\n".join(by))
    return source


def made(folder: Path, **settings: object) -> tuple[Summary, Collection]:
    """A run of three paintings by three people, one of which is none."""
    source = paintings_of(folder / "in", 3)
    tree = {**TINY, "catalog": "../in", "output": ".", **settings}
    done = run_locally(tiny_run(source, folder / "out", **settings))
    (folder / "out" / "run.yaml").write_text(yaml.safe_dump(tree))
    return done


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    folder = tmp_path_factory.mktemp("report")
    price = {"price_per_hour": 3600.0, "currency": "EUR"}
    return made(folder, title="Three <works>", report=price)[1]


def out_of(collection: Collection) -> Path:
    return Path(collection.run.output)


def test_a_run_leaves_its_report_and_a_copy(finished: Collection) -> None:
    out = out_of(finished)
    [figures] = out.glob("runs/*/report.json")
    run = json.loads(figures.read_text())
    assert run["works"] == 3
    assert run["counts"] == {"done": 2, "failed": 1}
    assert run["codes"] == {"decode_failed": 1}
    assert run["stage_seconds"]["t_distill"] > 0
    page, copy = (out / "report.html").read_text(), (figures.parent / "report.html").read_text()
    text = (out / "report.md").read_text()
    assert "Three &lt;works&gt;" in page
    assert "This run" in page
    assert "decode_failed" in page
    for told in ("| done | 2 |", "decode\\_failed", "EUR", "Configuration", "Tester 1"):
        assert told in text
    assert copy == page.replace('href="videos/', 'href="../../videos/').replace(
        'href="manifest/', 'href="../../manifest/'
    ).replace('href="index.html', 'href="../../index.html')
    assert 'href="../../videos/' in copy
    for link in [*_links(out, page), *_links(figures.parent, copy)]:
        assert link.exists(), link


def _links(folder: Path, page: str) -> list[Path]:
    """The files that a page links to."""
    import re
    from urllib.parse import unquote

    found = re.findall(r'<a href="([^"#][^"]*)"', page)
    assert len(found) >= 4
    return [folder / unquote(link) for link in found]


def test_no_folder_of_the_machine_is_told(finished: Collection) -> None:
    out = out_of(finished)
    for name in ("report.html", "report.md"):
        text = (out / name).read_text()
        assert str(out.parent) not in text
        assert "output: out" in text
        assert "catalog: in" in text


def test_the_gallery_links_to_it(finished: Collection) -> None:
    assert '<a href="report.html">' in (out_of(finished) / "index.html").read_text()


def test_the_command_writes_it_anew(
    finished: Collection, epa: Callable[..., Answer], tmp_path: Path
) -> None:
    out = out_of(finished)
    before = {name: (out / name).read_text() for name in ("report.html", "report.md")}
    for name in before:
        (out / name).unlink()
    answer = epa("report", out)
    assert (answer.code, answer.out.strip()) == (0, str(out / "report.html"))
    page = (out / "report.html").read_text()
    assert "The last run" in page  # whose figures it keeps
    assert "decode_failed" in page
    elsewhere = tmp_path / "a folder #1"
    assert epa("report", out, "-o", elsewhere).code == 0
    assert {path.name for path in elsewhere.iterdir()} == {"report.html", "report.md"}
    for link in _links(elsewhere, (elsewhere / "report.html").read_text()):
        assert link.exists(), link
    for name, text in before.items():
        (out / name).write_text(text)


@pytest.mark.parametrize("arguments", [["nowhere"], ["{out}", "-o", "{out}/run.yaml"]])
def test_a_wrong_place_is_one_sentence(
    finished: Collection, epa: Callable[..., Answer], arguments: list[str], tmp_path: Path
) -> None:
    answer = epa("report", *(word.format(out=out_of(finished)) for word in arguments))
    assert answer.code == 2
    assert len(answer.err.splitlines()) == 1


def test_the_command_starts_without_torch_and_prefect(finished: Collection, tmp_path: Path) -> None:
    code = (
        "import sys; from flows.inspection import open_collection; "
        "from flows.run_report import write_report; "
        f"write_report(open_collection({str(out_of(finished))!r}), {str(tmp_path / 'r')!r}); "
        "print({'torch', 'prefect', 'diffusers'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"
    light = "import sys, flows.wrap_up; print('matplotlib' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", light], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "False"


def test_it_needs_no_home_and_no_style_of_the_user(finished: Collection, tmp_path: Path) -> None:
    """matplotlib keeps a cache of fonts and reads settings; a page depends on neither."""
    (tmp_path / "matplotlibrc").write_text("font.size: 50\ntext.usetex: True\naxes.grid: False\n")
    code = (
        "from flows.inspection import open_collection; from flows.run_report import write_report; "
        f"write_report(open_collection({str(out_of(finished))!r}), 'r')"
    )
    env = {**os.environ, "HOME": "/proc/none", "PYTHONPATH": str(Path(__file__).parents[2])}
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    assert "matplotlib" not in run.stderr.lower()
    plain = write_report(finished, str(tmp_path / "plain"))

    def drawings(path: Path) -> list[str]:
        return [part.partition("</svg>")[0] for part in path.read_text().split("<svg")[1:]]

    assert drawings(tmp_path / "r" / "report.html") == drawings(Path(plain))


def test_a_report_that_fails_fails_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("no plot today")

    monkeypatch.setattr(run_report, "run_figures", fail)
    summary, collection = made(tmp_path)
    assert summary.counts == {"done": 2, "failed": 1}
    assert summary.report == ""
    assert "no report was written: ZeroDivisionError: no plot today" in caplog.text
    out = out_of(collection)
    assert not (out / "report.html").exists()
    assert "report.html" not in (out / "index.html").read_text()
    assert list(out.glob("runs/*/summary.json"))


def test_each_run_tells_its_own_works(tmp_path: Path) -> None:
    made(tmp_path)
    source = paintings_of(tmp_path / "in", 5)
    summary, _ = run_locally(tiny_run(source, tmp_path / "out"))
    assert summary.works == 5
    figures = [json.loads(p.read_text()) for p in (tmp_path / "out").glob("runs/*/report.json")]
    assert sorted(run["works"] for run in figures) == [2, 3]
    assert sorted(run["counts"].get("done", 0) for run in figures) == [2, 2]
    assert "Runs before" in (tmp_path / "out" / "report.html").read_text()


def test_a_damaged_file_of_an_earlier_run_is_passed_over(tmp_path: Path) -> None:
    _, collection = made(tmp_path)
    store = LocalStore(tmp_path / "out")
    store.put(paths.run_file("20990101T000000Z-ffffff", paths.REPORT_FIGURES), b"{}")
    page = Path(write_report(collection))
    assert "The last run" in page.read_text()


def test_nothing_to_do_writes_none(tmp_path: Path, epa: Callable[..., Answer]) -> None:
    _, collection = made(tmp_path)
    for name in ("report.html", "report.md"):
        (tmp_path / "out" / name).unlink()
    opened = Collection.open(collection.run)
    requests = opened.store.counts.total()
    assert opened.finished_summary() is not None
    assert opened.store.counts.total() - requests <= 1
    assert epa("run", tmp_path / "out" / "run.yaml").code == 1  # a work has failed for good
    assert not (tmp_path / "out" / "report.html").exists()


def test_a_matrix_tells_its_cells(tmp_path: Path) -> None:
    source = write_paintings(tmp_path / "in", 2)
    run = tiny_run(source, tmp_path / "out", matrix={"variant": ["V+S", "V"]})
    summary, _ = run_locally(run)
    assert summary.works == 4
    text = (tmp_path / "out" / "report.md").read_text()
    assert "| variant=V | 2 | 2 done |" in text
    assert "### By cell" in text


def test_a_store_in_memory_has_a_report(tmp_path: Path) -> None:
    source = write_paintings(tmp_path / "in", 1)
    summary, collection = run_locally(tiny_run(source, f"memory://{tmp_path.name}/out"))
    assert summary.report.startswith("memory://")
    assert (collection.store.get("report.html") or b"").startswith(b"<!doctype html")
    folder = tmp_path / "elsewhere"
    page = Path(write_report(collection, str(folder)))
    assert "index.html" not in page.read_text()  # no way leads there


# -- in a browser


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with running(tmp_path_factory.mktemp("profile")) as started:
        yield started


@pytest.mark.browser
@needs_chromium
@pytest.mark.parametrize(("width", "height", "phone"), [(1400, 900, False), (390, 844, True)])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_browser_shows_it(
    finished: Collection, browser: Browser, width: int, height: int, phone: bool, scheme: str
) -> None:
    page_file = out_of(finished) / "report.html"
    with browser.page() as page:
        page.view(width, height, phone=phone)
        page.media(prefers_color_scheme=scheme)
        page.open(page_file.as_uri())
        shown = page.eval("document.body.innerText")
        for told in ("Three <works>", "This run", "decode_failed", "By artist", "Tester 1"):
            assert told in shown, told
        assert page.eval("document.documentElement.scrollWidth") <= width
        assert page.eval(INSIDE), "a plot's names reach beyond it"
        assert page.eval("document.querySelectorAll('.plots svg').length") >= 5
        light = page.eval(
            "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)[0] > 128"
        )
        assert light is (scheme == "light")
        ink = page.eval("getComputedStyle(document.querySelector('.plots text')).fill")
        assert (int(ink.strip("rgb()").split(",")[0]) < 128) is light
        assert page.errors == []
        assert page.requests == [page_file.as_uri()] or set(page.requests) == {
            page_file.as_uri(),
            "data:,",
        }


INSIDE = """[...document.querySelectorAll('.plots svg')].every((svg) => {
  const box = svg.getBoundingClientRect();
  return [...svg.querySelectorAll('text')].every((text) => {
    const own = text.getBoundingClientRect();
    return own.left >= box.left - 1 && own.right <= box.right + 1;
  });
})"""
