"""Shards by the clock, and shards that a process did not plan itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from local_runner import run_locally
from paintings import tiny_run, write_paintings
from promise import Objects

from catalogs import crashes
from catalogs.ledger import reopen
from tasks import animate_pass, recycle, shards
from tasks.collection import Collection, forget, register
from tasks.config import Execution, RunConfig
from tasks.sizing import shard_size


@pytest.fixture(autouse=True)
def _forgetful() -> Iterator[None]:
    yield
    forget()


@pytest.mark.parametrize(
    ("minutes", "seconds", "works", "size"),
    [
        (10, None, 100, 48),  # nothing is recorded
        (None, 60, 100, 48),  # nothing is asked for
        (10, 30, 100, 16),  # 20 paintings, as a power of two
        (10, 30, 300, 8),  # three cells of a matrix
        (10, 3600, 100, 1),
        (600, 0.001, 100, 1024),
    ],
)
def test_shards_take_about_as_long_as_is_asked(
    minutes: float | None, seconds: float | None, works: int, size: int
) -> None:
    execution = Execution(shard_minutes=minutes)
    assert shard_size(execution, 100, works, lambda: seconds) == size


def test_never_more_shards_than_prefect_bears() -> None:
    assert shard_size(Execution(shard_minutes=1), 100_000, 100_000, lambda: 60.0) == 400


def test_the_clock_is_read_from_what_works_of_this_model_took(tmp_path: Path) -> None:
    run = tiny_run(write_paintings(tmp_path / "in", 4), tmp_path / "out")
    run_locally(run)
    ledger = Collection.open(run).ledger
    identity = Collection.open(run).chains[0].model
    timed = [
        sum(row[name] or 0.0 for name in row if name.startswith("t_"))
        for row in Objects.of(run).rows()
    ]
    seconds = ledger.seconds_per_work(identity)
    assert seconds is not None
    assert min(timed) <= seconds <= max(timed)
    assert ledger.seconds_per_work("another model") is None
    # As many minutes as sixteen works take: found without a shard_size.
    given = run.execution.model_copy(update={"shard_minutes": 16 * seconds / 60})
    assert Collection.open(run.model_copy(update={"execution": given})).shard_size == 16


def two_partitions(tmp_path: Path) -> tuple[RunConfig, Collection, str]:
    """A run in one shard, and a shard of a finer partition with some but not all works."""
    source = write_paintings(tmp_path / "in", 8)
    run = tiny_run(source, tmp_path / "out", execution={"shard_size": 100})
    fine = Collection.open(tiny_run(source, tmp_path / "out", execution={"shard_size": 4}))
    shard_id = next(iter(fine.plan.shards))
    assert len(fine.plan.shards) > 1
    assert list(Collection.open(run).plan.shards) == ["s"]
    return run, fine, str(shard_id)


def test_a_shard_of_another_partition_holds_what_its_name_says(tmp_path: Path) -> None:
    run, fine, shard_id = two_partitions(tmp_path)
    wanted = {entry.work.item_id for entry in fine.pending(shard_id)}
    register(Collection.open(run))
    assert shards.animate(run, shard_id) == {"done": len(wanted)}
    assert {row["item_id"] for row in Objects.of(run).rows()} == wanted
    # And the other way round: a coarser shard is all of its parts.
    assert {e.work.item_id for e in fine.pending("s")} == {
        e.work.item_id for e in fine.plan.pending
    }


def test_a_process_that_stays_plans_every_run_anew(tmp_path: Path) -> None:
    source = write_paintings(tmp_path / "in", 3)
    (source / "work-0001.png").write_bytes(b"no picture")
    run = tiny_run(source, tmp_path / "out")
    assert recycle.run_there("animate", run, "s", "monday") == {"done": 2, "failed": 1}
    opened = Collection.open(run)
    reopen(opened.store, [row for row in opened.ledger.current() if row.status == "failed"])
    # The plan of Monday knows of no wish; Tuesday's does, though the run is the same.
    assert recycle.run_there("animate", run, "s", "monday") == {}
    assert recycle.run_there("animate", run, "s", "tuesday") == {"failed": 1}
    recycle.end("tuesday")


def test_a_shard_that_is_let_go_is_free_at_once_and_nobody_is_blamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tiny_run(write_paintings(tmp_path / "in", 6), tmp_path / "out")
    collection = Collection.open(run)
    register(collection)
    whole, calls = animate_pass.compute_batch, 0

    def compute_batch(*arguments: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 3:
            shards.let_go()
            other = Collection.open(run).leases.acquire("s")
            assert other is not None
            other.release()
        return whole(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(animate_pass, "compute_batch", compute_batch)
    counts = shards.animate(run, "s")
    assert counts["held"] == 1
    assert counts.get("done", 0) <= 3
    assert calls < 6
    assert not crashes.counts(collection.store)
    monkeypatch.undo()
    assert run_locally(run)[0].counts == {"done": 6}
    assert len(list((tmp_path / "out").glob("videos/*/*/video.mp4"))) == 6
