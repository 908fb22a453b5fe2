"""Hands shards out and takes them back until the store says that all are over.

Whoever does a shard may die, lose it to another run, or end before its works do: then it is handed
out again, as long as something is learnt each time. Nobody but the store is believed.
"""

from __future__ import annotations

import logging
import random
import time
from collections import Counter
from collections.abc import Mapping

from flows.engines.base import Counts, Ending, Hands, ShardsLeft
from tasks.collection import Collection
from tasks.follow import Following

log = logging.getLogger("epa")
POLL = 2.0  # seconds
PAUSE = 5.0  # seconds before a shard is handed out again
VAIN = 3  # turns in a row of which nothing was learnt
_SAY = 30.0  # seconds nobody is there before anybody is told


def dispatch(
    collection: Collection,
    works: Mapping[str, int],
    hands: Hands,
    *,
    recorded: bool,
) -> Counts:
    """Let ``hands`` do the shards of ``works``; each one's counts once it is over.

    Where the pass leaves nothing ``recorded`` (no record tells of a proxy) an orderly end will do.
    Raises ShardsLeft where shards could not be ended, RunStopped, and what every worker would meet.
    """
    yield from _Round(collection, works, hands, recorded).ends()


class _Round:
    def __init__(
        self,
        collection: Collection,
        works: Mapping[str, int],
        hands: Hands,
        recorded: bool,
    ):
        self.collection, self.hands, self.recorded = collection, hands, recorded
        self.following = Following(collection, works)
        self.open = dict.fromkeys(works)  # in the order in which they are handed out
        self.held: set[str] = set()
        self.later: dict[str, float] = {}  # shard -> when it is handed out again
        self.learnt: dict[str, int] = {}
        self.vain: Counter[str] = Counter()
        self.given_up: dict[str, str] = {}  # shard -> the last error
        self.absent_since: float | None = None
        self.asked = 0.0

    def ends(self) -> Counts:
        try:
            for shard_id in self.open:
                self.hands.submit(shard_id)
            while self.open:
                for ending in self.hands.endings(POLL):
                    counts = self._judge(ending)
                    if counts is not None:
                        yield ending.shard_id, counts
                if self.recorded:
                    self.following.look()
                self._hand_out_again()
                self._check_presence()
        except BaseException:
            self.hands.cancel()
            raise
        if self.given_up:
            shards = ", ".join(self.given_up)
            raise ShardsLeft(
                f"{len(self.given_up)} shards could not be ended ({shards}): {VAIN} times in a row "
                f"whoever worked on one ended before any work did, last with: "
                f"{next(reversed(self.given_up.values()))}; what is recorded stays recorded, run "
                "the same command again once the cause is mended"
            )

    def _judge(self, ending: Ending) -> Mapping[str, int] | None:
        """The counts of a shard that is over; else what is to be done about it."""
        shard_id = ending.shard_id
        if ending.stop is not None:
            raise ending.stop
        if shard_id not in self.open:
            return None
        if self.recorded and self.following.over(shard_id):
            del self.open[shard_id]
            return self.following.counts[shard_id]
        if ending.held:
            self.held.add(shard_id)
        elif not (self.recorded or ending.error):
            del self.open[shard_id]
            for status, count in ending.counts.items():
                for _ in range(count):
                    self.collection.on_record(status)
            return ending.counts
        else:
            self._again(shard_id, ending.error or "it ended before its works did")
        return None

    def _again(self, shard_id: str, error: str) -> None:
        """Hand a shard out again after a pause, unless nothing is learnt of it any more."""
        lease = self.collection.leases.acquire(shard_id)  # so that a death is noted
        if lease is not None:
            lease.release()
        known = self.following.learnt(shard_id)
        in_vain = known == self.learnt.get(shard_id, 0)
        self.vain[shard_id] = self.vain[shard_id] + 1 if in_vain else 0
        self.learnt[shard_id] = known
        if self.vain[shard_id] >= VAIN:
            log.error("shard %s is given up: %s", shard_id, error)
            del self.open[shard_id]
            self.given_up[shard_id] = error
            return
        log.warning("shard %s goes to another worker: %s", shard_id, error)
        self.later[shard_id] = time.monotonic() + PAUSE

    def _hand_out_again(self) -> None:
        now = time.monotonic()
        due = [shard_id for shard_id, moment in self.later.items() if moment <= now]
        if self.held and now >= self.asked:
            self.asked = now + POLL + random.uniform(0, POLL)  # noqa: S311 - jitter
            busy = self.collection.leases.busy(self.held)
            free = self.held - busy.keys()
            self.held -= free
            due += free
        for shard_id in due:
            self.later.pop(shard_id, None)
            self.hands.submit(shard_id)

    def _check_presence(self) -> None:
        """Raise ShardsLeft when nobody has been there for `execution.worker_wait`."""
        waiting = self.open.keys() - self.held - self.later.keys()
        missing = self.hands.missing() if waiting else None
        if missing is None:
            self.absent_since = None
            return
        now = time.monotonic()
        if self.absent_since is None:
            self.absent_since = now
        minutes = self.collection.run.execution.worker_wait
        absent = now - self.absent_since
        if absent >= 60 * minutes:
            raise ShardsLeft(
                f"{missing.who} for {minutes:g} minutes (execution.worker_wait), and "
                f"{len(self.open)} shards are left; {missing.cure}, then run the same command "
                "again: it goes on with what is left"
            )
        if absent >= _SAY > absent - 2 * POLL:
            log.warning("%s; waiting %g minutes at most", missing.who, minutes)
