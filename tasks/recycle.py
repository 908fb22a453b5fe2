"""Passes over shards in this process or, with ``execution.recycle_after``, in one of their own.

A process of its own is replaced after so many works, so that what leaks in a library does not add
up; and its death, whatever of, does not end the run: the next one takes over.
"""

from __future__ import annotations

import atexit
import logging
import os
from collections.abc import Mapping
from typing import Literal

from catalogs import crashes, paths
from tasks import metrics, models, shards
from tasks.collection import Collection, current, forget
from tasks.config import RunConfig
from tasks.failures import BrokenAccelerator, FailureWatch, RunStopped
from tasks.process import ProcessDied, WorkerProcess, tell

Pass = Literal["check", "draw_proxies", "animate"]
_DEATHS = 3  # in a row that nothing was learnt from
log = logging.getLogger("epa")


def run_shard(name: Pass, run: RunConfig, shard_id: str) -> dict[str, int]:
    """One pass over a shard; counts of what came of its works.

    Raises RunStopped where the process of its own dies again and again without any work to blame.
    """
    global _replaced
    if run.execution.recycle_after is None:
        metrics.serve(run.execution.metrics_port)
        return shards.PASSES[name](run, shard_id)
    if _replaced is None:
        _replaced = _Replaced(current(run))
    return _replaced.call(name, shard_id)


def run_there(name: Pass, run: RunConfig, shard_id: str, run_id: str) -> dict[str, int]:
    """One pass over a shard in a process that a cluster keeps; ``run_id`` tells runs apart.

    Ends the process, instead of raising BrokenAccelerator, so that the next has a new context.
    """
    global _run_id
    log.setLevel(run.execution.log_level)
    if _run_id != run_id:  # a second run must not go by the plan of the first
        close()
        forget()
        _run_id = run_id
    if run.execution.recycle_after is not None:
        return run_shard(name, run, shard_id)
    return _call(name, run, shard_id, current(run).watch)[0]


_run_id = ""


def let_go(run_id: str) -> None:
    """Give back the shard that this process has, if it is at work for that run."""
    if _run_id == run_id:
        shards.let_go()


def end(run_id: str) -> None:
    """Forget that run and its models, in a process that stays."""
    global _run_id
    if _run_id == run_id:
        _run_id = ""
        close()
        forget()
        models.release()


def close() -> None:
    """End the process, if there is one, as soon as it is idle."""
    global _replaced
    if _replaced is not None:
        _replaced.close()
        _replaced = None


class _Replaced:
    """A process that passes run in, replaced when it dies or has done its share."""

    def __init__(self, collection: Collection):
        self.collection = collection
        self._process: WorkerProcess | None = None
        self._works = 0

    def call(self, name: Pass, shard_id: str) -> dict[str, int]:
        collection = self.collection
        deaths, known = 0, self._facts(shard_id)
        while True:
            self._process = self._process or WorkerProcess()
            try:
                counts, collection.watch = self._process.call(
                    *(_call, name, collection.run, shard_id, collection.watch),
                    heard=collection.on_record,
                )
            except ProcessDied as error:
                log.warning("the worker process died (%s); another takes %s over", error, shard_id)
            else:
                self._count(counts)
                return dict(counts)
            self.close()
            before, known = known, self._facts(shard_id)
            deaths = deaths + 1 if known == before else 0
            if deaths == _DEATHS:
                raise RunStopped(
                    f"the worker process died {_DEATHS} times at shard {shard_id} before it had "
                    "begun a work: is the model too large for this machine's memory?"
                )

    def _count(self, counts: Mapping[str, int]) -> None:
        """Let the process go once it has done its share of works."""
        self._works += sum(counts.values())
        if self._works >= (self.collection.run.execution.recycle_after or 0):
            self.close()

    def _facts(self, shard_id: str) -> tuple[int, int]:
        """How much is known of the shard: deaths, noted now, and records."""
        store = self.collection.store
        lease = self.collection.leases.acquire(shard_id)
        if lease is not None:
            lease.release()
        records = len(store.list(paths.records(shard_id)))
        return crashes.counts(store).total(), records

    def close(self) -> None:
        if self._process is not None:
            self._process.close()
            self._process = None
        self._works = 0


_replaced: _Replaced | None = None
atexit.register(close)  # before multiprocessing waits for it


# -- in a process that only works

_last: Pass | None = None


def _call(
    name: Pass, run: RunConfig, shard_id: str, watch: FailureWatch
) -> tuple[dict[str, int], FailureWatch]:
    """One pass over a shard; ``watch`` goes from process to process, as the run goes on."""
    global _last
    if _last not in (None, name):
        models.release()  # the proxy maker's memory belongs to the video model now
    _last = name
    collection = current(run)
    collection.watch = watch
    collection.on_record = tell
    metrics.serve(run.execution.metrics_port)  # the figures are this process's, not its parent's
    try:
        return shards.PASSES[name](run, shard_id), collection.watch
    except BrokenAccelerator as error:  # noted; a new process has a new context
        log.error("%s", error)
        os._exit(1)
