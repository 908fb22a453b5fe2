"""What tests ask of a Prefect server and of an endpoint for Prometheus."""

from __future__ import annotations

import re
import socket
import urllib.request
from typing import Any

from prefect_server import PrefectServer


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def artifacts(server: PrefectServer, flow_run_id: str) -> dict[str, dict[str, Any]]:
    """Artifacts of a run by key; one made twice fails the test."""
    wanted = {"flow_runs": {"id": {"any_": [flow_run_id]}}}
    found = server.ask("/artifacts/filter", wanted)
    by_key = {artifact["key"]: artifact for artifact in found}
    assert len(by_key) == len(found), "an artifact was made twice, not changed in place"
    return by_key


def run_called(server: PrefectServer, name: str) -> dict[str, Any]:
    [run] = [run for run in server.ask("/flow_runs/filter") if run["name"] == name]
    return run


def scrape(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        return answer.read().decode()


def figure(text: str, name: str) -> float:
    """The value of a metric with its labels, 0 where it is not there yet."""
    found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else 0.0
