"""Against a real Prefect server: a run from the command line, and a cron deployment's runs."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from paintings import TINY, write_paintings

pytestmark = [pytest.mark.server, pytest.mark.slow]
BIN = Path(sys.executable).parent


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A `prefect server` of its own; yields the environment of its clients."""
    home = tmp_path_factory.mktemp("prefect")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = os.environ | {
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "2",
        "DO_NOT_TRACK": "1",
    }
    log = (home / "server.log").open("w")
    process = subprocess.Popen(
        [BIN / "prefect", "server", "start", "--host", "127.0.0.1"],
        env=env, stdout=log, stderr=subprocess.STDOUT,
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}/api"
    try:
        _wait(lambda: urllib.request.urlopen(f"{url}/health", timeout=2).read() == b"true", 120)
        yield env | {"PREFECT_API_URL": url}
    finally:
        process.terminate()
        process.wait(30)
        log.close()


def _wait(ready: Any, seconds: float) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            if ready():
                return
        except OSError:
            pass
        assert time.monotonic() < end, f"not ready after {seconds} s"
        time.sleep(0.5)


def ask(env: dict[str, str], path: str, body: dict[str, Any] | None = None) -> Any:
    """One call of the server's API."""
    request = urllib.request.Request(
        env["PREFECT_API_URL"] + path,
        data=json.dumps(body if body is not None else {}).encode(),
        headers={"content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def run_file(tmp_path: Path, count: int) -> Path:
    write_paintings(tmp_path / "in", count)
    file = tmp_path / "RUN.yaml"
    tree = {**TINY, "catalog": "in", "output": "out", "title": "on a server"}
    file.write_text(yaml.safe_dump(tree))
    return file


def test_a_run_shows_on_the_server(server: dict[str, str], tmp_path: Path) -> None:
    file = run_file(tmp_path, 4)
    command = [BIN / "epa", "run", str(file)]
    first = subprocess.run(command, env=server, capture_output=True, text=True, timeout=240)
    assert first.returncode == 0, first.stderr
    assert "4 of 4 works done" in first.stdout
    runs = ask(server, "/flow_runs/filter")
    [flow_run] = [run for run in runs if run["name"] == "on a server"]
    assert flow_run["state"]["type"] == "COMPLETED"

    def recorded() -> bool:  # task runs reach the server as events, a moment later
        tasks = ask(server, "/task_runs/filter")
        names = {task["name"] for task in tasks if task["flow_run_id"] == flow_run["id"]}
        return {"proxy-s", "animate-s"} <= names

    _wait(recorded, 60)
    artifacts = {artifact["key"] for artifact in ask(server, "/artifacts/filter")}
    assert {"epa-proxies", "epa-videos", "epa-shards", "epa-summary"} <= artifacts
    second = subprocess.run(command, env=server, capture_output=True, text=True, timeout=240)
    assert second.returncode == 0
    assert "Nothing to do" in second.stdout


def test_the_deployment_gets_its_scheduled_runs(server: dict[str, str]) -> None:
    # With a wrong neighbour of Prefect (see pyproject) these never come, and nothing says so.
    root = Path(__file__).parents[2]
    env = server | {"PWD": str(root)}
    for command in (
        ["work-pool", "create", "epa", "--type", "process"],
        ["--no-prompt", "deploy", "--all", "--prefect-file", "deploy/prefect.yaml"],
    ):
        done = subprocess.run(
            [BIN / "prefect", *command], env=env, cwd=root, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
    [deployment] = ask(server, "/deployments/filter")
    assert deployment["name"] == "nightly"
    # The run file's schema came along: the dashboard's form and the API check parameters by it.
    schema = deployment["parameter_openapi_schema"]["definitions"]["RunConfig"]
    assert schema["additionalProperties"] is False
    wanted = {"deployments": {"id": {"any_": [deployment["id"]]}}}
    _wait(lambda: len(ask(server, "/flow_runs/filter", wanted)) >= 1, 60)
    runs = ask(server, "/flow_runs/filter", wanted)
    assert {run["state"]["type"] for run in runs} == {"SCHEDULED"}
