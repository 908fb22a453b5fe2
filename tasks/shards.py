"""What a worker does with one shard: takes its lease, runs a pass over it, seals it.

Both functions give back counts of what came of the works; `HELD` where a living worker has the
shard, which then is not touched.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from catalogs.errors import StoreError
from catalogs.leases import Lease
from catalogs.ledger import seal_shard
from catalogs.records import Record
from tasks import alone, animate_pass, proxy_pass
from tasks.collection import Collection, current
from tasks.compute import check_model
from tasks.config import RunConfig
from tasks.failures import BrokenAccelerator
from tasks.models import release
from tasks.second_go import second_go
from tasks.shard import Failure, Shard
from tasks.stalled import ended_if_stalled
from tasks.turns import HELD


def check(run: RunConfig, shard_id: str) -> dict[str, int]:
    """See that the video model can be had and takes the run's options, in every cell of a shard.

    A load too many costs minutes; drawing all proxies for a model that cannot run costs hours.
    """
    for shard in current(run).shards(shard_id):
        check_model(shard)
    release()
    return {}


def draw_proxies(run: RunConfig, shard_id: str) -> dict[str, int]:
    """Draw and cache the missing proxies of one shard; counts of drawn, cached, failed."""
    collection = current(run)
    with taken(collection, shard_id) as lease:
        if lease is None:
            return {HELD: 1}
        shards = collection.shards(shard_id, lease)
        _go(shards, proxy_pass.run, proxy_pass.maker_of)
        return dict(sum((shard.counts for shard in shards), Counter()))


def animate(run: RunConfig, shard_id: str) -> dict[str, int]:
    """Bring every pending work of one shard to its record, then seal it; counts by status."""
    collection = current(run)
    with taken(collection, shard_id) as lease:
        if lease is None:
            return {HELD: 1}
        shards = collection.shards(shard_id, lease)
        _go(shards, animate_pass.run, check_model)
        records: list[Record] = []
        counts: Counter[str] = Counter()
        for shard in shards:
            alone.do_suspects(collection, shard)
            shard.in_flight.clear()
            counts += shard.counts
            records += shard.records
        if lease.lost:
            return {**counts, HELD: 1}
        # The first pass, or a run that died, may have left records: they belong to the shard.
        if shards or collection.leftovers:
            seal_shard(collection.store, collection.plan_key, shard_id, records)
        return dict(counts)


def _go(
    shards: list[Shard],
    go: Callable[[Shard], list[Failure]],
    load: Callable[[Shard], object],
) -> None:
    """One pass over all cells of a shard, and a second go in float32 at what wants one."""
    second_go([(shard, go(shard)) for shard in shards], go, load)


PASSES = {"check": check, "draw_proxies": draw_proxies, "animate": animate}


@contextmanager
def taken(collection: Collection, shard_id: str) -> Iterator[Lease | None]:
    """The lease of a shard while the block runs; None where a living worker has it.

    An accelerator that broke is held against the works in flight, as the death of a worker is;
    nothing else is that can be said in words.
    """
    lease = collection.leases.acquire(shard_id)
    if lease is None:
        yield None
        return
    _taken.add(lease)
    try:
        with lease:
            try:
                with ended_if_stalled(lease, collection.run.execution.stalled_after):
                    yield lease
            except BrokenAccelerator as error:
                lease.broke(error.code)
                raise
    finally:
        _taken.discard(lease)


_taken: set[Lease] = set()


def let_go() -> None:
    """Give back what this process has taken, from any thread: somebody is about to end it.

    What it still does is recorded no more, and nobody is blamed for its end.
    """
    for lease in list(_taken):
        lease.lost = True
        with suppress(StoreError):
            lease.release()
