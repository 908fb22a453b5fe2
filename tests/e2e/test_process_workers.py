"""The engine `workers` with a real Prefect server and real process workers, some of them killed."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fault_table import FaultTable
from local_runner import run_locally
from paintings import tiny_run, write_run_file
from prefect_server import PrefectServer, wait_until
from process_workers import Fleet, Worker, coordinator
from promise import Objects, check

from tasks.runfile import load_run_file

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.timeout(1800)]
WORKERS: dict[str, Any] = {"engine": "workers", "shard_size": 4, "lease_seconds": 30}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    with PrefectServer(tmp_path_factory.mktemp("prefect")) as server:
        yield server


@pytest.fixture
def fleet(server: PrefectServer, tmp_path: Path) -> Iterator[Fleet]:
    with Fleet(server, tmp_path) as fleet:
        yield fleet


class Coordinator:
    """`epa run` on a run file beside it."""

    def __init__(self, fleet: Fleet, works: int, **execution: Any) -> None:
        self.folder = fleet.folder
        given = {**WORKERS, **execution}
        self.file = write_run_file(fleet.folder, works, execution=given)
        self.trace, self.log = fleet.folder / "trace", fleet.folder / "epa.log"
        self.fleet = fleet

    def start(self) -> subprocess.Popen[bytes]:
        self.process = coordinator(self.fleet.server, self.file, self.log)
        return self.process

    def hooks(self, slow: float = 0.0) -> dict[str, str]:
        return {"EPA_FAULTS_TRACE": str(self.trace), "EPA_FAULTS_SLOW": str(slow)}

    def ended(self, seconds: float = 900) -> str:
        """Wait until it ends by itself; what it said."""
        try:
            self.process.wait(seconds)
        finally:
            self.process.kill()
        return self.log.read_text()

    def rows(self) -> list[dict[str, Any]]:
        return Objects.of(load_run_file(str(self.file))).rows()

    def begun(self) -> int:
        return len(self.trace.read_text().splitlines()) if self.trace.exists() else 0


def states(fleet: Fleet) -> set[object]:
    return {run["state_name"] for run in fleet.shard_runs()}


def test_a_worker_does_the_shards_and_the_videos_are_the_same(fleet: Fleet) -> None:
    run = Coordinator(fleet, 4, shard_size=3)
    fleet.start(1, **run.hooks())
    run.start()
    said = run.ended()
    assert run.process.returncode == 0, said
    assert "4 of 4 works done" in said
    outcome = check(run.file, run.trace)
    assert outcome.faults() == {}
    assert (outcome.states, outcome.redone) == ({"done": 4}, 0)
    assert len(run.rows()) == 4
    assert states(fleet) == {"Completed"}
    assert len(fleet.shard_runs()) >= 2
    here = tiny_run(run.folder / "in", run.folder / "here")
    run_locally(here)
    frames = {row["item_id"]: row["frames_sha256"] for row in run.rows()}
    assert frames == {r["item_id"]: r["frames_sha256"] for r in Objects.of(here).rows()}


@pytest.mark.e2e
def test_three_workers_share_all_work_and_one_that_is_killed_is_missed_by_nobody(
    fleet: Fleet,
) -> None:
    run = Coordinator(fleet, 24)
    team = fleet.start(3, **run.hooks(slow=2))
    run.start()
    # In the middle: everybody has begun, and the first is at a work.
    wait_until(lambda: len({line.split()[1] for line in lines(run.trace)}) >= 3, 900)
    victim = at_work(team, run.trace)
    lost = victim.kill()
    start = time.monotonic()
    said = run.ended()
    assert run.process.returncode == 0, said
    table = FaultTable()
    # Of what was in flight, at most what its lease named is done again.
    table.keep("a worker and its flow run killed", check(run.file, run.trace), 1, redone=4)
    print(table.text(), f"\nended {time.monotonic() - start:.0f} s after the kill")
    by_worker = {row["worker"] for row in run.rows()}
    assert len(by_worker) >= 3
    assert set(lost) & {int(name.rpartition(":")[2]) for name in by_worker} or run.begun() > 24
    # Prefect's pages say so, too: nobody is left running.
    assert "Crashed" in states(fleet)
    assert not states(fleet) & {"Running", "Pending"}


def lines(trace: Path) -> list[str]:
    return trace.read_text().splitlines() if trace.exists() else []


def at_work(team: list[Worker], trace: Path) -> Worker:
    """Who has begun the latest work."""
    pid = int(lines(trace)[-1].split()[1])
    [found] = [w for w in team if pid in {process.pid for process in w.flow_runs}]
    return found


@pytest.mark.e2e
def test_cancelled_shards_and_runs_give_their_leases_back(fleet: Fleet) -> None:
    run = Coordinator(fleet, 12, lease_seconds=600)
    fleet.start(2, **run.hooks(slow=3))
    run.start()
    wait_until(lambda: run.begun() >= 2, 900)
    before = run.begun()
    run.process.terminate()  # as Prefect does when a run is cancelled, or systemd
    said = run.ended(120)
    assert run.process.returncode != 0, said
    wait_until(lambda: not fleet.shard_runs(("RUNNING", "PENDING", "CANCELLING")), 120)
    assert states(fleet) <= {"Cancelled", "Completed"}
    # At once, not after the lease time; nobody died, so no work is suspected.
    assert not list(run.folder.glob("out/leases/*.json"))
    assert not list(run.folder.glob("out/crashes/*.json"))
    assert run.begun() <= before + 4
    run.start()
    said = run.ended()
    assert run.process.returncode == 0, said
    outcome = check(run.file, run.trace)
    assert outcome.faults() == {}
    assert outcome.states == {"done": 12}


@pytest.mark.e2e
def test_a_run_ends_by_itself_when_its_last_worker_is_gone(fleet: Fleet) -> None:
    run = Coordinator(fleet, 8, worker_wait=0.5)
    [worker] = fleet.start(1, **run.hooks(slow=2))
    run.start()
    wait_until(lambda: run.begun() >= 2, 900)
    worker.kill()
    said = run.ended(400)
    assert run.process.returncode == 1, said
    assert f"'{fleet.pool}' has had no worker for 0.5 minutes" in said
    assert f"start one (prefect worker start --pool {fleet.pool}" in said
    assert "Traceback" not in said
    # What was recorded is there, and with a worker the same command goes on.
    fleet.start(1, **run.hooks())
    run.start()
    said = run.ended()
    assert run.process.returncode == 0, said
    assert check(run.file, run.trace).faults() == {}


@pytest.mark.e2e
def test_a_work_that_kills_its_workers_is_set_aside_and_the_others_are_done(fleet: Fleet) -> None:
    run = Coordinator(fleet, 6, shard_size=3)
    fleet.start(2, **run.hooks(), EPA_FAULTS_POISON="Work 4", EPA_FAULTS_LONG="1")
    run.start()
    said = run.ended(900)
    assert run.process.returncode == 1, said
    outcome = check(run.file, run.trace)
    assert outcome.faults() == {}
    assert outcome.states == {"done": 5, "quarantined": 1}


def test_a_deployment_that_is_not_there_is_named(server: PrefectServer, tmp_path: Path) -> None:
    file = write_run_file(tmp_path, 1, execution={"engine": "workers", "deployment": "no/such"})
    process = coordinator(server, file, tmp_path / "log")
    process.wait(300)
    said = (tmp_path / "log").read_text()
    assert process.returncode == 2, said
    assert "no such deployment" in said
    assert "epa deploy" in said
    assert "Traceback" not in said
