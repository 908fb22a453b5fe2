"""The Prefect tasks: one run per shard and pass, each a thin call of the plain function."""

from __future__ import annotations

from typing import Any

from prefect import task

from tasks.config import RunConfig
from tasks.recycle import Pass, run_shard, run_there

# Results and caching are Prefect's; the truth is in our records, so both stay off.
_OPTIONS: dict[str, Any] = {"persist_result": False, "cache_policy": None, "retries": 0}


@task(name="proxy-shard", task_run_name="proxy-{shard_id}", **_OPTIONS)
def proxy_shard(run: RunConfig, shard_id: str) -> dict[str, int]:
    """Draw and cache the missing proxies of one shard; counts of drawn, cached, failed, held."""
    return run_shard("draw_proxies", run, shard_id)


@task(name="animate-shard", task_run_name="animate-{shard_id}", **_OPTIONS)
def animate_shard(run: RunConfig, shard_id: str) -> dict[str, int]:
    """Bring every pending work of one shard to its record, then seal it; counts by status."""
    return run_shard("animate", run, shard_id)


@task(name="shard", task_run_name="{pass_name}-{shard_id}", **_OPTIONS)
def shard_there(pass_name: Pass, run: RunConfig, shard_id: str, run_id: str) -> dict[str, int]:
    """One pass over a shard in a process of a cluster; ``run_id`` tells one run from the next."""
    return run_there(pass_name, run, shard_id, run_id)
