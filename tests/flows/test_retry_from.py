"""The whole loop of a review: run, mark in a browser, `epa retry --from`, run, look again."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from chromium import needs_chromium, running
from command_line import Answer, caller
from local_runner import run_locally
from paintings import tiny_run, write_paintings

from catalogs import paths, reviews
from catalogs.review_file import COLUMNS
from flows.wrap_up import publish_run
from tasks.collection import Collection
from tasks.config import RunConfig

torch = pytest.importorskip("torch")
torch.set_num_threads(1)
Call = Callable[..., Answer]


@pytest.fixture
def epa(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    return caller(monkeypatch, capsys)


@pytest.fixture
def run(tmp_path: Path) -> RunConfig:
    run = tiny_run(write_paintings(tmp_path / "in", 4), tmp_path / "out")
    publish_run(run_locally(run)[1])
    return run


def rows_of(run: RunConfig) -> list[dict[str, Any]]:
    collection = Collection.open(run)
    rows = {row["key"]: row for row in collection.results().to_pylist()}
    return [rows[work.key] for work in collection.works]


def write(file: Path, *rows: dict[str, Any]) -> Path:
    with file.open("w", newline="", encoding="utf-8") as out:
        writer = csv.DictWriter(out, COLUMNS, restval="", extrasaction="ignore")
        writer.writeheader()
        writer.writerows({**row, "id": row["item_id"]} for row in rows)
    return file


@pytest.mark.browser
@needs_chromium
def test_marked_in_a_browser_redone_and_looked_at_again(
    run: RunConfig, tmp_path: Path, epa: Call
) -> None:
    before, out = rows_of(run), tmp_path / "out"
    page_of = (out / "index.html").as_uri()
    with running(tmp_path / "profile") as browser, browser.page() as page:
        page.view(1400, 900)
        page.open(page_of)
        page.click("[data-review]")
        for number, verdict in ((0, "redo"), (1, "redo"), (2, "reject"), (3, "keep")):
            page.click(f".card[data-index='{number}'] [data-verdict={verdict}]")
        page.click(".card[data-index='0'] .title")
        for field, text in (("prompt", "the fire burns"), ("note", "=1+1: too calm")):
            page.choose(f"dialog [data-field={field}]", text)
        page.press("Escape", 27)
        page.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
        page.click("[data-download]")
        file = tmp_path / "review.csv"
        until = time.monotonic() + 20
        while not file.exists() and time.monotonic() < until:
            time.sleep(0.05)

        said = epa("retry", out, "--from", file)
        assert (said.code, said.err) == (0, "")
        assert "Taken in as review 1: 1 keep, 2 redo, 1 reject." in said.out
        assert f"Next: epa run {out}/run.yaml" in said.out
        assert "2 of 4 works to do" in said.out
        assert len(Collection.open(run).plan.pending) == 2  # only noted, nothing was run

        summary, _ = run_locally(run)
        assert summary.counts == {"done": 3, "skipped": 1}
        after = rows_of(run)
        changed = [
            a["frames_sha256"] != b["frames_sha256"] for a, b in zip(after, before, strict=True)
        ]
        assert changed == [True, True, False, False]
        for output in before[0]["outputs"]:
            assert (out / output["path"]).exists()

        page.open(f"{page_of}?again#review=1")
        page.wait("document.querySelectorAll('.card').length === 3")
        pressed = "[...document.querySelectorAll('[aria-pressed=true][data-verdict]')].length"
        assert page.eval(pressed) == 1  # the kept one's; the others were of earlier versions
        page.click(".card[data-index='0'] .title")
        page.wait("document.querySelector('.earlier video')")
        text = page.eval("document.querySelector('dialog').innerText")
        assert "the fire burns" in text.split("Earlier versions")[0]
        assert before[0]["prompt"] in text.split("Earlier versions")[1]
        assert "Redone: =1+1: too calm" in text
        old = page.eval("document.querySelector('.earlier video').src")
        new = page.eval("document.querySelector('.stage video').src")
        assert before[0]["key"][:12] in old
        assert after[0]["key"][:12] in new
        page.eval("0")
        assert page.errors == []

    told = epa("why", out, before[0]["item_id"]).out
    first, decided, second = told.split("what happened:")[1].splitlines()[1:4]
    assert before[0]["key"] in first
    assert "review: redo, =1+1: too calm; new prompt: the fire burns" in decided
    assert after[0]["key"] in second
    told = epa("why", out, before[2]["item_id"]).out
    assert "now: rejected" in told
    assert "a curator rejected it" in told

    again = epa("retry", out, "--from", file)
    assert again.code == 0
    assert "Nothing new in it.\nTaken in before: 4." in again.out
    assert len(list((out / "reviews").iterdir())) == 1


def test_nothing_is_written_where_a_row_is_wrong(run: RunConfig, tmp_path: Path, epa: Call) -> None:
    good, other = rows_of(run)[:2]
    rows = {**good, "verdict": "redo"}, {**other, "verdict": "maybe"}
    said = epa("retry", tmp_path / "out", "--from", write(tmp_path / "r.csv", *rows))
    assert said.code == 2
    assert "row 3: verdict is 'maybe', allowed are keep, redo, reject" in said.err
    assert not (tmp_path / "out" / "reviews").exists()


def test_a_review_of_an_earlier_version_is_left_out(
    run: RunConfig, tmp_path: Path, epa: Call
) -> None:
    old = rows_of(run)
    first = write(tmp_path / "a.csv", {**old[0], "verdict": "redo"})
    epa("retry", tmp_path / "out", "--from", first)
    run_locally(run)
    late = write(
        tmp_path / "b.csv",
        {**old[0], "verdict": "reject", "prompt": ""},
        {**old[1], "verdict": "reject", "prompt": ""},
    )
    said = epa("retry", tmp_path / "out", "--from", late)
    assert said.code == 0
    assert "Taken in as review 2: 1 reject." in said.out
    left = f"Left out, of earlier versions of their works: 1 ({old[0]['item_id']})."
    assert left in said.out
    assert Collection.open(run).plan.counts == {"done": 3, "rejected": 1}


def test_two_reviews_at_once_are_both_taken_in(
    run: RunConfig, tmp_path: Path, epa: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second curator's number is taken between their reading and their writing."""
    rows = rows_of(run)
    files = [
        write(
            tmp_path / f"{name}.csv", *({**row, "verdict": verdict, "prompt": ""} for row in mine)
        )
        for name, verdict, mine in (("a", "reject", rows[:2]), ("b", "keep", rows[1:3]))
    ]
    record, racing = reviews.record, []

    def first_another(*arguments: Any, **more: Any) -> bool:
        if not racing:
            racing.append(files[0])
            assert epa("retry", tmp_path / "out", "--from", files[0]).code == 0
        return record(*arguments, **more)

    monkeypatch.setattr(reviews, "record", first_another)
    said = epa("retry", tmp_path / "out", "--from", files[1])
    assert "Taken in as review 2: 2 keep." in said.out
    stands = Collection.open(run).reviews
    verdicts = [stands.standing[row["item_id"]].decision.verdict for row in rows[:3]]
    assert verdicts == ["reject", "keep", "keep"]  # the later one about the same version
    store = Collection.open(run).store
    assert [info.path for info in store.list(paths.REVIEWS)] == [paths.review(1), paths.review(2)]


