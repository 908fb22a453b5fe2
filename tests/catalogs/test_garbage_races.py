"""Works that are taken up between the finding of garbage and its removal, or during it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from acting import Acting
from fabricated import PLAN, age, key_of, record_of, write_files, write_works

from catalogs import crashes, garbage, paths
from catalogs.garbage import Needs, find_garbage, remove
from catalogs.leases import Lease, Leases
from catalogs.ledger import load
from catalogs.records import commit
from catalogs.store_local import LocalStore

NEEDS = Needs(PLAN, frozenset(), lease_seconds=600)


@pytest.fixture
def store(tmp_path: Path) -> Acting:
    """A collection in which a crash left the files of a work."""
    store = Acting(tmp_path / "out")
    write_works(store, ["sunset"])
    write_files(store, "storm")
    crashes.attribute(store, "one", {key_of("storm"): "storm"})
    age(store, 30)
    return store


class Worker:
    """Makes that work again: names it, writes its files, commits it."""

    def __init__(self, root: Path) -> None:
        self.store = LocalStore(root)
        self.lease: Lease | None = None

    def begin(self) -> None:
        self.lease = Leases(self.store, PLAN, 600).acquire("s")
        assert self.lease is not None
        self.lease.name({key_of("storm"): "storm"})
        write_files(self.store, "storm")

    def end(self) -> None:
        if self.lease is not None:
            commit(self.store, record_of("storm"))
            self.lease.release()
            self.lease = None


@pytest.fixture
def worker(store: Acting) -> Worker:
    return Worker(store.root)


def slept(monkeypatch: pytest.MonkeyPatch, act: Callable[[int], object]) -> list[float]:
    """Naps of the collection take no time; `act` is told their number."""
    naps: list[float] = []

    class Clock:
        def monotonic(self) -> float:
            return sum(naps)

        def sleep(self, seconds: float) -> None:
            naps.append(seconds)
            act(len(naps))

    monkeypatch.setattr(garbage, "time", Clock(), raising=False)
    return naps


def complete(store: LocalStore) -> bool:
    """Whether the work is done and has all its files, or is to be done."""
    row = load(store).find(key_of("storm"))
    there = all(store.head(output.path) for output in record_of("storm").outputs)
    return row is None or row.status != "done" or there


def test_a_work_taken_up_since_keeps_its_files(store: Acting, worker: Worker) -> None:
    found = find_garbage(store, NEEDS)
    assert "videos" in found.found
    worker.begin()
    assert remove(store, found) == 0
    worker.end()
    assert found.found == {}
    assert len(store.list(paths.CRASHES)) == 1
    row = load(store).find(key_of("storm"))
    assert row is not None
    assert row.status == "done"
    assert complete(store)


def test_a_work_taken_up_at_the_very_moment_is_waited_for(
    store: Acting, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    naps = slept(monkeypatch, lambda n: worker.end() if n == 9 else None)
    found = find_garbage(store, NEEDS)
    store.when("before", "delete", "", worker.begin)
    harmed = remove(store, found)
    worker.end()
    assert store.acted == 1
    assert complete(store)
    assert harmed == 1
    assert len(naps) == 9
    row = load(store).find(key_of("storm"))
    assert row is not None
    assert row.code == "file_lost"


def test_the_waiting_has_an_end_and_says_so(
    store: Acting, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    naps = slept(monkeypatch, lambda n: None)
    found = find_garbage(store, NEEDS)
    store.when("before", "delete", "", worker.begin)
    assert remove(store, found) == 0
    assert 900 <= sum(naps) < 910
    assert "epa verify" in found.notes[0]
    worker.end()
