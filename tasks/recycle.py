"""Passes over shards in this process or, with ``execution.recycle_after``, in one of their own.

A process of its own is replaced after so many works, so that what leaks in a library does not add
up; and its death, whatever of, does not end the run: the next one takes over.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from multiprocessing.queues import SimpleQueue
from types import FrameType
from typing import Any, Literal

from catalogs import crashes, paths
from tasks import models, shards
from tasks.collection import Collection, current
from tasks.config import RunConfig
from tasks.failures import BrokenAccelerator, FailureWatch, RunStopped

Pass = Literal["check", "draw_proxies", "animate"]
_DEATHS = 3  # in a row that nothing was learnt from
log = logging.getLogger("epa")


def run_shard(name: Pass, run: RunConfig, shard_id: str) -> dict[str, int]:
    """One pass over a shard; counts of what came of its works.

    Raises RunStopped where the process of its own dies again and again without any work to blame.
    """
    global _process
    if run.execution.recycle_after is None:
        return shards.PASSES[name](run, shard_id)
    if _process is None:
        _process = _Process(current(run))
    return _process.call(name, shard_id)


def close() -> None:
    """End the process, if there is one, as soon as it is idle."""
    global _process
    if _process is not None:
        _process.close()
        _process = None


class _Process:
    """A process that passes run in, replaced when it dies or has done its share."""

    def __init__(self, collection: Collection):
        self.collection = collection
        self._pool: ProcessPoolExecutor | None = None
        self._events: SimpleQueue[Any] | None = None
        self._number: int | None = None
        self._works = 0

    def call(self, name: Pass, shard_id: str) -> dict[str, int]:
        deaths, known = 0, self._facts(shard_id)
        while True:
            pool = self._pool or self._start()
            try:
                arguments = (name, self.collection.run, shard_id, self.collection.watch)
                counts, self.collection.watch = pool.submit(_call, *arguments).result()
                self._count(counts)
                return counts
            except BrokenProcessPool:
                log.warning("the worker process died; another one takes over shard %s", shard_id)
            except KeyboardInterrupt:
                self._interrupt()
                raise
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
        # Not by the pool's own max_tasks_per_child: in Python 3.11 it can wait for ever.
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

    def _start(self) -> ProcessPoolExecutor:
        context = multiprocessing.get_context("spawn")
        # A new queue for each process: one that is killed may hold the old one's lock.
        self._events = context.SimpleQueue()
        threading.Thread(target=self._listen, args=(self._events,), daemon=True).start()
        self._pool = ProcessPoolExecutor(
            1,
            mp_context=context,
            initializer=_begin,
            initargs=(self._events, log.getEffectiveLevel()),
        )
        return self._pool

    def _listen(self, events: SimpleQueue[Any]) -> None:
        while (event := events.get()) is not None:
            if isinstance(event, int):
                self._number = event
            else:
                self.collection.on_record(event)

    def _interrupt(self) -> None:
        """Let the child end in order: it is not always in the terminal's group."""
        if self._number is not None:
            with suppress(ProcessLookupError):
                os.kill(self._number, signal.SIGTERM)
        self.close()

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None
        if self._events is not None:
            self._events.put(None)
            self._events = None
        self._number, self._works = None, 0


_process: _Process | None = None


# -- in the child process

_events: SimpleQueue[Any] | None = None
_last: Pass | None = None
_at_work = False


def _begin(events: SimpleQueue[Any], level: int) -> None:
    global _events
    _events = events
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    logging.getLogger("epa").setLevel(level)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent says when to stop
    signal.signal(signal.SIGTERM, _stop)
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()
    events.put(os.getpid())


def _end_with_parent() -> None:
    """A pool's process would wait for its dead parent for ever."""
    if (parent := multiprocessing.parent_process()) is not None:
        parent.join()
        main = threading.main_thread().ident or 0  # only there a signal breaks off a wait
        signal.pthread_kill(main, signal.SIGTERM)
        while _at_work:  # it ends the pass in order, then it is idle
            time.sleep(0.1)
        signal.pthread_kill(main, signal.SIGTERM)


def _call(
    name: Pass, run: RunConfig, shard_id: str, watch: FailureWatch
) -> tuple[dict[str, int], FailureWatch]:
    """One pass over a shard; ``watch`` goes from process to process, as the run goes on."""
    global _last, _at_work
    if _last not in (None, name):
        models.release()  # the proxy maker's memory belongs to the video model now
    _last = name
    collection = current(run)
    collection.watch = watch
    if _events is not None:
        collection.on_record = _events.put
    _at_work = True
    try:
        return shards.PASSES[name](run, shard_id), collection.watch
    except BrokenAccelerator as error:  # noted; a new process has a new context
        log.error("%s", error)
        os._exit(1)
    finally:
        _at_work = False


def _stop(number: int, frame: FrameType | None) -> None:
    if _at_work:
        raise KeyboardInterrupt
    os._exit(0)
