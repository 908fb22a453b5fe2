"""Figures for Prometheus: off unless asked for, served where there is room, true."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future

import pytest
from paintings import tiny_run

from catalogs.errors import ConfigError
from tasks import metrics


def python(code: str) -> str:
    """What a process of its own prints: a registry is a process's, and cannot be emptied."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=240
    )
    return done.stdout.strip()


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody listens at."""
    with socket.socket() as listening:
        listening.bind(("", 0))
        listening.listen()
        yield listening.getsockname()[1]


def test_a_taken_port_gives_way_to_the_next(taken: int) -> None:
    code = f"""
import logging, urllib.request
logging.basicConfig(format="%(message)s", level=logging.INFO, stream=__import__("sys").stdout)
from tasks import metrics
metrics.serve({taken})
metrics.serve({taken})
port = metrics._served
print(port - {taken}, "epa_works" in urllib.request.urlopen(f"http://127.0.0.1:{{port}}/").read().decode())
"""
    lines = python(code).splitlines()
    ahead, there = lines[-1].split()
    assert 0 < int(ahead) < metrics.PORTS
    assert there == "True"
    assert len([line for line in lines if line.startswith("metrics at ")]) == 1


def test_nothing_is_loaded_where_nobody_asked() -> None:
    code = """
import sys
sys.argv = ["epa", "--help"]
from flows.cli import main
try:
    main()
except SystemExit:
    pass
import tasks.recycle, tasks.overlap
tasks.recycle.metrics.serve(None)
tasks.overlap.metrics.queued("fetch", ())
print({"prometheus_client", "prefect", "torch"} & set(sys.modules))
"""
    assert python(code).splitlines()[-1] == "set()"


def test_queues_count_what_waits() -> None:
    done, running = Future[int](), Future[int]()
    done.set_result(1)
    metrics.collect()
    from prometheus_client import REGISTRY

    metrics.queued("fetch", [done, running, running])
    assert REGISTRY.get_sample_value("epa_queue_depth", {"queue": "fetch"}) == 1
    metrics.queued("finish", [done, running, running])
    assert REGISTRY.get_sample_value("epa_queue_depth", {"queue": "finish"}) == 2


@pytest.mark.parametrize("port", [0, 65_536, "all"])
def test_a_wrong_port_is_refused(port: object) -> None:
    with pytest.raises(ConfigError, match=r"execution\.metrics_port"):
        tiny_run("in", "out", execution={"metrics_port": port})
