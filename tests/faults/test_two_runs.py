"""Two deployments of one run at the same time: both end well, each work is computed once."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import workers
from fault_table import FaultTable
from prefect_server import BIN, PrefectServer
from promise import check

RunFile = Callable[..., Path]


@pytest.mark.parametrize(
    "shard_size",
    [pytest.param(3, marks=pytest.mark.faults), 12],
    ids=["four shards", "one shard"],
)
def test_two_commands_at_once(run_file: RunFile, table: FaultTable, shard_size: int) -> None:
    file = run_file(12, execution={"shard_size": shard_size})
    trace, log = file.parent / "trace", file.parent / "log"
    env = {"EPA_FAULTS_TRACE": str(trace), "EPA_FAULTS_SLOW": "0.1"}
    team = [workers.start(file, log=log, **env) for _ in range(2)]
    assert [workers.ended(worker) for worker in team] == [0, 0], log.read_text()
    assert "Traceback" not in log.read_text()
    name = f"two runs at once, {12 // shard_size} shard(s)"
    table.keep(name, check(file, trace), 0, redone=0)


@pytest.mark.faults
@pytest.mark.server
@pytest.mark.timeout(900)
def test_two_flow_runs_on_one_server(run_file: RunFile, table: FaultTable, tmp_path: Path) -> None:
    file = run_file(24, execution={"shard_size": 6})
    trace = file.parent / "trace"
    home = tmp_path / "home"
    home.mkdir()
    with PrefectServer(home) as server:
        env = workers.environment(**server.env)
        env |= {"EPA_FAULTS_TRACE": str(trace), "EPA_FAULTS_SLOW": "0.2"}
        command = [BIN / "epa", "run", str(file)]
        pipe = subprocess.PIPE
        team = [
            subprocess.Popen(command, env=env, stdout=pipe, stderr=pipe, text=True)
            for _ in range(2)
        ]
        told = [process.communicate(timeout=400) for process in team]
        assert [process.returncode for process in team] == [0, 0], told
        runs = server.ask("/flow_runs/filter")
        assert [run["state"]["type"] for run in runs] == ["COMPLETED", "COMPLETED"]
    table.keep("two flow runs on one Prefect server", check(file, trace), 0, redone=0)
