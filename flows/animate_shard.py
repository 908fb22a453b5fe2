"""The flow of one shard, for a work pool with a worker for each GPU."""

from __future__ import annotations

from collections import Counter

from prefect import flow

from tasks import models, recycle
from tasks.collection import current, forget
from tasks.config import RunConfig


@flow(name="animate-shard", flow_run_name="animate-{shard_id}", persist_result=False)
def animate_shard(run: RunConfig, shard_id: str) -> dict[str, int]:
    """Both passes over one shard of ``run``; counts of what came of its works."""
    counts: Counter[str] = Counter()
    try:
        current(run)
        counts.update(recycle.run_shard("draw_proxies", run, shard_id))
        models.release()  # the proxy maker's memory belongs to the video model now
        counts.update(recycle.run_shard("animate", run, shard_id))
        return dict(counts)
    finally:
        recycle.close()
        forget()
