"""Results whose files are gone: they count as failures, and their works are done again."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from catalogs import paths
from catalogs.errors import DamagedError
from catalogs.ledger import (
    Ledger,
    compact,
    declare_lost,
    finished,
    load,
    reopen,
    seal_all,
    seal_shard,
    survey,
)
from catalogs.plan import Plan, Work, make_plan
from catalogs.records import Output, Record, from_table
from catalogs.store import Store

PLAN = "f" * 32
FILE = Output(name="video.mp4", path="videos/a/k-d/video.mp4", sha256="0" * 64, bytes=9)
START = datetime(2026, 1, 1, tzinfo=UTC)


def record(name: str = "a", **fields: Any) -> Record:
    base = {"item_id": name, "shard_id": "s0", "key": name * 32, "status": "done"}
    return Record(**{**base, "outputs": (FILE,), "finished_at": START, **fields})


def plan(ledger: Ledger, *names: str) -> Plan:
    works = [
        Work(name, i, {"animate": f"{name}x", "encode": f"{name}y", "measure": name * 32})
        for i, name in enumerate(names)
    ]
    return make_plan(works, ledger, shard_size=9, material_of=lambda work: {}, max_attempts=1)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store.open(str(tmp_path))
    seal_shard(store, PLAN, "s0", [record("a"), record("b")])
    seal_shard(store, PLAN, "s1", [record("c", shard_id="s1")])
    seal_all(store, PLAN, {"done": 3})
    return store


def lose(store: Store, *names: str) -> int:
    return declare_lost(store, [row for row in load(store).current() if row.item_id in names])


def test_a_lost_result_is_to_be_done_again_as_a_later_attempt(store: Store) -> None:
    assert lose(store, "a") == 1
    ledger = load(store)
    after = plan(ledger, "a", "b", "c")
    assert after.reasons == ("file lost", "done", "done")
    assert [(work.work.item_id, work.attempt) for work in after.pending] == [("a", 2)]
    assert after.pending[0].stages == ("encode", "measure")
    assert ledger.counts() == {("failed", "file_lost"): 1, ("done", ""): 2}


def test_only_the_seals_concerned_are_opened(store: Store) -> None:
    lose(store, "a")
    assert finished(store, PLAN) is None
    assert [Path(info.path).stem for info in store.list(paths.SEALS)] == ["s1"]


def test_the_manifest_shows_no_files_and_the_history_all_of_them(store: Store) -> None:
    lose(store, "a")
    ledger = load(store)
    shown = {row.item_id: row for row in from_table(ledger.table())}
    assert (shown["a"].status, shown["a"].code, shown["a"].outputs) == ("failed", "file_lost", ())
    assert shown["b"].outputs == (FILE,)
    assert [row.outputs for row in ledger.history("a")] == [(FILE,)]


def test_the_next_attempt_counts_whatever_it_comes_to(store: Store) -> None:
    lose(store, "a", "b")
    again = [record("a", attempt=2), record("b", attempt=2, status="failed", code="numeric")]
    seal_shard(store, PLAN, "s0", again)
    after = plan(load(store), "a", "b")
    assert after.reasons == ("done", "failed")
    # A failure after the loss has used up its one attempt; it waits for somebody to ask.
    reopen(store, load(store).current())
    assert plan(load(store), "a", "b").reasons == ("done", "retry asked")


def test_a_result_lost_twice(store: Store) -> None:
    lose(store, "a")
    seal_shard(store, PLAN, "s0", [record("a", attempt=2)])
    lose(store, "a")
    after = plan(load(store), "a")
    assert after.reasons == ("file lost",)
    assert after.pending[0].attempt == 3


def test_what_is_lost_stays_so_where_its_row_is_gone(tmp_path: Path, store: Store) -> None:
    lose(store, "a")
    store.delete([info.path for info in store.list(paths.MANIFEST)])
    after = plan(load(store), "a")
    assert after.reasons == ("new",)
    assert after.pending[0].attempt == 2  # the first would count as lost for ever


def test_compaction_keeps_what_was_recorded(store: Store) -> None:
    lose(store, "a")
    before = load(store).table()
    assert compact(store) == 1
    assert load(store).table().equals(before)
    assert [row.status for row in load(store).history("a")] == ["done"]


def test_a_wish_with_nonsense_in_it_is_named(store: Store) -> None:
    store.put(paths.retry(1), json.dumps({"keys": {}, "lost": {"k": "one"}}).encode())
    with pytest.raises(DamagedError, match=rf"^{paths.retry(1)} is damaged"):
        load(store)


class TestSurvey:
    """Reads what can be read."""

    def found(self, store: Store) -> tuple[list[str], dict[str, str]]:
        damaged: dict[str, str] = {}
        ledger = survey(store, damaged.setdefault)
        return sorted(row.item_id for row in ledger.current()), damaged

    def test_an_unharmed_collection(self, store: Store) -> None:
        assert self.found(store) == (["a", "b", "c"], {})

    def test_a_damaged_part_record_and_wish_are_left_out(self, store: Store) -> None:
        part = store.list(paths.PARTS)[0].path
        bad = [part, paths.record("s0", "e" * 32, 1), paths.retry(1)]
        for path in bad:
            store.put(path, b"{dam")
        items, damaged = self.found(store)
        assert items == ["c"]
        assert sorted(damaged) == sorted(bad)
        assert all(path in reason for path, reason in damaged.items())

    @pytest.mark.parametrize("harm", ["damage", "delete"])
    def test_the_snapshot_before_a_damaged_one_counts(self, store: Store, harm: str) -> None:
        compact(store)
        seal_shard(store, PLAN, "s1", [record("d", shard_id="s1")])
        compact(store)
        if harm == "damage":
            store.put(paths.snapshot(2), b"PAR1")
        else:
            store.delete([paths.snapshot(2)])
        items, damaged = self.found(store)
        assert items == ["a", "b", "c", "d"]
        gone = [paths.head(2)] if harm == "delete" else [paths.head(2), paths.snapshot(2)]
        assert sorted(damaged) == gone

    def test_without_any_readable_head_the_parts_count(self, store: Store) -> None:
        compact(store)
        store.put(paths.head(1), b"")
        assert self.found(store)[0] == ["a", "b", "c"]


def test_a_snapshot_that_is_gone_is_named(store: Store) -> None:
    compact(store)
    store.delete([paths.snapshot(1)])
    with pytest.raises(DamagedError, match=rf"{paths.head(1)} is damaged: there is no"):
        load(store)
