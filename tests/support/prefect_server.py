"""A real `prefect server` for tests, on SQLite in a folder of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

BIN = Path(sys.executable).parent
# What the server answers while its SQLite is locked by somebody else; Prefect's own client asks
# again then, too.
LOCKED = 503


class PrefectServer:
    """A server on a free port, as a context manager; it may be killed and started again."""

    def __init__(self, home: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/api"
        self._client = requests.Session()
        again = Retry(5, status_forcelist=[LOCKED], allowed_methods=None, backoff_factor=0.5)
        self._client.mount(self.url, HTTPAdapter(max_retries=again))
        self._log = home / "server.log"
        self._env = os.environ | {
            "PREFECT_HOME": str(home),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
            "PREFECT_SERVER_API_PORT": str(self.port),
            "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "2",
            "DO_NOT_TRACK": "1",
        }

    @property
    def env(self) -> dict[str, str]:
        """The environment of its clients."""
        return self._env | {"PREFECT_API_URL": self.url}

    def start(self) -> None:
        """Start it and wait until it answers."""
        with self._log.open("a") as log:
            self._process = subprocess.Popen(
                [BIN / "prefect", "server", "start", "--host", "127.0.0.1"],
                env=self._env, stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip
        health = f"{self.url}/health"
        try:
            wait_until(lambda: urllib.request.urlopen(health, timeout=2).read() == b"true", 300)
        except BaseException:
            self.kill()
            raise

    def kill(self) -> None:
        """End it as a power cut does."""
        self._process.kill()
        self._process.wait()

    def post(self, path: str, body: dict[str, Any] | None = None) -> requests.Response:
        """One call of the server's API, whatever it answers."""
        return self._client.post(self.url + path, json=body or {}, timeout=30)

    def ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """What one call of the server's API answers; an answer that is an error is raised."""
        answer = self.post(path, body)
        answer.raise_for_status()
        return answer.json()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(30)


def wait_until(ready: Callable[[], Any], seconds: float) -> None:
    """Wait until ``ready`` says so; an address that does not answer yet is none that fails."""
    end = time.monotonic() + seconds
    while True:
        try:
            if ready():
                return
        except OSError:
            pass
        assert time.monotonic() < end, f"not ready after {seconds} s"
        time.sleep(0.5)
