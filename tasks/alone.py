"""Works that two workers died with: each once more, in a process of its own, or set aside.

The process holds a lease on its one work. So one whose parent died goes on undisturbed, and its
own death is noticed and counted like any worker's, whoever finds it.
"""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from types import FrameType
from typing import TYPE_CHECKING, Any

from catalogs import crashes
from catalogs.leases import Lease
from tasks.commit import commit_quarantine
from tasks.failures import BrokenAccelerator
from tasks.models import release

if TYPE_CHECKING:
    import pyarrow as pa

    from tasks.collection import Collection
    from tasks.config import RunConfig
    from tasks.shard import Job, Shard

ALONE, SET_ASIDE = 2, 3  # deaths
_POLL = 1.0  # seconds
log = logging.getLogger("epa")


def do_suspects(collection: Collection, shard: Shard) -> None:
    """Bring the works to their record that workers died with more than once."""
    if not shard.suspects:
        return
    release()  # two models would not fit on most GPUs
    for job in shard.suspects:
        deaths = job.crashes
        while deaths < SET_ASIDE:
            log.warning("two workers died with %r; it runs in a process alone", job.work.item_id)
            if _in_child(collection, shard, job):
                shard.counts["alone"] += 1
                shard.on_record("alone")
                break
            deaths = crashes.counts(collection.store)[job.work.key]
        else:
            commit_quarantine(shard, job, deaths)


def _in_child(collection: Collection, shard: Shard, job: Job) -> bool:
    """Whether a child process brought the job to its record; a death is noted."""
    table = collection.table.take([job.work.index])
    job = replace(job, work=replace(job.work, index=0))
    # Spawned: a forked child has neither a working GPU nor its parent's threads.
    context = get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    arguments = (collection.run, table, collection.plan_key, shard.shard_id, job)
    process = context.Process(target=_main, args=(sender, _work, arguments))
    process.start()
    sender.close()  # so that the child's death is the end of the pipe
    try:
        answer = receiver.recv()
    except EOFError:
        with _lease(collection, shard.shard_id, job):  # whoever takes over counts the dead
            return False
    except KeyboardInterrupt:
        process.terminate()
        raise
    finally:
        process.join()
    if isinstance(answer, Exception):
        raise answer
    return bool(answer)


def _lease(collection: Collection, shard_id: str, job: Job) -> Lease:
    """The lease on one work; waits for a process whose parent died and that is still at it."""
    name = f"{shard_id}_{job.work.key[:16]}"
    while (lease := collection.leases.acquire(name)) is None:
        time.sleep(_POLL)
    return lease


def _main(sender: Connection, work: Callable[..., bool], arguments: tuple[Any, ...]) -> None:
    """The child process: does its work and says how it went, if anybody is left to be told."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent says when to stop
    signal.signal(signal.SIGTERM, _interrupt)
    answer: bool | Exception
    try:
        answer = work(*arguments)
    except KeyboardInterrupt:
        return
    except Exception as error:  # noqa: BLE001  # raised by the parent
        answer = error
    with suppress(BrokenPipeError):
        sender.send(answer)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _work(run: RunConfig, table: pa.Table, plan_key: str, shard_id: str, job: Job) -> bool:
    """Do one job, in the child process; False where its accelerator broke, which is noted."""
    from catalogs.ended import ended
    from tasks import animate_pass
    from tasks.collection import Collection
    from tasks.compute import check_model
    from tasks.second_go import second_go

    collection = Collection.of_rows(run, table, plan_key)
    with _lease(collection, shard_id, job) as lease:
        attempt = (job.work.key, job.attempt)
        if ended(collection.store, plan_key, shard_id, [attempt])[0]:
            return True
        shard = collection.shard_of(shard_id, job.work.cell, [job], lease)
        try:
            second_go([(shard, animate_pass.run(shard))], animate_pass.run, check_model)
        except BrokenAccelerator as error:
            lease.broke(error.code)
            return False
    return True
