"""The table of shards and the contact sheets: read from the store, whoever did the works."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from local_runner import run_locally
from paintings import tiny_run, write_paintings

from catalogs.ledger import load
from catalogs.news import Ended, News
from catalogs.store import Store
from flows import shard_table
from flows.shard_table import MOST_ROWS, ShardTable, table_rows
from tasks import animate_pass
from tasks.collection import Collection


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[Any, str]]:
    """What is published last, by key, in place of a page."""
    found: dict[str, tuple[Any, str]] = {}

    def publish(key: str, kind: str, data: Any, description: str = "") -> None:
        found[key] = data, description

    monkeypatch.setattr("flows.artifacts.publish", publish)
    monkeypatch.setattr("flows.contact_sheets.publish", publish)
    return found


def ended(status: str = "done", code: str | None = None, **more: Any) -> Ended:
    fields = {"item_id": "a", "title": "A", "attempt": 1, "seconds": 2.0, "peak_memory": None}
    fields |= {"worker": "here:1", "flag": "good", "poster": None} | more
    return Ended(status=status, code=code, **fields)


def test_works_that_others_record_are_shown(
    tmp_path: Path, shown: dict[str, tuple[Any, str]]
) -> None:
    source = write_paintings(tmp_path / "in", 6)
    (source / "work-0004.png").write_bytes(b"no picture")
    run = tiny_run(source, tmp_path / "out", execution={"shard_size": 3})
    mine = Collection.open(run)
    with ShardTable(mine) as table:
        rows = json.loads(shown["epa-shards"][0])
        assert {row["state"] for row in rows} == {"waiting"}
        run_locally(run)  # opens the collection for itself, and tells nobody of its works
    assert table.counts == {("done", ""): 5, ("failed", "decode_failed"): 1}
    total = json.loads(shown["epa-shards"][0])[0]
    assert (total["state"], total["works"], total["done"]) == ("ended", 6, 5)
    assert shown["epa-first-works"][1] == "The first 5 of 5 works done"


def test_only_this_runs_works_count(tmp_path: Path) -> None:
    source = write_paintings(tmp_path / "in", 4)
    first = tiny_run(source, tmp_path / "out", limit=2)
    run_locally(first)
    whole = Collection.open(tiny_run(source, tmp_path / "out"))
    with ShardTable(whole) as table:
        run_locally(whole.run)
    assert table.counts == {("done", ""): 2}


def test_works_and_attempts_that_are_not_planned_do_not_count(tmp_path: Path) -> None:
    run = tiny_run(write_paintings(tmp_path / "in", 3), tmp_path / "out")
    _, collection = run_locally(run)
    first, second, _ = (work.key for work in collection.works)
    news = News(collection.store, {first: 1, second: 2})
    assert news.look()
    assert list(news.ended) == [first]  # of the second work only an earlier attempt is there


def test_each_record_is_read_once(tmp_path: Path) -> None:
    run = tiny_run(write_paintings(tmp_path / "in", 3), tmp_path / "out")
    collection = Collection.open(run)
    works = [work for shard in collection.plan.shards.values() for work in shard]
    store = Store.open(run.output)
    news = News(store, {work.work.key: work.attempt for work in works})
    assert not news.look()
    run_locally(run)
    assert news.look()
    assert len(news.ended) == 3
    # A record that nobody has sealed yet, of which nothing new is to be learnt.
    [record] = load(store).history(works[0].work.item_id)
    assert store.create(record.path, record.to_bytes())
    assert news.look()
    before = store.counts["get"]
    assert not news.look()
    assert store.counts["get"] == before


def test_what_this_process_records_is_not_read(tmp_path: Path) -> None:
    collection = Collection.open(tiny_run(write_paintings(tmp_path / "in", 3), tmp_path / "out"))
    works = [work for shard in collection.plan.shards.values() for work in shard]
    store = Store.open(collection.run.output)
    news = News(store, {work.work.key: work.attempt for work in works})
    collection.on_commit = news.hear
    for shard in collection.shards("s"):
        animate_pass.run(shard)
    assert len(store.list("records")) == 3
    before = store.counts["get"]
    assert news.look()
    assert len(news.ended) == 3
    assert store.counts["get"] == before


def test_a_store_that_fails_is_only_logged(
    tmp_path: Path, shown: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", logger="epa")
    run = tiny_run(write_paintings(tmp_path / "in", 1), tmp_path / "out")
    with ShardTable(Collection.open(run)) as table:
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        (tmp_path / "out").write_text("a file in place of the folder")
    assert "the table of shards is not up to date" in caplog.text
    assert table.counts == {}
    assert json.loads(shown["epa-shards"][0])[0]["done"] == 0


def test_rows_are_sorted_by_what_wants_a_look() -> None:
    planned = {"s0": 2, "s1": 2, "s2": 2, "s3": 2}
    failures = [ended("failed", "too_small"), ended("quarantined", "worker_killed")]
    rows = table_rows(
        planned,
        {
            "s0": [ended(), ended(seconds=4.0)],
            "s1": failures,
            "s2": [ended(peak_memory=3 << 30, worker="there:2")],
        },
    )
    assert [row["shard"] for row in rows] == ["all", "s2", "s1", "s0", "s3"]
    assert [row["state"] for row in rows[1:]] == ["at work", "ended", "ended", "waiting"]
    total, at_work, failed, done, _ = rows
    assert failed["failed"] == "1 too_small, 1 worker_killed"
    assert done["seconds per work"] == "3.00"
    assert (at_work["GPU memory"], done["GPU memory"]) == ("3.0 GiB", "")
    assert (total["worker"], done["worker"]) == ("2", "here:1")
    assert (total["works"], total["done"]) == (8, 3)


def test_a_big_run_has_a_capped_table(
    tmp_path: Path, shown: dict[str, tuple[Any, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tiny_run(
        write_paintings(tmp_path / "in", 8), tmp_path / "out", execution={"shard_size": 2}
    )
    monkeypatch.setattr(shard_table, "MOST_ROWS", 2)
    with ShardTable(Collection.open(run)):
        data, said = shown["epa-shards"]
        assert len(json.loads(data)) == 3  # all, and two
        assert "Only 2 of the" in said
    assert MOST_ROWS >= 100
