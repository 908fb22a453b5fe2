"""A process killed before and after each of its storage calls: the next one goes on."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import workers
from fault_table import FaultTable
from object_server import S3Server
from paintings import write_run_file
from promise import Outcome, check

WORKS = 3
IN_FLIGHT = 1 + 1  # one in the model, one in the queue behind it
RunFile = Callable[..., Path]
KEEP = {"cached": {}, "uncached": {"keep": []}}


def die_at_each(
    folder: Path, place: Callable[[str], str], keep: dict[str, object], step: int
) -> tuple[list[Outcome], int]:
    """Die at every ``step``-th call, before and after it; resume each time. How many deaths."""
    outcomes: list[Outcome] = []
    for after in (False, True):
        number = 1 + (step // 2 if after else 0)
        while True:
            home = folder / f"{number}-{after}"
            home.mkdir()
            settings = {"execution": {"shard_size": WORKS, "queue_depth": 1, **keep}}
            file = write_run_file(home, WORKS, place(home.name), **settings)
            trace = home / "trace"
            log = home / "log"
            env = {"EPA_FAULTS_TRACE": str(trace)}
            first = workers.start(file, death=workers.Death(number, after), log=log, **env)
            code = workers.ended(first)
            if code == 0:
                break  # it made fewer calls than that
            assert code == -signal.SIGKILL, log.read_text()
            assert workers.ended(workers.start(file, log=log, **env)) == 0, log.read_text()
            outcomes.append(check(file, trace))
            number += step
    return outcomes, len(outcomes)


@pytest.mark.parametrize("keep", KEEP)
def test_some_local_calls(tmp_path: Path, table: FaultTable, keep: str) -> None:
    outcomes, deaths = die_at_each(tmp_path, lambda name: "out", KEEP[keep], step=11)
    assert deaths >= 8
    table.keep(
        f"SIGKILL at every 11th storage call, disk, {keep}", outcomes, deaths, redone=IN_FLIGHT
    )


@pytest.mark.faults
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("keep", KEEP)
def test_all_local_calls(tmp_path: Path, table: FaultTable, keep: str) -> None:
    outcomes, deaths = die_at_each(tmp_path, lambda name: "out", KEEP[keep], step=1)
    assert deaths >= 60
    table.keep(f"SIGKILL at each storage call, disk, {keep}", outcomes, deaths, redone=IN_FLIGHT)


@pytest.mark.faults
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("keep", KEEP)
def test_all_s3_calls(tmp_path: Path, table: FaultTable, s3: S3Server, keep: str) -> None:
    bucket = s3.bucket()
    outcomes, deaths = die_at_each(tmp_path, lambda name: f"{bucket}/{name}", KEEP[keep], step=1)
    assert deaths >= 60
    table.keep(f"SIGKILL at each storage call, S3, {keep}", outcomes, deaths, redone=IN_FLIGHT)
