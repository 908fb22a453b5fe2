"""What garbage collection finds and removes, and what it must leave alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from fabricated import PLAN, age, key_of, record_of, write_files, write_works

from catalogs import crashes, paths
from catalogs.errors import DamagedError
from catalogs.garbage import GRACE, Garbage, Needs, find_garbage, remove
from catalogs.leases import Leases
from catalogs.ledger import compact, declare_lost, load, seal_all, seal_shard
from catalogs.records import commit
from catalogs.store import ObjectInfo
from catalogs.store_local import LocalStore

NEEDS = Needs(PLAN, frozenset({"a" * 32}), lease_seconds=600)


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    store = LocalStore(tmp_path / "out")
    write_works(store, ["sunset"])
    return store


def kinds(store: LocalStore, grace: timedelta = GRACE) -> dict[str, list[str]]:
    found = find_garbage(store, NEEDS, grace).found
    return {kind: [info.path for info in infos] for kind, infos in found.items()}


def test_a_clean_collection_has_no_garbage(store: LocalStore) -> None:
    age(store, 8)
    assert kinds(store) == {}


def test_files_without_a_record_go_once_they_are_old(store: LocalStore) -> None:
    orphans = write_files(store, "storm")
    assert kinds(store) == {}
    age(store, 6.9)
    assert kinds(store) == {}
    age(store, 7.1)
    assert kinds(store) == {"videos": sorted(orphans)}
    before = {info.path for info in store.list(paths.VIDEOS)}
    assert remove(store, find_garbage(store, NEEDS)) == 0
    assert before - {info.path for info in store.list(paths.VIDEOS)} == set(orphans)


def test_superseded_and_lost_results_stay(store: LocalStore) -> None:
    write_files(store, "sunset", fps=12)
    seal_shard(store, PLAN, "s", [record_of("sunset", fps=12)])
    declare_lost(store, load(store).current())
    age(store, 30)
    assert kinds(store) == {}


def test_what_is_no_output_stays(store: LocalStore) -> None:
    store.put("videos/notes.txt", b"mine")
    store.put("cache/notes.txt", b"mine")
    age(store, 30)
    assert kinds(store) == {}


def test_leftover_records_protect_their_files_even_damaged_ones(store: LocalStore) -> None:
    write_files(store, "storm")
    write_files(store, "wave")
    commit(store, record_of("storm"))
    store.put(paths.record("s", key_of("wave"), 1), b"{dam")
    age(store, 30)
    assert kinds(store) == {}


def test_a_damaged_manifest_protects_everything(store: LocalStore) -> None:
    store.put(store.list(paths.PARTS)[0].path, b"PAR1")
    age(store, 30)
    with pytest.raises(DamagedError):
        find_garbage(store, NEEDS)


def test_the_stores_clock_counts_not_ours(tmp_path: Path) -> None:
    class Behind(LocalStore):
        """A store whose clock is a year behind."""

        def _head(self, path: str) -> ObjectInfo:
            info = super()._head(path)
            assert info.modified is not None
            return replace(info, modified=info.modified - timedelta(days=365))

    store = Behind(tmp_path / "out")
    orphans = write_files(store, "storm")
    assert kinds(store) == {}  # just written, however long ago our clock says it was
    age(store, 8)
    assert kinds(store) == {"videos": sorted(orphans)}


class TestLeases:
    """What living and dead workers protect."""

    def test_a_work_in_flight_is_protected_while_its_worker_lives(self, store: LocalStore) -> None:
        orphans = write_files(store, "storm")
        age(store, 8)
        lease = Leases(store, PLAN, 600).acquire("s")
        assert lease is not None
        lease.name({key_of("storm"): "storm"})
        assert kinds(store) == {}
        lease.release()
        assert kinds(store) == {"videos": sorted(orphans)}

    def test_the_cache_of_another_plan_is_protected_while_it_runs(self, store: LocalStore) -> None:
        mine, other = (paths.cache_object("proxy", letter * 32, "png") for letter in "ab")
        for path in (mine, other):
            store.put(path, b"picture")
        age(store, 8)
        assert kinds(store) == {"cache": [other]}
        lease = Leases(store, "e" * 32, 600).acquire("s")
        assert lease is not None
        found = find_garbage(store, NEEDS)
        assert found.found == {}
        assert "another run is at work" in found.notes[0]
        lease.release()
        assert kinds(store) == {"cache": [other]}

    def test_leases_that_nobody_holds_go(self, store: LocalStore) -> None:
        lease = Leases(store, "e" * 32, 600).acquire("s1")
        assert lease is not None
        store.put(paths.lease("s0", 0), b'{"in_flight": {}}')
        age(store, 8)
        assert kinds(store) == {"leases": [paths.lease("s0", 0)]}
        lease.release()

    def test_deaths_of_works_that_are_done_or_not_planned_go(self, store: LocalStore) -> None:
        items = ("sunset", "storm", "wave", "tide")
        crashes.attribute(store, "one", {key_of(item): item for item in items})
        age(store, 8)
        lease = Leases(store, PLAN, 600).acquire("s")
        assert lease is not None
        with lease:
            lease.name({key_of("tide"): "tide"})
            needs = replace(NEEDS, stages=frozenset({key_of("sunset"), key_of("storm")}))
            [gone] = find_garbage(store, needs).found.values()
        expected = [paths.crash(key_of(item), "one") for item in ("sunset", "wave")]
        assert [info.path for info in gone] == sorted(expected)

    def test_seals_of_other_plans_go_while_nobody_is_at_work(self, store: LocalStore) -> None:
        for plan in (PLAN, "d" * 32):
            seal_all(store, plan, {})
        assert kinds(store) == {}
        age(store, 8)
        lease = Leases(store, PLAN, 600).acquire("s")
        assert lease is not None
        with lease:
            assert kinds(store) == {}
        assert kinds(store) == {"seals": [paths.seal_all("d" * 32)]}


def test_what_killed_writers_left_goes(store: LocalStore) -> None:
    names = ["videos/x/.tmp-0123456789abcdef", "cache/.tmp-fedcba9876543210"]
    for name in [*names, "catalog/.tmp-mine"]:
        (store.root / name).parent.mkdir(parents=True, exist_ok=True)
        (store.root / name).write_bytes(b"half")
    assert kinds(store, timedelta(0)) == {}  # a writer may be at them
    age(store, 8)
    assert sorted(kinds(store)["temporary"]) == sorted(names)
    remove(store, find_garbage(store, NEEDS))
    assert [p.name for p in store.root.rglob(".tmp-*")] == [".tmp-mine"]


def test_a_question_for_the_time_that_nobody_took_back_goes(store: LocalStore) -> None:
    path = f"{paths.LEASES}/clock-0123456789abcdef"
    store.put(path, b"")
    assert kinds(store, timedelta(0)) == {}
    age(store, 8)
    assert kinds(store) == {"temporary": [path]}


def test_what_a_snapshot_covers_goes(store: LocalStore) -> None:
    [part] = store.list(paths.PARTS)
    compact(store, now=datetime.now(UTC) - timedelta(days=8))
    age(store, 8)
    assert kinds(store) == {"manifest": [part.path]}
    remove(store, find_garbage(store, NEEDS))
    assert [row.item_id for row in load(store).current()] == ["sunset"]


class Racing(LocalStore):
    """Lets somebody act after the listing of the videos, or before the deletion."""

    after_listing: Callable[[], object] = staticmethod(lambda: None)
    before_deletion: Callable[[], object] = staticmethod(lambda: None)

    def _list(self, prefix: str) -> Sequence[ObjectInfo]:
        found = super()._list(prefix)
        if prefix == paths.VIDEOS:
            self.after_listing()
        return found

    def _delete(self, batch: Sequence[str]) -> None:
        if any(path.startswith(paths.VIDEOS) for path in batch):
            self.before_deletion()
        super()._delete(batch)


class TestRaces:
    """A worker makes, of a work that a crash left files of, the same files again, and commits."""

    @pytest.fixture
    def racing(self, store: LocalStore) -> Racing:
        write_files(store, "storm")
        age(store, 30)
        return Racing(store.root)

    def collect(self, store: Racing) -> tuple[Garbage, int]:
        found = find_garbage(store, NEEDS)
        return found, remove(store, found)

    @pytest.mark.parametrize("sealed", [False, True])
    def test_a_record_committed_after_the_listing_is_seen(
        self, racing: Racing, sealed: bool
    ) -> None:
        def work() -> None:
            row = commit(LocalStore(racing.root), record_of("storm"))
            if sealed:
                seal_shard(LocalStore(racing.root), PLAN, "s", [row])

        racing.after_listing = work
        found, harmed = self.collect(racing)
        assert (found.found, harmed) == ({}, 0)
        assert len(racing.list(paths.VIDEOS)) == 6

    def test_a_record_committed_at_the_very_moment_is_declared_lost(self, racing: Racing) -> None:
        racing.before_deletion = lambda: commit(LocalStore(racing.root), record_of("storm"))
        _, harmed = self.collect(racing)
        assert harmed == 1
        row = load(racing).find(key_of("storm"))
        assert row is not None
        assert row.code == "file_lost"


def test_requests_go_by_the_thousand(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "out")
    rows = [record_of(f"work {i}") for i in range(400)]
    seal_shard(store, PLAN, "s", rows)
    for row in rows:
        for output in row.outputs:
            (store.root / output.path).parent.mkdir(parents=True, exist_ok=True)
            (store.root / output.path).write_bytes(b"x")
    store.counts.clear()
    find_garbage(store, NEEDS)
    assert store.counts.total() <= 20, dict(store.counts)
