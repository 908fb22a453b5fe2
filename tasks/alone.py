"""Works that two workers died with: each once more, in a process of its own, or set aside.

The process holds a lease on its one work. So one whose parent died goes on undisturbed, and its
own death is noticed and counted like any worker's, whoever finds it.
"""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from catalogs import crashes
from catalogs.leases import Lease
from tasks.commit import commit_quarantine
from tasks.failures import BrokenAccelerator, RunStopped
from tasks.models import release
from tasks.process import ProcessDied, WorkerProcess

if TYPE_CHECKING:
    import pyarrow as pa

    from tasks.collection import Collection
    from tasks.config import RunConfig
    from tasks.shard import Job, Shard

ALONE, SET_ASIDE = 2, 3  # deaths
_POLL = 1.0  # seconds
log = logging.getLogger("epa")


def do_suspects(collection: Collection, shard: Shard) -> None:
    """Bring the works to their record that workers died with more than once.

    Raises RunStopped where a process ends without a word and without a work to blame.
    """
    if not shard.suspects:
        return
    release()  # two models would not fit on most GPUs
    for job in shard.suspects:
        deaths = job.crashes
        while deaths < SET_ASIDE:
            log.warning("%d workers died with %r; it runs alone", deaths, job.work.item_id)
            if _in_child(collection, shard, job):
                shard.counts["alone"] += 1
                shard.on_record("alone")
                break
            before, deaths = deaths, crashes.counts(collection.store)[job.work.key]
            if deaths == before:
                raise RunStopped(
                    f"the process for {job.work.item_id!r} ended before it had begun the work; "
                    "is there memory for it?"
                )
        else:
            commit_quarantine(shard, job, deaths)


def _in_child(collection: Collection, shard: Shard, job: Job) -> bool:
    """Whether a child process brought the job to its record; a death is noted."""
    table = collection.table.take([job.work.index])
    job = replace(job, work=replace(job.work, index=0))
    process = WorkerProcess()
    try:
        arguments = (collection.run, table, collection.plan_key, shard.shard_id, job)
        return bool(process.call(_work, *arguments))
    except ProcessDied:
        with _lease(collection, job):  # whoever takes over counts the dead
            return False
    finally:
        process.close()


def _lease(collection: Collection, job: Job) -> Lease:
    """The lease on one work; waits for a process whose parent died and that is still at it."""
    while (lease := collection.leases.acquire(f"{ONLY}{job.work.key}")) is None:
        time.sleep(_POLL)
    return lease


ONLY = "only-"  # begins the name of a lease on one work; no shard's name does


def _work(run: RunConfig, table: pa.Table, plan_key: str, shard_id: str, job: Job) -> bool:
    """Do one job, in the child process; False where its accelerator broke, which is noted."""
    from catalogs.ended import ended
    from tasks import animate_pass
    from tasks.collection import Collection
    from tasks.compute import check_model
    from tasks.second_go import second_go
    from tasks.stalled import ended_if_stalled

    collection = Collection.of_rows(run, table, plan_key)
    with _lease(collection, job) as lease:
        # Before the model is loaded: that may be what kills, and a death must have a name.
        lease.name({job.work.key: job.work.item_id})
        attempt = (job.work.key, job.attempt)
        if ended(collection.store, shard_id, [attempt])[0]:
            return True
        shard = collection.shard_of(shard_id, job.work.cell, [job], lease)
        try:
            with ended_if_stalled(lease, run.execution.stalled_after):
                second_go([(shard, animate_pass.run(shard))], animate_pass.run, check_model)
        except BrokenAccelerator as error:
            lease.broke(error.code)
            return False
    return True
