"""SIGKILL at random moments: no work lost, none twice, every file whole, little redone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import workers
from fault_table import FaultTable
from kills import IN_FLIGHT, kill_and_resume
from paintings import write_paintings
from promise import check

RunFile = Callable[..., Path]


def test_twelve_kills_of_three_workers_on_one_shard(run_file: RunFile, table: FaultTable) -> None:
    file = run_file(60, execution={"shard_size": 60})
    outcome, kills = kill_and_resume(file, 12, seed=0, count=3, slow=0.02)
    assert kills >= 10
    table.keep("12 random SIGKILLs, 3 workers, 1 shard", outcome, kills, redone=IN_FLIGHT)


@pytest.mark.faults
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("count", [1, 2, 3])
def test_two_hundred_kills_on_one_shard(run_file: RunFile, table: FaultTable, count: int) -> None:
    # Without a cache there is one pass: to start again is quick.
    file = run_file(1200, execution={"shard_size": 1200, "keep": []})
    outcome, kills = kill_and_resume(file, 200, seed=count, count=count, slow=0.02)
    assert kills == 200
    name = f"200 random SIGKILLs, {count} worker{'s' * (count > 1)}, 1 shard"
    table.keep(name, outcome, kills, redone=IN_FLIGHT)


@pytest.mark.faults
def test_the_killed_parent_of_a_worker_process(run_file: RunFile, table: FaultTable) -> None:
    file = run_file(12, execution={"shard_size": 12, "recycle_after": 100})
    trace, log = file.parent / "trace", file.parent / "log"
    env = {"EPA_FAULTS_TRACE": str(trace), "EPA_FAULTS_SLOW": "0.3", "EPA_FAULTS_LONG": "1"}
    parent = workers.start(file, log=log, **env)
    end = time.monotonic() + 60
    while not trace.exists() or trace.read_text().count("\n") < 2:
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.01)
    child = int(trace.read_text().split()[1])
    assert child != parent.pid
    parent.kill()
    parent.join()
    assert workers.ended(workers.start(file, log=log, **env)) == 0, log.read_text()
    table.keep("SIGKILL of a worker process's parent", check(file, trace), 1, redone=IN_FLIGHT)
    # It may finish what it is at; after that nobody wants it, nor the memory it holds.
    end = time.monotonic() + 20
    while Path(f"/proc/{child}").exists():
        assert time.monotonic() < end, "the worker process stays behind for ever"
        time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.server
@pytest.mark.timeout(900)
def test_ctrl_c_ends_cleanly_and_a_second_call_goes_on(tmp_path: Path) -> None:
    source = write_paintings(tmp_path / "in", 12)
    settings = [
        word
        for pair in ("model.num_frames=8", "prepare.area=4096", "execution.shard_size=2")
        for word in ("--set", pair)
    ]
    epa = Path(sys.executable).parent / "epa"
    command = [epa, "animate", str(source), "-o", str(tmp_path / "out")]
    env = os.environ | {
        "PREFECT_HOME": str(tmp_path / "home"),
        "PREFECT_SERVER_EPHEMERAL_ENABLED": "true",
    }
    process = subprocess.Popen(
        [*command, *settings],
        env=env,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # Whoever runs the tests in the background may have SIGINT ignored, which is inherited.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    end = time.monotonic() + 400
    while not list((tmp_path / "out").glob("videos/*/*/video.mp4")):
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to everyone in the group
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert "run the same command again" in err
    assert "Traceback" not in err
    before = len(list((tmp_path / "out").glob("videos/*/*/video.mp4")))
    assert 0 < before < 12
    again = subprocess.run(command, env=env, capture_output=True, text=True, timeout=240)
    assert again.returncode == 0, again.stderr
    assert "12 of 12 works done" in again.stdout
    # What was recorded before the interruption was not made again.
    assert len(list((tmp_path / "out").glob("videos/*/*/video.mp4"))) == 12
