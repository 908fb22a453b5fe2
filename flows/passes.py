"""What the passes over shards have to do, and how it is said."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from catalogs.plan import PendingWork
from tasks.collection import Collection
from tasks.config import RunConfig


def proxies_to_draw(run: RunConfig, works: Iterable[PendingWork]) -> int:
    """How many of the works still need a proxy drawn in the first pass."""
    if run.proxy.name == "given" or "proxy" not in run.execution.keep:
        return 0  # without a cache between the passes, the second draws
    return sum("proxy" in work.stages for work in works)


def works_to_draw(collection: Collection) -> dict[str, int]:
    """Shard -> how many of its works still need a proxy drawn in the first pass."""
    shards = collection.plan.shards.items()
    counts = {str(name): proxies_to_draw(collection.run, works) for name, works in shards}
    return {name: count for name, count in counts.items() if count}


def spelled(counts: Mapping[str, int]) -> str:
    """Counts as a person says them: `5 done, 1 failed`."""
    return ", ".join(f"{n} {what}" for what, n in counts.items()) or "nothing left to do"