def test_rejected_works_are_no_failures(run: RunConfig, tmp_path: Path, epa: Call) -> None:
    file = write(tmp_path / "r.csv", {**rows_of(run)[0], "verdict": "reject", "prompt": ""})
    assert epa("retry", tmp_path / "out", "--from", file).code == 0
    assert run_locally(run)[0].failed == 0
    status = epa("status", tmp_path / "out", "--json").out
    assert '"states": {"skipped": 1, "done": 3, "pending": 0}' in status
    assert '"codes": {"rejected": 1}' in status
    assert epa("retry", tmp_path / "out", "--no-run").out == "0 works are to be tried again\n"
    said = epa("retry", tmp_path / "out", "--reason", "rejected")
    assert said.code == 2
    assert "epa retry --from review.csv" in said.err
    checked = epa("verify", tmp_path / "out")
    assert checked.code == 0
    assert "3 works: 3 done." in checked.out
    assert "Rejected and left out: 1" in checked.out
    assert epa("verify", tmp_path / "out", "--all").code == 0


def test_a_review_names_its_works_itself(run: RunConfig, tmp_path: Path, epa: Call) -> None:
    said = epa("retry", tmp_path / "out", "--from", "x.csv", "--item", "y")
    assert said.code == 2
    assert "leave out --reason and --item" in said.err
