"""A dashboard that is slow or away never stops or slows the work."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from prefect.settings import (
    PREFECT_API_REQUEST_TIMEOUT,
    PREFECT_API_URL,
    PREFECT_CLIENT_MAX_RETRIES,
    temporary_settings,
)

from flows import artifacts
from flows.progress import PassProgress


@pytest.fixture
def silent() -> Iterator[str]:
    """A server's address where everything is accepted and nothing answered."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/api"


@pytest.fixture
def nobody() -> str:
    """An address where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    return f"http://127.0.0.1:{port}/api"


@pytest.mark.parametrize("kind", ["silent", "nobody"])
def test_publishing_does_not_wait(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(artifacts, "_PATIENCE", 1.0)
    address = request.getfixturevalue(kind)
    client = {PREFECT_API_REQUEST_TIMEOUT: 30.0, PREFECT_CLIENT_MAX_RETRIES: 2}
    with temporary_settings({PREFECT_API_URL: address, **client}):
        publisher = artifacts._Publisher(uuid4())
        monkeypatch.setattr(artifacts, "_publisher", publisher)
        start = time.monotonic()
        with PassProgress("videos", 1000) as progress:
            for _ in range(1000):
                progress.add("done")
                artifacts.publish("epa-shards", "table", "[]")
        assert time.monotonic() - start < 20
        start = time.monotonic()
        publisher.close()
        assert time.monotonic() - start < 20


def test_a_slow_server_gets_the_newest_only(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[Any] = []
    busy = threading.Event()

    class Slow(artifacts._Publisher):
        def _send(self, client: Any, key: str, content: Any) -> None:
            sent.append((key, content.data))
            busy.wait(60)

    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        publisher = Slow(uuid4())
        monkeypatch.setattr(artifacts, "_publisher", publisher)
        artifacts.publish("a", "progress", 0)
        while not sent:
            time.sleep(0.01)
        for percent in range(1, 101):
            artifacts.publish("a", "progress", percent)
        busy.set()
        publisher.close()
    assert sent == [("a", 0), ("a", 100)]


def test_progress_takes_the_counts_of_other_processes() -> None:
    with PassProgress("videos", 10) as progress:
        progress.add("done")
        progress.add_counts({"done": 3, "failed": 1})
    assert progress.counts == {"done": 4, "failed": 1}
    assert progress._percent() == 50


def test_outside_of_a_flow_nothing_is_shown() -> None:
    with artifacts.shown(["model: preview"]):
        artifacts.publish("a", "progress", 1.0)
        assert artifacts._publisher is None


@pytest.mark.server
@pytest.mark.slow
def test_the_temporary_server_tells_nobody_anything(tmp_path: Path) -> None:
    """As a person has it, without a word in the environment."""
    unset = ("PREFECT_", "DO_NOT_TRACK")
    env = {name: value for name, value in os.environ.items() if not name.startswith(unset)}
    env["PREFECT_HOME"] = str(tmp_path)
    env["PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"] = "200"
    code = """
import urllib.request
from prefect.server.api.server import SubprocessASGIServer
from flows.server import start_ephemeral_server
start_ephemeral_server()
print(urllib.request.urlopen(SubprocessASGIServer().api_url + "/admin/settings").read().decode())
"""
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr
    server = json.loads(done.stdout.splitlines()[-1])["server"]
    assert server["analytics_enabled"] is False
    assert server["ui"]["show_promotional_content"] is False
