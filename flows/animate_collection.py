"""The flow: plan, proxy pass, animation pass, compact, gallery; shards are done by an engine.

Everything it knows it reads from the store, so retrying, re-running, resuming and a second
deployment are all the same operation: plan, then do what is missing.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

from prefect import flow
from prefect.runtime import flow_run

from flows.engines import Engine, ShardsLeft, check_engine, engine_of
from flows.notify import notifying
from flows.passes import spelled, works_to_draw
from flows.progress import PassProgress
from flows.run_page import run_page
from flows.run_summary import publish_start, publish_summary
from flows.shard_table import ShardTable
from flows.wrap_up import Summary, publish_run, wrap_up
from tasks.collection import Collection, current, forget
from tasks.config import RunConfig
from tasks.prefect_tasks import animate_shard, proxy_shard
from tasks.recycle import Pass

log = logging.getLogger("epa")


def _flow_run_name() -> str:
    given = flow_run.parameters["run"]
    return (given if isinstance(given, RunConfig) else RunConfig.model_validate(given)).name


@flow(name="animate-collection", flow_run_name=_flow_run_name, persist_result=False)
def animate_collection(run: RunConfig) -> dict[str, Any]:
    """Animate every work of ``run`` that is not done yet; the collection's summary as JSON."""
    check_engine(run.execution)
    try:
        with run_page(run):
            return _animate(current(run)).as_json()
    finally:
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
    tasks = {"draw_proxies": proxy_shard, "animate": animate_shard}
    stopped: ShardsLeft | None = None
    table = ShardTable(collection)
    with notifying(collection, lambda: table.counts):
        with table, engine_of(collection.run.execution, tasks) as engine:
            try:
                _both_passes(engine, collection)
            except ShardsLeft as error:
                stopped = error
        summary = wrap_up(collection, time.monotonic() - started)
        publish_summary(collection, summary)
        if stopped is not None:
            raise stopped
    return summary


def _both_passes(engine: Engine, collection: Collection) -> None:
    """Proxies first, so that proxy maker and video model need not share a GPU; then videos."""
    to_draw = works_to_draw(collection) if engine.two_passes else {}
    if to_draw:
        engine.check(collection, next(iter(to_draw)))
        _pass("draw_proxies", engine, collection, to_draw)
    everything = {str(name): len(works) for name, works in collection.plan.shards.items()}
    _pass("animate", engine, collection, everything)


_SHOWN: Mapping[Pass, str] = {"draw_proxies": "proxies", "animate": "videos"}


def _pass(
    name: Pass,
    engine: Engine,
    collection: Collection,
    works: Mapping[str, int],
) -> None:
    """One pass over the shards, with its progress shown."""
    with PassProgress(_SHOWN[name], sum(works.values())) as progress:
        collection.on_record = progress.add
        for shard_id, counts in engine.go(name, collection, works):
            log.info("%s, shard %s: %s", _SHOWN[name], shard_id, spelled(counts))
