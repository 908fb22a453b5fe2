"""Real Prefect process workers for tests, each started as a service manager would."""

from __future__ import annotations

import secrets
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Self

import psutil
import workers
from prefect_server import BIN, PrefectServer, wait_until


def environment(server: PrefectServer, **more: str) -> dict[str, str]:
    """The environment of a server's clients under test, with the hooks of the fault tests."""
    ours = {name: workers.environment()[name] for name in ("PYTHONPATH", "OMP_NUM_THREADS")}
    return {**server.env, **ours, **more}


class Worker:
    """One `prefect worker start --limit 1`, in a session of its own, with its flow runs."""

    def __init__(
        self, server: PrefectServer, pool: str, name: str, folder: Path, **env: str
    ) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        given = environment(server, **env)
        given |= {"PREFECT_WORKER_QUERY_SECONDS": "2", "PREFECT_WORKER_HEARTBEAT_SECONDS": "5"}
        given |= {"PREFECT_LOGGING_EXTRA_LOGGERS": "epa"}
        given |= {"PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore"}
        command = [BIN / "prefect", "worker", "start", "--pool", pool, "--name", name]
        command += ["--limit", "1", "--type", "process", "--no-create-pool-if-not-found"]
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                command, env=given, cwd=folder, stdout=log, stderr=log, start_new_session=True
            )

    @property
    def flow_runs(self) -> list[psutil.Process]:
        """The processes of its flow runs."""
        with suppress(psutil.NoSuchProcess):
            return psutil.Process(self.process.pid).children(recursive=True)
        return []

    def kill(self) -> list[int]:
        """SIGKILL to the worker and all below it at once, as when a machine goes; their ids."""
        lost = [psutil.Process(self.process.pid), *self.flow_runs]
        for process in lost:
            process.suspend()  # nobody sees another one die, and says so
        for process in lost:
            process.kill()
        self.process.wait(10)
        return [process.pid for process in lost]

    def stop(self) -> None:
        """End it in order, and whatever is still below it."""
        below = self.flow_runs
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(20)
        for process in [*below, *([self.process] if self.process.poll() is None else [])]:
            with suppress(psutil.NoSuchProcess, ProcessLookupError):
                process.kill()
        self.process.wait(10)


class Fleet:
    """A pool of its own with the deployment `animate-shard`, and the workers tests start on it."""

    def __init__(self, server: PrefectServer, folder: Path) -> None:
        self.server, self.folder = server, folder
        self.pool = f"epa-gpu-{secrets.token_hex(2)}"
        self.workers: list[Worker] = []

    def start(self, count: int, **env: str) -> list[Worker]:
        """Start so many workers and wait until the server knows them."""
        first = len(self.workers)
        started = [
            Worker(self.server, self.pool, f"worker-{first + n}", self.folder, **env)
            for n in range(count)
        ]
        self.workers += started
        names = {worker.name for worker in started}
        wait_until(lambda: names <= self._online(), 300)
        return started

    def _online(self) -> set[str]:
        known = self.server.ask(f"/work_pools/{self.pool}/workers/filter", {})
        return {worker["name"] for worker in known if worker["status"] == "ONLINE"}

    def shard_runs(self, states: tuple[str, ...] = ()) -> list[dict[str, object]]:
        """The flow runs of shards that are in one of some states, or all."""
        runs = self.server.ask("/flow_runs/filter")
        mine = [run for run in runs if run["work_pool_name"] == self.pool]
        return [run for run in mine if not states or run["state_type"] in states]

    def __enter__(self) -> Self:
        """Create the pool and the deployment, as `prefect deploy` does."""
        from prefect.utilities.callables import parameter_schema

        from flows.animate_shard import animate_shard

        root = str(workers.ROOT)
        self.server.ask("/work_pools/", {"name": self.pool, "type": "process"})
        flow = self.server.ask("/flows/", {"name": animate_shard.name})
        step = {"prefect.deployments.steps.set_working_directory": {"directory": root}}
        deployment = {
            "name": "animate-shard",
            "flow_id": flow["id"],
            "entrypoint": "flows/animate_shard.py:animate_shard",
            "path": root,
            "pull_steps": [step],
            "work_pool_name": self.pool,
            "parameter_openapi_schema": parameter_schema(animate_shard).model_dump_for_openapi(),
            "enforce_parameter_schema": True,
        }
        self.server.ask("/deployments/", deployment)
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers:
            worker.stop()


def coordinator(server: PrefectServer, run_file: Path, log: Path, **env: str) -> subprocess.Popen:
    """`epa run` with the engine that the run file names; it says all it says to ``log``."""
    given = environment(server, **env)
    with log.open("a") as file:
        return subprocess.Popen(
            [BIN / "epa", "run", str(run_file)], env=given, stdout=file, stderr=file
        )
