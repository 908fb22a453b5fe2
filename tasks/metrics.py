"""Figures of a working process for Prometheus: works, seconds of stages, queues, GPU memory.

Off unless asked for, and then nothing here costs more than a call that does nothing. They are in
prometheus_client's default registry, which Prefect's own client metrics serve, too.
"""

from __future__ import annotations

import errno
import logging
import threading
from collections.abc import Iterable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Literal

from catalogs.records import TIMINGS
from tasks.models import memory_of_gpu

if TYPE_CHECKING:
    from catalogs.records import Record

log = logging.getLogger("epa")
PORTS = 16  # tried in turn: several workers may share a machine
_SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320, 640, 1280)
_figures: _Figures | None = None
_served: int | None = None
_beginning = threading.Lock()


class _Figures:
    """The metrics themselves; a process has them once."""

    def __init__(self) -> None:
        from prometheus_client import Counter, Gauge, Histogram

        self.works = Counter("epa_works", "Works recorded", ["status", "code"])
        self.seconds = Histogram(
            "epa_stage_seconds", "Seconds of a stage for one work", ["stage"], buckets=_SECONDS
        )
        self.depth = Gauge(
            "epa_queue_depth",
            "Works fetched that wait for the model; works computed that wait to be finished",
            ["queue"],
        )
        memory = Gauge(
            "epa_gpu_memory_bytes",
            "Memory of the worker's GPU held by tensors: now; at most since a batch's stage began",
            ["kind"],
        )
        memory.labels("now").set_function(lambda: memory_of_gpu("memory_allocated") or 0)
        memory.labels("peak").set_function(lambda: memory_of_gpu("max_memory_allocated") or 0)


def collect() -> None:
    """Keep figures from now on, for whoever serves prometheus_client's default registry."""
    global _figures
    with _beginning:
        if _figures is None:
            _figures = _Figures()


def serve(port: int | None) -> None:
    """Serve the figures at this port, or at the next that is free; a no-op for None.

    A machine without a free port has no figures, which is said in the log.
    """
    global _served
    if port is None or _served is not None:
        return
    from prometheus_client import start_http_server

    collect()
    for candidate in range(port, min(port + PORTS, 65536)):
        try:
            start_http_server(candidate)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                log.warning("no metrics at port %d: %s", candidate, error.strerror)
                return
        else:
            _served = candidate
            log.info("metrics at http://localhost:%d/metrics", candidate)
            return
    log.warning("no metrics: the ports from %d to %d are taken", port, port + PORTS - 1)


def recorded(record: Record) -> None:
    """A work has ended."""
    if _figures is None:
        return
    _figures.works.labels(record.status, record.code or "").inc()
    for name in TIMINGS:
        if (seconds := getattr(record, name)) is not None:
            _figures.seconds.labels(name.removeprefix("t_")).observe(seconds)


def queued(queue: Literal["fetch", "finish"], futures: Iterable[Future[Any]]) -> None:
    """How many works are fetched and wait for the model, or still have to be finished."""
    if _figures is not None:
        ready = queue == "fetch"
        _figures.depth.labels(queue).set(sum(future.done() == ready for future in futures))
