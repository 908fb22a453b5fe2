"""Clocks that are wrong or jump: leases go by the store's time and by watching, nothing is lost."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import workers
from fault_table import FaultTable
from promise import check

from catalogs import paths

RunFile = Callable[..., Path]
HOUR = 3600.0
LEASE = 4.0  # seconds; of real ones, whatever the clocks say


def begun(trace: Path) -> list[str]:
    """Process numbers of the computations begun so far."""
    return [line.split()[1] for line in trace.read_text().splitlines()] if trace.exists() else []


def wait_for(what: Callable[[], object], seconds: float = 60) -> None:
    """Until ``what`` holds; AssertionError after so many seconds."""
    start = time.monotonic()
    while not what():
        assert time.monotonic() - start < seconds, "it never came about"
        time.sleep(0.01)


@pytest.mark.parametrize("hours", [-1, pytest.param(1, marks=pytest.mark.faults)])
def test_set_wrong_in_the_middle(run_file: RunFile, table: FaultTable, hours: int) -> None:
    file = run_file(6, execution={"lease_seconds": LEASE, "shard_size": 3})
    trace, clock, log = (file.parent / name for name in ("trace", "clock", "log"))
    env = {"EPA_FAULTS_TRACE": str(trace), "EPA_FAULTS_SLOW": "0.2"}
    team = [workers.start(file, clock=clock, log=log, **env) for _ in range(2)]
    wait_for(lambda: len(begun(trace)) >= 3)
    clock.write_text(str(hours * HOUR))
    assert [workers.ended(worker) for worker in team] == [0, 0], log.read_text()
    direction = "back" if hours < 0 else "forward"
    table.keep(f"clock set {direction} an hour, 2 workers", check(file, trace), 1, redone=0)


@pytest.mark.parametrize(
    "early", [pytest.param(True, marks=pytest.mark.faults), False], ids=["early", "late"]
)
def test_two_machines_an_hour_apart(run_file: RunFile, table: FaultTable, early: bool) -> None:
    file = run_file(30, execution={"lease_seconds": LEASE, "shard_size": 30})
    trace, log = file.parent / "trace", file.parent / "log"
    env = {"EPA_FAULTS_TRACE": str(trace), "EPA_FAULTS_LONG": "1", "EPA_FAULTS_STRANGER": "1"}
    offset = -HOUR if early else HOUR
    owner = workers.start(file, log=log, EPA_FAULTS_SLOW="0.5", **env)
    wait_for(lambda: begun(trace))
    other = workers.start(file, clock=offset, log=log, **env)
    time.sleep(2 * LEASE)  # the living keep what they have
    assert set(begun(trace)) == {str(owner.pid)}
    assert owner.exitcode is None
    owner.kill()
    owner.join()
    dead = len(begun(trace))
    for lease in (file.parent / "out" / paths.LEASES).rglob("*.json"):
        # The store's clock was wrong, too, and is set right after the last heartbeat.
        ahead = time.time() + HOUR
        os.utime(lease, (ahead, ahead))
    # The dead do not keep it: lease time, one look, one start. Going by any clock, it were an hour.
    wait_for(lambda: len(begun(trace)) > dead, HOUR / 30)
    assert workers.ended(other) == 0, log.read_text()
    name = f"owner killed, clocks an hour apart ({'early' if early else 'late'})"
    table.keep(name, check(file, trace), 1, redone=3)
