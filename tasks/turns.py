"""The order in which a run takes its shards: those that other workers hold come when they are free.

A run ends when the whole plan is done, by whomever: it waits for its neighbours, and takes over
from those that died.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping

from catalogs.leases import Holder, Leases

HELD = "held"  # count of a shard that a living worker has
_POLLS = 20  # in the lease time
_LONGEST = 5.0  # seconds between two looks
_log = logging.getLogger("epa")


def in_turn(
    leases: Leases, shard_ids: Iterable[str], do: Callable[[str], Mapping[str, int]]
) -> Iterator[tuple[str, Mapping[str, int]]]:
    """Call ``do`` for every shard until none answers that it is held; give each one's counts."""
    free, held = list(shard_ids), list[str]()
    while free or held:
        for shard_id in free:
            counts = do(shard_id)
            if HELD in counts:
                held.append(shard_id)
            yield shard_id, {name: count for name, count in counts.items() if name != HELD}
        free = _freed(leases, held) if held else []
        held = [shard_id for shard_id in held if shard_id not in free]


def _freed(leases: Leases, held: list[str]) -> list[str]:
    """Wait until some of the shards are not held by a living worker any more."""
    said = False
    longest = min(leases.seconds / _POLLS, _LONGEST)
    while True:
        # First of all: two workers that step back from each other must not meet again at once.
        time.sleep(random.uniform(0, longest))  # noqa: S311 - jitter
        busy = leases.busy(held)
        free = [shard_id for shard_id in held if shard_id not in busy]
        if free:
            return free
        if not said:
            _log.info("waiting for %s", _spelled(busy))
            said = True


def _spelled(busy: Mapping[str, Holder]) -> str:
    workers = ", ".join(sorted({holder.worker for holder in busy.values()}))
    return f"{len(busy)} shards that are worked on by {workers}"
