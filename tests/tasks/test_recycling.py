"""A process of its own for the work, replaced after so many works or when it dies."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest
from local_runner import run_locally
from paintings import tiny_run, write_paintings

from catalogs import leases
from tasks import recycle
from tasks.collection import Collection
from tasks.config import RunConfig
from tasks.failures import TooManyFailures


@pytest.fixture
def run(tmp_path: Path) -> RunConfig:
    source = write_paintings(tmp_path / "in", 12)
    execution = {"shard_size": 4, "recycle_after": 8}
    return tiny_run(source, tmp_path / "out", proxy={"name": "none"}, execution=execution)


@pytest.fixture(autouse=True)
def _closed() -> None:
    yield
    recycle.close()


@pytest.mark.slow
def test_the_process_is_replaced_after_so_many_works(run: RunConfig, tmp_path: Path) -> None:
    summary, collection = run_locally(run)
    assert summary.counts == {"done": 12}
    rows = collection.ledger.table().to_pylist()
    processes = {row["worker"] for row in rows}
    assert 2 <= len(processes) <= len(collection.works) // 4
    assert f":{os.getpid()}" not in " ".join(processes)
    execution = run.execution.model_copy(update={"recycle_after": None})
    here = run.model_copy(update={"output": str(tmp_path / "here"), "execution": execution})
    _, other = run_locally(here)
    frames = {row["item_id"]: row["frames_sha256"] for row in rows}
    assert frames == {r["item_id"]: r["frames_sha256"] for r in other.ledger.table().to_pylist()}


@pytest.mark.slow
def test_a_process_that_is_killed_does_not_end_the_run(
    run: RunConfig, caplog: pytest.LogCaptureFixture
) -> None:
    store = Collection.open(run).store
    killed = []

    def kill() -> None:
        end = time.monotonic() + 120
        while not killed and time.monotonic() < end:
            for holder in leases.holders(store, 600):
                if holder.in_flight:
                    killed.append(int(holder.worker.rpartition(":")[2]))
                    os.kill(killed[0], signal.SIGKILL)
                    return
            time.sleep(0.01)

    thread = threading.Thread(target=kill)
    thread.start()
    summary, collection = run_locally(run)
    thread.join()
    assert killed
    assert "the worker process died (exit code -9); another takes" in caplog.text
    assert summary.counts == {"done": 12}
    assert len(collection.ledger.table()) == 12


@pytest.mark.slow
def test_failures_are_counted_from_process_to_process(run: RunConfig, tmp_path: Path) -> None:
    source = write_paintings(tmp_path / "many", 70)
    for picture in sorted(source.glob("*.png"))[::2]:
        picture.write_bytes(picture.read_bytes()[:-400])
    execution = run.execution.model_copy(update={"shard_size": 14, "recycle_after": 14})
    many = run.model_copy(update={"catalog": str(source), "execution": execution})
    with pytest.raises(TooManyFailures, match="truncated"):
        run_locally(many)


@pytest.mark.slow
def test_what_goes_wrong_in_the_process_is_said_by_this_one(run: RunConfig) -> None:
    from epa_core.errors import UnsupportedError

    model = run.model.model_copy(update={"options": {"no_such_option": 1}})
    with pytest.raises(UnsupportedError, match="no_such_option"):
        run_locally(run.model_copy(update={"model": model}))
