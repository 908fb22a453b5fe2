"""Whatever dies when: no work lost, none twice, every object complete, one seal."""

import json
import os
import subprocess
import sys
import threading
import uuid
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))

from crash_worker import DIED, SHARD_SIZE, WORKS, perform, run

from catalogs import paths
from catalogs.keys import digest_bytes
from catalogs.ledger import finished, load, seal_leftovers
from catalogs.plan import Work, key_of_works, make_plan
from catalogs.records import from_table
from catalogs.shards import partition
from catalogs.store import Store

ROOT = Path(__file__).parents[2]


def sealed_shards(store: Store, plan_key: str) -> set[str]:
    listed = (Path(info.path) for info in store.list(paths.seals(plan_key)))
    return {path.stem for path in listed} - {"ALL"}


def check(store: Store, works: list[Work] = WORKS, wasted: int | None = None) -> None:
    """The state that every history has to end in."""
    ledger = load(store)
    rows = from_table(ledger.table())
    assert [row.item_id for row in rows] == sorted(work.item_id for work in works)
    assert [row.status for row in rows] == ["done"] * len(works)
    for row in rows:
        for output in row.outputs:
            data = store.get(output.path)
            assert data is not None
            assert (digest_bytes(data), len(data)) == (output.sha256, output.bytes)
    name = key_of_works(works)
    assert finished(store, name)
    shards = set(partition([work.item_id for work in works], SHARD_SIZE))
    assert sealed_shards(store, name) <= shards  # those done under an earlier plan need no seal
    if works is WORKS:
        assert sealed_shards(store, name) == shards
    assert store.list(paths.RECORDS) == []
    plan = make_plan(works, ledger, shard_size=SHARD_SIZE, material_of=lambda work: {})
    assert plan.counts == Counter(done=len(works))
    if wasted is not None:
        assert len(store.list(paths.VIDEOS)) <= len(works) + wasted


def test_death_at_every_request(tmp_path: Path) -> None:
    worker = Path(__file__).parent / "crash_worker.py"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, str(worker), str(tmp_path)],
        capture_output=True, text=True, env=environment, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    scenarios = [json.loads(line) for line in done.stdout.splitlines()]
    deaths = Counter(code for scenario in scenarios for code in scenario["codes"])
    assert set(deaths) == {0, DIED}, done.stderr
    assert deaths[DIED] > 60
    for scenario in scenarios:
        assert scenario["codes"][-1] == 0
        died = scenario["codes"].count(DIED)
        check(Store.open(scenario["root"]), wasted=died)  # at most the item in flight is redone


@pytest.mark.parametrize("url", ["local", "memory"])
def test_two_workers_in_opposite_order(url: str, tmp_path: Path) -> None:
    for turn in range(5):
        place = tmp_path / str(turn)
        address = str(place) if url == "local" else f"memory://{tmp_path.name}{turn}"
        barrier, failures = threading.Barrier(2), []

        def work(
            backwards: bool, address: str = address, barrier: threading.Barrier = barrier
        ) -> None:
            steps = run(Store.open(address), backwards=backwards)
            next(steps)  # both have planned before either begins
            barrier.wait()
            for _ in steps:
                pass

        def guarded(backwards: bool, failures: list[Exception] = failures) -> None:
            try:
                work(backwards)
            except Exception as error:  # noqa: BLE001 - shown by the main thread
                failures.append(error)

        threads = [threading.Thread(target=guarded, args=(way,)) for way in (False, True)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        check(Store.open(address))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.booleans(), max_size=16), st.booleans())
def test_any_interleaving_of_two_workers(turns: list[bool], same_order: bool) -> None:
    store = Store.open(f"memory://{uuid.uuid4().hex}")
    runs = [run(store), run(store, backwards=not same_order)]
    for second in turns:
        next(runs[second], None)
    for steps in runs:
        for _ in steps:
            pass
    for _ in run(store):
        pass
    check(store, wasted=len(WORKS))


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 12), st.integers(0, 12))
def test_a_grown_collection_redoes_nothing(before: int, more: int) -> None:
    store = Store.open(f"memory://{uuid.uuid4().hex}")
    works = [Work(f"w{i}", i, {"encode": f"{i:032x}"}) for i in range(before + more)]
    for _ in run(store, works[:before]):
        pass
    done = {info.path for info in store.list(paths.VIDEOS)}
    for _ in run(store, works):
        pass
    check(store, works, wasted=0)
    assert done <= {info.path for info in store.list(paths.VIDEOS)}


def test_a_late_worker_adds_an_orphan_and_nothing_else(tmp_path: Path) -> None:
    """Declared dead, it goes on and commits after its shard was sealed and its records removed."""
    store = Store.open(str(tmp_path))
    plan = make_plan(WORKS, load(store), shard_size=SHARD_SIZE, material_of=lambda work: {})
    for _ in run(store):
        pass
    before = load(store).table()
    for shard_id, pending in plan.shards.items():
        for work in pending:
            perform(store, shard_id, work)
    ledger = load(store)
    assert ledger.table()["item_id"].equals(before["item_id"])
    assert finished(store, plan.plan_key)
    seal_leftovers(store, plan.plan_key, ledger)
    check(store, wasted=len(WORKS))
