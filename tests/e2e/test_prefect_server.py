"""Against a real Prefect server: a run from the command line, and a cron deployment's runs."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from paintings import TINY, write_paintings
from prefect_server import BIN, PrefectServer, wait_until

pytestmark = [pytest.mark.server, pytest.mark.slow]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    with PrefectServer(tmp_path_factory.mktemp("prefect")) as server:
        yield server


def run_file(tmp_path: Path, count: int) -> Path:
    write_paintings(tmp_path / "in", count)
    file = tmp_path / "RUN.yaml"
    tree = {**TINY, "catalog": "in", "output": "out", "title": "on a server"}
    file.write_text(yaml.safe_dump(tree))
    return file


def test_a_run_shows_on_the_server(server: PrefectServer, tmp_path: Path) -> None:
    file = run_file(tmp_path, 4)
    command = [BIN / "epa", "run", str(file)]
    first = subprocess.run(command, env=server.env, capture_output=True, text=True, timeout=240)
    assert first.returncode == 0, first.stderr
    assert "4 of 4 works done" in first.stdout
    runs = server.ask("/flow_runs/filter")
    [flow_run] = [run for run in runs if run["name"] == "on a server"]
    assert flow_run["state"]["type"] == "COMPLETED"

    def recorded() -> bool:  # task runs reach the server as events, a moment later
        tasks = server.ask("/task_runs/filter")
        names = {task["name"] for task in tasks if task["flow_run_id"] == flow_run["id"]}
        return {"proxy-s", "animate-s"} <= names

    wait_until(recorded, 60)
    artifacts = {artifact["key"] for artifact in server.ask("/artifacts/filter")}
    assert {"epa-proxies", "epa-videos", "epa-shards", "epa-summary"} <= artifacts
    second = subprocess.run(command, env=server.env, capture_output=True, text=True, timeout=240)
    assert second.returncode == 0
    assert "Nothing to do" in second.stdout


def test_the_deployment_gets_its_scheduled_runs(server: PrefectServer) -> None:
    # With a wrong neighbour of Prefect (see pyproject) these never come, and nothing says so.
    root = Path(__file__).parents[2]
    env = server.env | {"PWD": str(root)}
    for command in (
        ["work-pool", "create", "epa", "--type", "process"],
        ["work-pool", "create", "epa-gpu", "--type", "process"],
        ["--no-prompt", "deploy", "--all", "--prefect-file", "deploy/prefect.yaml"],
    ):
        done = subprocess.run(
            [BIN / "prefect", *command], env=env, cwd=root, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
    found = server.ask("/deployments/filter")
    [deployment] = [entry for entry in found if entry["name"] == "animate-collection"]
    assert deployment["parameters"]["run"]["output"] == "/data/animated"
    # The run file's schema came along: the dashboard's form and the API check parameters by it.
    schema = deployment["parameter_openapi_schema"]["definitions"]["RunConfig"]
    assert schema["additionalProperties"] is False
    wanted = {"deployments": {"id": {"any_": [deployment["id"]]}}}
    wait_until(lambda: len(server.ask("/flow_runs/filter", wanted)) >= 1, 60)
    runs = server.ask("/flow_runs/filter", wanted)
    assert {run["state"]["type"] for run in runs} == {"SCHEDULED"}
