"""The Prefect server dies in the middle of a run: the works are done and recorded all the same."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import workers
from fault_table import FaultTable
from prefect_server import BIN, PrefectServer, wait_until
from promise import check

RunFile = Callable[..., Path]
pytestmark = [pytest.mark.faults, pytest.mark.server, pytest.mark.timeout(900)]


@pytest.mark.parametrize("comes_back", [True, False], ids=["back after 20 s", "gone for good"])
def test_killed_in_the_middle(
    run_file: RunFile, table: FaultTable, tmp_path: Path, comes_back: bool
) -> None:
    works = 24
    file = run_file(works, execution={"shard_size": 6})
    trace = file.parent / "trace"
    home = tmp_path / "home"
    home.mkdir()
    command = [BIN / "epa", "run", str(file)]
    pipe = subprocess.PIPE
    with PrefectServer(home) as server:
        env = workers.environment(**server.env)
        env |= {"EPA_FAULTS_TRACE": str(trace), "EPA_FAULTS_SLOW": "0.5"}
        if not comes_back:
            env["PREFECT_CLIENT_MAX_RETRIES"] = "1"  # 5, as it is by default, take minutes a call
        process = subprocess.Popen(command, env=env, stdout=pipe, stderr=pipe, text=True)
        wait_until(trace.exists, 120)
        server.kill()
        start = time.monotonic()
        if comes_back:
            time.sleep(20)
            server.start()
        _, err = process.communicate(timeout=600)
        waited = time.monotonic() - start
        outcome = check(file, trace)
        # Whatever Prefect says of the flow run: its end cannot be told to a server that is away.
        done = outcome.states.get("done", 0)
        table.notes.append(
            f"Prefect server {'back after 20 s' if comes_back else 'gone for good'}: exit code "
            f"{process.returncode} after {waited:.0f} s, {done} of {works} works done by then"
        )
        if comes_back:
            assert process.returncode == 0, err
        elif outcome.faults():
            # It ended before its works did; a following run, without the server, ends them.
            assert process.returncode != 0
            assert outcome.states.get("done", 0) > 0
    env |= {"PREFECT_SERVER_EPHEMERAL_ENABLED": "true"}
    del env["PREFECT_API_URL"]
    again = subprocess.run(command, env=env, capture_output=True, text=True, timeout=240)
    assert again.returncode == 0, again.stderr
    outcome = check(file, trace)
    if comes_back:
        assert "Nothing to do" in again.stdout
    name = f"the Prefect server {'killed and back' if comes_back else 'gone for good'}"
    table.keep(name, outcome, 1, redone=3)
