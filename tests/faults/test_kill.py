"""kill -9 in the middle: no work lost, none twice, every file whole, little redone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from kills import _start, check, kill_and_resume
from paintings import TINY, write_paintings


def run_file(tmp_path: Path, count: int, **execution: int) -> Path:
    write_paintings(tmp_path / "in", count)
    tree = {**TINY, "catalog": "in", "output": "out"}
    tree["execution"] = {**TINY["execution"], "shard_size": 6, **execution}
    file = tmp_path / "RUN.yaml"
    file.write_text(yaml.safe_dump(tree))
    return file


@pytest.mark.slow
def test_kill_nine_loses_nothing(tmp_path: Path) -> None:
    outcome = kill_and_resume(run_file(tmp_path, 20), tmp_path / "trace", kills=4, seed=0)
    assert outcome.kills >= 3
    assert (outcome.lost, outcome.twice, outcome.damaged) == (0, 0, 0)
    assert outcome.rows == outcome.works == 20
    # In flight at a kill: one batch in the model, two results waiting, one being encoded.
    assert outcome.redone <= outcome.kills * (2 + 2 + 1)


@pytest.mark.slow
def test_two_workers_on_one_collection_are_harmless(tmp_path: Path) -> None:
    file, trace = run_file(tmp_path, 12), tmp_path / "trace"
    workers = [_start(file, trace) for _ in range(2)]
    assert [worker.wait(300) for worker in workers] == [0, 0]
    outcome = check(file, trace)
    # Both may have computed a work, and both results are kept; the manifest shows one of them.
    assert (outcome.lost, outcome.damaged) == (0, 0)
    assert outcome.rows == 12


@pytest.mark.slow
@pytest.mark.server
def test_ctrl_c_ends_cleanly_and_a_second_call_goes_on(tmp_path: Path) -> None:
    source = write_paintings(tmp_path / "in", 24)
    settings = [
        word
        for pair in ("model.num_frames=8", "prepare.area=4096", "execution.shard_size=3")
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
    end = time.monotonic() + 120
    while not list((tmp_path / "out").glob("videos/*/*/video.mp4")):
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to everyone in the group
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "run the same command again" in err
    assert "Traceback" not in err
    before = len(list((tmp_path / "out").glob("videos/*/*/video.mp4")))
    assert 0 < before < 24
    again = subprocess.run(command, env=env, capture_output=True, text=True, timeout=240)
    assert again.returncode == 0, again.stderr
    assert "24 of 24 works done" in again.stdout
    # What was recorded before the interruption was not made again.
    assert len(list((tmp_path / "out").glob("videos/*/*/video.mp4"))) == 24
