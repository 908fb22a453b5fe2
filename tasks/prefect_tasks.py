"""The Prefect tasks: one run per shard and pass, each a thin call of the plain function."""

from __future__ import annotations

from collections import Counter
from typing import Any

from prefect import task

from catalogs.ledger import seal_shard
from catalogs.records import Record
from tasks import animate_pass, proxy_pass
from tasks.collection import current
from tasks.compute import check_model
from tasks.config import RunConfig
from tasks.second_go import second_go

# Results and caching are Prefect's; the truth is in our records, so both stay off.
_OPTIONS: dict[str, Any] = {"persist_result": False, "cache_policy": None, "retries": 0}


@task(name="proxy-shard", task_run_name="proxy-{shard_id}", **_OPTIONS)
def proxy_shard(run: RunConfig, shard_id: str) -> dict[str, int]:
    """Draw and cache the missing proxies of one shard; counts of drawn, cached, failed."""
    counts: Counter[str] = Counter()
    shards = current(run).shards(shard_id)
    held = [(shard, proxy_pass.run(shard)) for shard in shards]
    second_go(held, proxy_pass.run, proxy_pass.maker_of)
    for shard in shards:
        counts += shard.counts
    return dict(counts)


@task(name="animate-shard", task_run_name="animate-{shard_id}", **_OPTIONS)
def animate_shard(run: RunConfig, shard_id: str) -> dict[str, int]:
    """Bring every pending work of one shard to its record, then seal it; counts by status."""
    collection = current(run)
    counts: Counter[str] = Counter()
    records: list[Record] = []
    shards = collection.shards(shard_id)
    held = [(shard, animate_pass.run(shard)) for shard in shards]
    second_go(held, animate_pass.run, check_model)
    for shard in shards:
        counts += shard.counts
        records += shard.records
    # The first pass, or a run that died, may have left records of this shard: they belong to it.
    seal_shard(collection.store, collection.plan_key, shard_id, records, merge_leftovers=True)
    return dict(counts)
