"""What others do while one worker reads the ledger or seals: nothing that was committed is lost."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from acting import Acting
from fabricated import PLAN, key_of, record_of
from virtual_clock import VirtualClock

from catalogs import loading, paths
from catalogs.errors import StoreError
from catalogs.leases import Leases
from catalogs.ledger import compact, load, seal_leftovers, seal_shard
from catalogs.records import Record, commit
from catalogs.store import ObjectInfo
from catalogs.store_local import LocalStore

OTHER = "e" * 32
FAILED = record_of("storm", status="failed", code="store_error", outputs=())
DONE = record_of("storm")


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "out")


def others(store: LocalStore) -> LocalStore:
    return LocalStore(store.root)


def slow_result(store: LocalStore) -> None:
    """Somebody seals the failure; a slower worker's result takes the name that came free."""
    seal_shard(others(store), OTHER, "s", [FAILED])
    assert commit(others(store), DONE) == DONE


def status(store: LocalStore) -> str | None:
    row = load(store).find(key_of("storm"))
    return row and row.status


def records(store: LocalStore) -> list[str]:
    return [info.path for info in store.list(paths.RECORDS)]


class TestLeftovers:
    """Records that a crash left, sealed by the end of a later run."""

    def test_a_result_committed_since_the_run_began_stays(self, store: LocalStore) -> None:
        commit(store, FAILED)
        ledger = load(store)
        slow_result(store)
        assert seal_leftovers(store, PLAN, ledger) == 1
        assert status(store) == "done"
        assert records(store) == []  # it is in a part

    @pytest.mark.parametrize("moment", ["before", "after"])
    @pytest.mark.parametrize("folder", [paths.PARTS, paths.SEALS])
    def test_a_result_committed_while_they_are_sealed_stays(
        self, store: LocalStore, moment: str, folder: str
    ) -> None:
        commit(store, FAILED)
        racing = Acting(store.root).when(moment, "create", folder, lambda: slow_result(store))
        seal_leftovers(racing, PLAN, load(store))
        assert racing.acted == 1
        assert status(store) == "done"
        assert records(store) == [DONE.path]

    @pytest.mark.parametrize("shard", ["s", "s0", "s01"])
    def test_those_of_a_shard_that_somebody_holds_are_left_alone(
        self, store: LocalStore, shard: str
    ) -> None:
        commit(store, record_of("storm", shard="s0"))
        commit(store, record_of("wave", shard="s1"))
        lease = Leases(others(store), OTHER, 600).acquire(shard)
        assert lease is not None
        with lease:
            assert seal_leftovers(store, PLAN, load(store)) == (0 if shard == "s" else 1)
            assert record_of("storm", shard="s0").path in records(store)
        seal_leftovers(store, PLAN, load(store))
        assert records(store) == []

    def test_without_any_there_is_no_request(self, store: LocalStore) -> None:
        seal_shard(store, PLAN, "s", [DONE])
        ledger = load(store)
        store.counts.clear()
        assert seal_leftovers(store, PLAN, ledger) == 0
        assert store.counts == {}


def test_a_sealed_shard_keeps_a_result_that_took_the_name_of_our_failure(
    store: LocalStore,
) -> None:
    commit(store, FAILED)
    slow_result(store)
    seal_shard(store, PLAN, "s", [FAILED])
    assert status(store) == "done"
    assert {row.status for row in load(store).history("storm")} == {"done", "failed"}


class Sealed(LocalStore):
    """Whenever the manifest has been listed, somebody seals one more shard."""

    def __init__(self, root: Path, shards: Sequence[Sequence[Record]]) -> None:
        super().__init__(root)
        self.shards = list(shards)
        self.read: list[str] = []

    def _list(self, prefix: str) -> Sequence[ObjectInfo]:
        found = super()._list(prefix)
        if prefix == paths.MANIFEST and self.shards:
            rows = self.shards.pop(0)
            seal_shard(others(self), OTHER, rows[0].shard_id, rows)
        return found

    def _get(self, path: str) -> bytes:
        data = super()._get(path)
        self.read.append(path)
        return data


class TestReading:
    """A manifest that changes while it is read."""

    def fill(self, store: LocalStore, shards: int = 12) -> list[list[Record]]:
        rows = [
            [record_of(f"{n} of {number}", shard=f"s{number:04b}") for n in range(3)]
            for number in range(shards)
        ]
        for row in (row for shard in rows for row in shard):
            commit(store, row)
        return rows

    def test_shards_sealed_all_the_while_end_no_run(self, store: LocalStore) -> None:
        busy = Sealed(store.root, self.fill(store))
        ledger = load(busy)
        assert {row.status for row in ledger.current()} == {"done"}
        assert len(ledger) == 36
        assert len(busy.read) == len(set(busy.read))  # nothing is read twice

    def test_a_reading_goes_on_for_a_minute(
        self, store: LocalStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        clock = VirtualClock()
        monkeypatch.setattr(loading, "time", clock)
        seal_shard(store, PLAN, "s", [DONE])
        with pytest.raises(StoreError, match="changes faster"):
            load(Unreadable(store.root))
        assert 60 <= sum(clock.slept) < 70
        assert 12 < len(clock.slept) < 60
        assert max(clock.slept[:3]) < 0.5 < max(clock.slept)

    def test_what_is_compacted_away_meanwhile_is_in_the_snapshot(self, store: LocalStore) -> None:
        seal_shard(store, PLAN, "s", [DONE])

        def compacted() -> None:
            assert compact(others(store)) == 1
            store.delete([info.path for info in store.list(paths.PARTS)])

        racing = Acting(store.root).when("after", "list", paths.MANIFEST, compacted)
        assert [row.item_id for row in load(racing).current()] == ["storm"]
        assert racing.acted == 1


class Unreadable(LocalStore):
    """Every object is gone when it is read."""

    def _get(self, path: str) -> bytes:
        raise FileNotFoundError(path)
