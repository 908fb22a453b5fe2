"""The flow: plan, proxy pass, animation pass, compact, gallery; one task run per shard and pass.

Everything it knows it reads from the store, so retrying, re-running, resuming and a second
deployment are all the same operation: plan, then do what is missing.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from prefect import flow
from prefect.runtime import flow_run

from flows.notify import notifying
from flows.progress import PassProgress
from flows.run_page import run_page
from flows.run_summary import publish_start, publish_summary
from flows.shard_table import ShardTable
from flows.wrap_up import Summary, publish_run, wrap_up
from tasks import models, recycle
from tasks.collection import Collection, current, forget
from tasks.config import RunConfig
from tasks.prefect_tasks import animate_shard, proxy_shard
from tasks.turns import in_turn

log = logging.getLogger("epa")


def _flow_run_name() -> str:
    given = flow_run.parameters["run"]
    return (given if isinstance(given, RunConfig) else RunConfig.model_validate(given)).name


@flow(name="animate-collection", flow_run_name=_flow_run_name, persist_result=False)
def animate_collection(run: RunConfig) -> dict[str, Any]:
    """Animate every work of ``run`` that is not done yet; the collection's summary as JSON."""
    try:
        with run_page(run):
            return _animate(current(run)).as_json()
    finally:
        recycle.close()
        forget()


def _animate(collection: Collection) -> Summary:
    started = time.monotonic()
    done = collection.finished_summary()
    if done is not None:
        log.info("nothing to do: the whole plan is finished")
        summary = Summary.finished(collection, done)
        publish_summary(collection, summary)
        return summary
    collection.store.check_writable()
    publish_run(collection)
    plan = collection.plan
    log.info("plan: %d works (%s)", plan.total, spelled(plan.counts))
    publish_start(collection)
    table = ShardTable(collection)
    with notifying(collection, lambda: table.counts):
        with table:
            _both_passes(collection)
        summary = wrap_up(collection, time.monotonic() - started)
    publish_summary(collection, summary)
    return summary


def _both_passes(collection: Collection) -> None:
    """Bring every pending work to its record: first all proxies, then all videos."""
    to_draw = works_to_draw(collection)
    if to_draw:
        recycle.run_shard("check", collection.run, next(iter(to_draw)))
        _pass("proxies", collection, to_draw, proxy_shard)
        models.release()  # the proxy maker's memory belongs to the video model now
    everything = {str(name): len(works) for name, works in collection.plan.shards.items()}
    _pass("videos", collection, everything, animate_shard)


def spelled(counts: Mapping[str, int]) -> str:
    """Counts as a person says them: `5 done, 1 failed`."""
    return ", ".join(f"{n} {what}" for what, n in counts.items()) or "nothing left to do"


def works_to_draw(collection: Collection) -> dict[str, int]:
    """Shard -> how many of its works still need a proxy drawn in the first pass."""
    run = collection.run
    if run.proxy.name == "given" or "proxy" not in run.execution.keep:
        return {}  # without a cache between the passes, the second draws
    shards = collection.plan.shards.items()
    counts = {str(name): sum("proxy" in work.stages for work in works) for name, works in shards}
    return {name: count for name, count in counts.items() if count}


def _pass(
    name: str,
    collection: Collection,
    works: Mapping[str, int],
    task: Callable[[RunConfig, str], dict[str, int]],
) -> None:
    """Run one task per shard, in this process, with its progress shown."""
    with PassProgress(name, sum(works.values())) as progress:
        collection.on_record = progress.add
        do = partial(task, collection.run)
        for shard_id, counts in in_turn(collection.leases, works, do):
            log.info("%s, shard %s: %s", name, shard_id, spelled(counts))
