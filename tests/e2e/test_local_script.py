"""deploy/local.sh for real: PostgreSQL, server, store, workers; runs that are killed and cancelled.

Long: every dead run is waited for as the automations wait (90 s until it counts as dead, 60 s until
it is queued again).
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from paintings import TINY, write_paintings
from prefect_server import BIN, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]
ROOT = Path(__file__).parents[2]
pytest.importorskip("moto.server")
s3fs = pytest.importorskip("s3fs")


class Hooks:
    """A web server that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []
        hooks = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers.get("content-length", 0))
                hooks.told.append(json.loads(self.rfile.read(length)))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *arguments: object) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()


class Local:
    """The set that the script starts, in a folder and on ports of its own."""

    def __init__(self, state: Path, run_file: Path, hook: str) -> None:
        server, database, store = (free_port() for _ in range(3))
        self.state, self.run_file = state, run_file
        self.api = f"http://127.0.0.1:{server}/api"
        self.env = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "AWS_"))}
        self.env |= {
            "EPA_STATE": str(state),
            "EPA_SERVER_PORT": str(server),
            "EPA_DB_PORT": str(database),
            "EPA_STORE_PORT": str(store),
            "EPA_PYTHON": str(BIN / "python"),
            "EPA_SHARD_WORKERS": "1",
            "EPA_WEBHOOK": hook,
            "PYTHONPATH": str(ROOT),
        }
        self.store = s3fs.S3FileSystem(
            key="local",
            secret="local",
            endpoint_url=f"http://127.0.0.1:{store}",
            use_listings_cache=False,
            skip_instance_cache=True,
        )

    def call(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        command = ["bash", ROOT / "deploy" / "local.sh", *arguments]
        env = self.env | environment
        return subprocess.run(command, env=env, capture_output=True, text=True, timeout=600)

    def start(self) -> str:
        done = self.call("start", str(self.run_file))
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        request = urllib.request.Request(
            self.api + path,
            data=None if body is None else json.dumps(body).encode(),
            headers={"content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def run(self, **run: Any) -> str:
        """Start a run of the deployment, with other settings; its id."""
        entry = self.ask("/deployments/name/animate-collection/animate-collection")
        tree = {**entry["parameters"]["run"], **run}
        body = {"parameters": {"run": tree}, "state": {"type": "SCHEDULED"}}
        made: str = self.ask(f"/deployments/{entry['id']}/create_flow_run", body)["id"]
        return made

    def state_of(self, run: str) -> str:
        state: str = self.ask(f"/flow_runs/{run}")["state"]["name"]
        return state

    def ended(self, run: str, seconds: float) -> str:
        """Wait for the end of a run; its state."""
        ends = ("Completed", "Failed", "Crashed", "Cancelled")
        wait_until(lambda: self.state_of(run) in ends, seconds)
        return self.state_of(run)

    def processes(self, name: str = "") -> list[int]:
        """Numbers of the processes that the script started, and of all that these started."""
        files = self.state.glob(f"{name or '*'}.pid")
        numbers = [int(file.read_text().split()[0]) for file in files]
        postmaster = self.state / "postgres" / "postmaster.pid"
        if not name and postmaster.exists():
            numbers.append(int(postmaster.read_text().split()[0]))
        return [child for number in numbers for child in family(number)]


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


def family(number: int) -> list[int]:
    lines = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True).stdout
    pairs = [tuple(map(int, line.split())) for line in lines.splitlines()]
    found = [number]
    for parent in found:
        found += [child for child, above in pairs if above == parent]
    return found


def alive(number: int) -> bool:
    with suppress(OSError):
        state = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
        return state != "Z"
    return False


@pytest.fixture(scope="module")
def hooks() -> Hooks:
    return Hooks()


@pytest.fixture(scope="module")
def local(hooks: Hooks, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Local]:
    # PostgreSQL runs as another user where the tests run as root, who cannot enter root's folders.
    state = Path(tempfile.mkdtemp(prefix="epa-local-", dir="/tmp"))
    state.chmod(0o755)
    folder = tmp_path_factory.mktemp("run")
    tree = {**TINY, "catalog": "in", "output": "s3://epa/out", "title": "local"}
    write_paintings(folder / "in", 4)
    file = folder / "RUN.yaml"
    file.write_text(yaml.safe_dump(tree))
    local = Local(state, file, hooks.url)
    try:
        local.start()
        yield local
    finally:
        local.call("stop")
        shutil.rmtree(state, ignore_errors=True)


def slow(title: str) -> dict[str, Any]:
    """Settings under which four paintings take long enough to be killed between two of them."""
    size = {"prepare": {"area": 65_536}, "model": {"num_frames": 16}}
    # A dead worker of this machine is seen at once, in a container after this long.
    execution = {**TINY["execution"], "lease_seconds": 20}  # type: ignore[dict-item]
    place = f"s3://epa/{title}"
    return {"title": title, "output": place, "execution": execution, **size}


def test_the_deployment_animates_to_the_store(local: Local) -> None:
    run = local.run()
    assert local.ended(run, 240) == "Completed"
    assert len(local.store.glob("epa/out/videos/*/*/video.mp4")) == 4
    again = local.start()  # what runs is left alone, what is deployed stays
    for service in ("database", "server", "store", "worker-0", "shard-worker-0"):
        assert f"{service}: runs already" in again
    assert "automation epa-zombies: as it is" in again
    status = local.call("status")
    assert status.returncode == 0
    assert status.stdout.count(": runs") == 5
    automations = local.ask("/automations/filter", {})
    assert sorted(entry["name"] for entry in automations) == [
        "epa-crashed-again",
        "epa-webhook",
        "epa-zombies",
    ]


def test_a_cancelled_run_gives_its_leases_back(local: Local) -> None:
    run = local.run(**slow("cancelled"))
    wait_until(lambda: local.store.glob("epa/cancelled/leases/*"), 240)
    body = {"state": {"type": "CANCELLING", "name": "Cancelling"}, "force": False}
    local.ask(f"/flow_runs/{run}/set_state", body)
    assert local.ended(run, 120) == "Cancelled"
    assert local.store.glob("epa/cancelled/leases/*") == []


def test_a_run_whose_machine_is_gone_is_seen_and_goes_on_elsewhere(
    local: Local, hooks: Hooks
) -> None:
    run = local.run(**slow("killed"))
    wait_until(lambda: local.store.glob("epa/killed/videos/*/*/video.mp4"), 300)
    before = set(local.store.glob("epa/killed/videos/*/*/video.mp4"))
    for number in local.processes("worker-0"):  # the worker, and the run below it, as a power cut
        with suppress(ProcessLookupError):
            os.kill(number, signal.SIGKILL)
    killed = time.monotonic()
    assert local.state_of(run) == "Running"
    assert "worker-0: DIED" in local.call("status").stdout
    local.start()  # another machine, as it were
    wait_until(lambda: local.state_of(run) != "Running", 200)
    seconds = time.monotonic() - killed
    print(f"the dead run was seen after {seconds:.0f} s")
    states = local.ask(f"/flow_run_states/?flow_run_id={run}")
    assert "no heartbeat for 90 s" in [state["message"] for state in states]
    wait_until(lambda: local.state_of(run) == "Completed", 400)
    assert local.ask(f"/flow_runs/{run}")["run_count"] == 2
    after = local.store.glob("epa/killed/videos/*/*/video.mp4")
    assert len(after) == 4
    assert before <= set(after), "what was recorded was made again"
    wait_until(lambda: any(told["id"] == run for told in hooks.told), 30)
    [told, *_] = [told for told in hooks.told if told["id"] == run]
    assert told["state"] == "Crashed"
    assert told["text"] == "epa: killed Crashed"


def test_stop_leaves_nothing(local: Local) -> None:
    run = local.run(**slow("stopped"))
    wait_until(lambda: local.state_of(run) == "Running", 120)
    started = local.processes()
    assert len(started) >= 8
    done = local.call("stop")
    assert done.returncode == 0, done.stderr
    assert [number for number in started if alive(number)] == []
    assert local.call("status").stdout == "nothing runs\n"
    assert local.call("stop").returncode == 0


def test_it_says_what_is_in_the_way(local: Local, tmp_path: Path) -> None:
    def refused(said: Callable[[str], bool], *arguments: str, **environment: str) -> None:
        done = local.call("start", *arguments, **environment)
        assert done.returncode == 1
        assert done.stderr.startswith("local.sh: ")
        assert said(done.stderr), done.stderr

    refused(lambda text: "no run file nowhere.yaml" in text, "nowhere.yaml")
    refused(lambda text: "EPA_DB_PORT = 'five'" in text, EPA_DB_PORT="five")
    refused(lambda text: "cannot be written" in text, EPA_STATE="/proc/epa")
    refused(lambda text: "cannot import epa" in text, EPA_PYTHON="/bin/false")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        refused(lambda text: f"port {port} is taken" in text, EPA_DB_PORT=port)
