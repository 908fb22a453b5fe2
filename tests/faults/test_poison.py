"""A work that kills whoever touches it is found, tried alone and set aside; nobody else suffers."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import workers
from fault_table import FaultTable
from promise import Objects, check

from catalogs import paths
from tasks.runfile import load_run_file
from tasks.stalled import EXIT_CODE

RunFile = Callable[..., Path]
WORKS = 6


def poisons(file: Path) -> dict[str, dict[str, str]]:
    """Ways in which one work ends the process: in the model, and when its picture is decoded."""
    picture = (file.parent / "in" / "work-0002.png").read_bytes()
    return {
        "in the model": {"EPA_FAULTS_POISON": "Work 2"},
        "when decoded": {"EPA_FAULTS_PICTURE": sha256(picture).hexdigest()},
    }


def set_aside(file: Path) -> list[dict[str, Any]]:
    """Rows of the works that are quarantined."""
    rows = Objects.of(load_run_file(str(file))).rows()
    return [row for row in rows if row["status"] == "quarantined"]


def quarantined(file: Path) -> list[tuple[str, str, int]]:
    """Title, code and deaths of the works that were set aside."""
    return [(row["title"], row["code"], row["crash_count"]) for row in set_aside(file)]


def blamed(file: Path) -> list[str]:
    """Ids of the works that deaths are held against."""
    objects = Objects.of(load_run_file(str(file)))
    return [objects.json(path)["item_id"] for path in objects.below(paths.CRASHES, ".json")]


@pytest.mark.parametrize(
    "where", ["in the model", pytest.param("when decoded", marks=pytest.mark.faults)]
)
def test_the_third_start_sets_it_aside(run_file: RunFile, table: FaultTable, where: str) -> None:
    file = run_file(WORKS)
    trace, log = file.parent / "trace", file.parent / "log"
    env = {"EPA_FAULTS_TRACE": str(trace), "EPA_FAULTS_LONG": "1", **poisons(file)[where]}
    codes = [workers.ended(workers.start(file, log=log, **env)) for _ in range(3)]
    assert codes == [-signal.SIGKILL, -signal.SIGKILL, 1], log.read_text()
    assert quarantined(file) == [("Work 2", "worker_killed", 3)]
    outcome = check(file, trace)
    states = {"done": WORKS - 1, "quarantined": 1}
    table.keep(f"poison {where}, 3 starts", outcome, 3, redone=3, states=states)
    # It stays set aside, and a following run has nothing to do.
    before = trace.read_bytes()
    assert workers.ended(workers.start(file, log=log, **env)) == 1
    assert trace.read_bytes() == before


@pytest.mark.faults
@pytest.mark.parametrize("where", ["in the model", "when decoded"])
def test_with_a_process_of_its_own_one_start_is_enough(
    run_file: RunFile, table: FaultTable, where: str
) -> None:
    file = run_file(WORKS, execution={"recycle_after": 100})
    trace, log = file.parent / "trace", file.parent / "log"
    env = {"EPA_FAULTS_TRACE": str(trace), "EPA_FAULTS_LONG": "1", **poisons(file)[where]}
    assert workers.ended(workers.start(file, log=log, **env)) == 1, log.read_text()
    assert quarantined(file) == [("Work 2", "worker_killed", 3)]
    states = {"done": WORKS - 1, "quarantined": 1}
    outcome = check(file, trace)
    table.keep(f"poison {where}, recycled worker", outcome, 3, redone=3, states=states)


def test_a_work_that_hangs_is_set_aside_like_one_that_kills(
    run_file: RunFile, table: FaultTable
) -> None:
    file = run_file(WORKS, execution={"stalled_after": 3, "shard_size": WORKS})
    trace, log = file.parent / "trace", file.parent / "log"
    env = {"EPA_FAULTS_TRACE": str(trace), "EPA_FAULTS_HANG": "Work 2", "EPA_FAULTS_LONG": "1"}
    codes = [workers.ended(workers.start(file, log=log, **env)) for _ in range(3)]
    assert codes == [EXIT_CODE, EXIT_CODE, 1], log.read_text()
    assert "none has begun or ended for 3 s" in log.read_text()
    assert quarantined(file) == [("Work 2", "worker_killed", 3)]
    states = {"done": WORKS - 1, "quarantined": 1}
    table.keep("a work hangs, 3 starts", check(file, trace), 3, redone=3, states=states)


@pytest.mark.faults
def test_retry_gives_it_another_chance(run_file: RunFile, table: FaultTable) -> None:
    file = run_file(2)
    log = file.parent / "log"
    poison = {"EPA_FAULTS_POISON": "Work 1", "EPA_FAULTS_LONG": "1"}
    for _ in range(3):
        workers.ended(workers.start(file, log=log, **poison))
    [row] = set_aside(file)
    assert row["item_id"] in blamed(file)
    out = file.parent / "out"
    retry = workers.start(file, "retry", out, "--reason", "worker_killed", log=log)
    assert workers.ended(retry) == 0, log.read_text()
    assert row["item_id"] not in blamed(file)
    assert workers.ended(workers.start(file, log=log)) == 0, log.read_text()
    table.keep("poison gone, epa retry", check(file), 3)


def test_a_preempted_worker_blames_nobody(run_file: RunFile, table: FaultTable) -> None:
    file = run_file(WORKS)
    trace, log = file.parent / "trace", file.parent / "log"
    env = {"EPA_FAULTS_TRACE": str(trace), "EPA_FAULTS_LONG": "1", "EPA_FAULTS_SLOW": "0.3"}
    for turn in range(3):
        before = trace.read_bytes() if trace.exists() else b""
        process = workers.start(file, log=log, **env)
        while not trace.exists() or trace.read_bytes() == before:
            assert process.exitcode is None, log.read_text()
            time.sleep(0.005)
        time.sleep(0.1 * turn)
        assert process.pid is not None
        process.terminate()
        assert workers.ended(process) == 130, log.read_text()
    assert blamed(file) == []
    assert workers.ended(workers.start(file, log=log, **env)) == 0, log.read_text()
    # What was computed is finished before the process ends: only the call that broke off is lost.
    table.keep("SIGTERM in mid-work", check(file, trace), 3, redone=1)
