"""Poisonous works: done by themselves, then alone in a child process, then set aside."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from local_runner import run_locally
from paintings import tiny_run, write_paintings

from catalogs import crashes, paths
from epa_core.models.preview import PreviewPipeline
from flows.inspection import ask_retry
from flows.wrap_up import publish_run
from tasks import alone, shards
from tasks.collection import Collection
from tasks.config import RunConfig
from tasks.failures import BrokenAccelerator, RunStopped
from tasks.in_flight import InFlight
from tasks.shard import Job, turns


@pytest.fixture
def run(tmp_path: Path) -> RunConfig:
    source = write_paintings(tmp_path / "in", 6)
    return tiny_run(source, tmp_path / "out", execution={"shard_size": 6})


def blame(run: RunConfig, *items: str, deaths: int = 1) -> Collection:
    """Note that workers died while they worked on some works."""
    collection = Collection.open(run)
    keys = {work.key: work.item_id for work in collection.works if work.item_id in items}
    for death in range(deaths):
        crashes.attribute(collection.store, f"death{death}", keys)
    return Collection.open(run)


def items_of(run: RunConfig) -> list[str]:
    return [work.item_id for work in Collection.open(run).works]


def test_a_work_that_a_worker_died_with_comes_last_and_by_itself(run: RunConfig) -> None:
    guilty = items_of(run)[0]
    (shard,) = blame(run, guilty).shards("s")
    groups = [[job.work.item_id for job in group] for group in turns(shard, shard.jobs)]
    assert [len(group) for group in groups] == [5, 1]
    assert groups[1] == [guilty]


def test_after_two_deaths_a_work_runs_in_a_child_process(run: RunConfig) -> None:
    guilty = items_of(run)[0]
    blame(run, guilty, deaths=2)
    summary, collection = run_locally(run)
    assert summary.counts == {"done": 6}
    workers = {row["item_id"]: row["worker"] for row in collection.ledger.table().to_pylist()}
    own = {worker for item, worker in workers.items() if item != guilty}
    assert len(own) == 1
    assert workers[guilty] not in own
    record = collection.ledger.history(guilty)[-1]
    assert record.crash_count == 2
    assert record.started_at
    assert record.finished_at
    assert record.started_at <= record.finished_at


def test_what_a_child_makes_is_what_anybody_makes(run: RunConfig, tmp_path: Path) -> None:
    plain = run.model_copy(update={"output": str(tmp_path / "plain")})
    _, calm = run_locally(plain)
    blame(run, *items_of(run)[:1], deaths=2)
    _, alarmed = run_locally(run)
    frames = [
        {row["item_id"]: row["frames_sha256"] for row in one.ledger.table().to_pylist()}
        for one in (calm, alarmed)
    ]
    assert frames[0] == frames[1]


def test_after_three_deaths_a_work_is_set_aside_until_asked_for(run: RunConfig) -> None:
    guilty = items_of(run)[0]
    blame(run, guilty, deaths=3)
    summary, collection = run_locally(run)
    assert summary.counts == {"done": 5, "quarantined": 1}
    assert summary.codes == {"worker_killed": 1}
    record = collection.ledger.history(guilty)[-1]
    assert (record.status, record.code, record.crash_count) == ("quarantined", "worker_killed", 3)
    assert Collection.open(run).finished_summary() is not None  # and so it stays
    publish_run(collection)
    assert ask_retry(run.output, ["worker_killed"], []) == 1
    assert crashes.counts(collection.store) == {}
    summary, _ = run_locally(run)
    assert summary.counts == {"done": 6}


def test_a_child_that_dies_is_the_third_death(
    run: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    guilty = items_of(run)[0]
    blame(run, guilty, deaths=2)
    monkeypatch.setattr(alone, "_work", _dies)  # by its name: the child imports it from here
    summary, collection = run_locally(run)
    assert summary.counts == {"done": 5, "quarantined": 1}
    assert collection.ledger.history(guilty)[-1].crash_count == 3
    assert collection.store.list(paths.LEASES) == []


def _dies(run: RunConfig, table: Any, plan_key: str, shard_id: str, job: Job) -> bool:
    """Take the lease and name the work as the real one does, then be killed."""
    collection = Collection.of_rows(run, table, plan_key)
    lease = collection.leases.acquire(f"{alone.ONLY}{job.work.key}")
    assert lease is not None
    lease.name({job.work.key: job.work.item_id})
    os.kill(os.getpid(), signal.SIGKILL)
    return True


def test_a_child_that_dies_before_its_work_ends_the_run_and_blames_nobody(
    run: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    guilty = items_of(run)[0]
    collection = blame(run, guilty, deaths=2)
    monkeypatch.setattr(alone, "_work", _dies_early)
    with pytest.raises(RunStopped, match="ended before"):
        run_locally(run)
    assert sorted(crashes.counts(collection.store).values()) == [2]


def _dies_early(*_: Any) -> bool:
    os.kill(os.getpid(), signal.SIGKILL)
    return True


def test_a_broken_accelerator_counts_as_a_death_and_ends_the_run(
    run: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(self: PreviewPipeline, **arguments: Any) -> Any:
        raise RuntimeError("CUDA error: device-side assert triggered")

    with monkeypatch.context() as patched:
        patched.setattr(PreviewPipeline, "__call__", breaks)
        with pytest.raises(BrokenAccelerator):
            run_locally(run)
    collection = Collection.open(run)
    assert 1 <= len(crashes.counts(collection.store)) <= 6
    assert collection.store.list(paths.LEASES) == []
    summary, _ = run_locally(run)
    assert summary.counts == {"done": 6}


def test_a_run_that_is_interrupted_blames_nobody(
    run: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(self: PreviewPipeline, **arguments: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(PreviewPipeline, "__call__", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run_locally(run)
    store = Collection.open(run).store
    assert crashes.counts(store) == {}
    assert store.list(paths.LEASES) == []


def test_works_are_named_before_they_are_touched_and_seldom(run: RunConfig) -> None:
    collection = Collection.open(run)
    lease = collection.leases.acquire("s")
    assert lease is not None
    named: list[dict[str, str]] = []
    whole = lease.name

    def noted(in_flight: Any) -> None:
        named.append(dict(in_flight))
        whole(in_flight)

    lease.name = noted  # type: ignore[method-assign]  # still writes
    in_flight = InFlight(lease)
    (shard,) = collection.shards("s")
    in_flight.expect(shard.jobs)
    for job in shard.jobs:
        in_flight.begin(job)
        assert job.work.key in named[-1]
        in_flight.end(job)
    assert len(named) < len(shard.jobs)  # works of a moment are named several at once
    in_flight.clear()
    assert named[-1] == {}


def test_a_worker_that_was_taken_over_from_stops_and_leaves_the_rest(
    run: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = PreviewPipeline.__call__
    collection = Collection.open(run)

    calls = []

    def taken_over(self: PreviewPipeline, **arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 6:  # in the third work, when the first is recorded
            while not collection.store.list(paths.RECORDS):
                time.sleep(0.01)
            for lease in held:
                lease.lost = True
        return whole(self, **arguments)

    held: list[Any] = []
    acquire = type(collection.leases).acquire

    def remembered(self: Any, shard_id: str) -> Any:
        lease = acquire(self, shard_id)
        held.append(lease)
        return lease

    monkeypatch.setattr(type(collection.leases), "acquire", remembered)
    monkeypatch.setattr(PreviewPipeline, "__call__", taken_over)
    counts = shards.animate(run, "s")
    assert counts["held"] == 1
    assert 0 < counts["done"] < 6
    # What was at work when it was noticed is left to the other one, too.
    assert len(collection.store.list(paths.RECORDS)) == counts["done"]


@pytest.mark.parametrize("name", ["check", "draw_proxies", "animate"])
def test_a_shard_of_which_nothing_is_left_is_no_work(run: RunConfig, name: str) -> None:
    run_locally(run)
    assert shards.PASSES[name](run, "s") == {}
