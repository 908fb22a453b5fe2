"""Runs that Prefect starts, and starts again; figures of processes that are replaced."""

from __future__ import annotations

import itertools
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import workers
import yaml
from dashboard import artifacts, figure, free_port, run_called, scrape
from paintings import write_run_file
from prefect_server import BIN, PrefectServer, wait_until

from tasks.runfile import load_run_file

pytestmark = [pytest.mark.e2e, pytest.mark.server, pytest.mark.timeout(900)]
EPA = [sys.executable, "-c", "from flows.cli import main; main()"]
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    with PrefectServer(tmp_path_factory.mktemp("prefect")) as server:
        yield server


def test_a_deployments_runs_are_tagged_and_stay_so(server: PrefectServer, tmp_path: Path) -> None:
    file = write_run_file(tmp_path, 3, title="nightly", matrix={"variant": ["V", "V+S"]})
    (tmp_path / "in" / "work-0001.png").write_bytes(b"no picture")
    run = load_run_file(str(file)).model_dump(mode="json")
    deployment = {
        "name": "nightly",
        "entrypoint": "flows/animate_collection.py:animate_collection",
        "work_pool": {"name": "epa"},
        "tags": ["museum"],
        "parameters": {"run": run},
    }
    where = {"prefect.deployments.steps.set_working_directory": {"directory": str(ROOT)}}
    prefect_file = tmp_path / "prefect.yaml"
    prefect_file.write_text(
        yaml.safe_dump({"name": "epa", "pull": [where], "deployments": [deployment]})
    )
    env = server.env | {"PWD": str(ROOT), "PYTHONPATH": str(ROOT)}
    for command in (
        ["work-pool", "create", "epa", "--type", "process"],
        ["--no-prompt", "deploy", "--all", "--prefect-file", str(prefect_file)],
    ):
        subprocess.run([BIN / "prefect", *command], env=env, cwd=ROOT, check=True)
    worker = [BIN / "prefect", "worker", "start", "--pool", "epa"]
    env |= {"PREFECT_WORKER_QUERY_SECONDS": "2"}
    working = subprocess.Popen(worker, env=env, cwd=ROOT)
    try:
        [known_as] = server.ask("/deployments/filter")
        created = server.ask(f"/deployments/{known_as['id']}/create_flow_run", {})

        def ended(count: int) -> bool:
            run = run_called(server, "nightly")
            return run["state"]["type"] == "COMPLETED" and run["run_count"] == count

        def known() -> bool:
            return any(run["name"] == "nightly" for run in server.ask("/flow_runs/filter"))

        wait_until(known, 240)
        wait_until(lambda: ended(1), 240)
        tags = ["museum", "collection: nightly", "model: preview", "variant: V", "variant: V+S"]
        assert sorted(run_called(server, "nightly")["tags"]) == sorted(tags)
        assert "| failed | 2 |" in artifacts(server, created["id"])["epa-summary"]["data"]
        # As the button "Retry" does it; the bad work is one that waits for `epa retry`.
        again = {"state": {"type": "SCHEDULED", "name": "AwaitingRetry"}, "force": True}
        server.ask(f"/flow_runs/{created['id']}/set_state", again)
        wait_until(lambda: ended(2), 240)
        assert sorted(run_called(server, "nightly")["tags"]) == sorted(tags)
        summary = server.ask("/artifacts/latest/filter")
        assert any("| to do | nothing |" in str(artifact["data"]) for artifact in summary)
    finally:
        working.terminate()
        working.wait(60)


def test_the_figures_of_a_process_that_is_replaced(server: PrefectServer, tmp_path: Path) -> None:
    port = free_port()
    execution = {"metrics_port": port, "recycle_after": 6, "shard_size": 4}
    file = write_run_file(tmp_path, 12, title="replaced", execution=execution)
    assert load_run_file(str(file)).execution.metrics_port == port
    env = workers.environment(**server.env, EPA_FAULTS_SLOW="1")
    process = subprocess.Popen([*EPA, "run", str(file)], env=env)
    seen: list[float] = []

    def look() -> None:
        while process.poll() is None:
            try:
                seen.append(figure(scrape(port), 'epa_works_total{code="",status="done"}'))
            except OSError:  # between two processes nobody listens
                seen.append(-1)
            threading.Event().wait(0.4)

    looking = threading.Thread(target=look)
    looking.start()
    assert process.wait(400) == 0
    looking.join()
    counted = [count for count in seen if count >= 0]
    assert 0 < max(counted) < 12
    # The next process counts from the start, at the same port.
    assert any(later < earlier for earlier, later in itertools.pairwise(counted))
