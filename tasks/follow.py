"""What other processes record of a run's works, as they record it: for who watches over them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from catalogs import crashes, paths
from catalogs.ended import Outcome, outcomes
from catalogs.ledger import seal_shard
from catalogs.records import parse
from catalogs.shards import ShardId
from epa_core.errors import ItemError
from tasks.collection import Collection


class Following:
    """Tells a collection's progress and failure watch of every planned work's end, once.

    ``counts`` are works by status for each shard. Attempts beyond the planned one are a shard's
    own affair: they count as that one.
    """

    def __init__(self, collection: Collection, shard_ids: Iterable[str]):
        self._collection = collection
        plan = collection.plan.shards
        self._open = {
            name: {entry.work.key: entry.attempt for entry in plan[ShardId(name)]}
            for name in shard_ids
        }
        self._shard_of = {key: name for name, keys in self._open.items() for key in keys}
        self._all = {name: set(keys) for name, keys in self._open.items()}
        self._read: set[str] = set()
        self.counts: dict[str, Counter[str]] = {name: Counter() for name in self._open}

    def look(self) -> None:
        """Take note of new records. One listing, one request for each. Raises RunStopped."""
        store = self._collection.store
        for info in store.list(paths.RECORDS):
            name = paths.parse_record(info.path)
            if name is None or info.path in self._read or not self._awaited(*name[1:]):
                continue
            if (record := parse(store.get(info.path) or b"")) is not None:
                self._read.add(info.path)
                self._note(name[1], Outcome.of(record))
                self._collection.on_commit(record)  # who watches need not read it, too

    def over(self, shard_id: str) -> bool:
        """Whether every planned work of a shard has ended; its records are then sealed, too.

        The requests of `catalogs.ended`. Raises RunStopped.
        """
        collection = self._collection
        known = set(collection.ledger.sources.manifest)
        found, unsealed = outcomes(collection.store, shard_id, self._all[shard_id], known)
        for key, outcome in found.items():
            if self._awaited(key, outcome.attempt):
                self._note(key, outcome)
        if self._open[shard_id]:
            return False
        if unsealed:  # who worked on it died between its last record and the seal
            lease = collection.leases.acquire(shard_id)
            if lease is not None:
                with lease:
                    seal_shard(collection.store, collection.plan_key, shard_id)
        return True

    def learnt(self, shard_id: str) -> int:
        """How much is known of a shard: works that ended, and deaths of workers."""
        deaths = crashes.counts(self._collection.store)
        mine = self._all[shard_id]
        return len(mine) - len(self._open[shard_id]) + sum(deaths[key] for key in mine)

    def _awaited(self, key: str, attempt: int) -> bool:
        return attempt >= self._open.get(self._shard_of.get(key, ""), {}).get(key, attempt + 1)

    def _note(self, key: str, outcome: Outcome) -> None:
        shard_id = self._shard_of[key]
        del self._open[shard_id][key]
        self.counts[shard_id][outcome.status] += 1
        self._collection.on_record(outcome.status)
        watch = self._collection.watch
        watch.begin("videos")
        if outcome.status == "done":
            watch.succeeded()
        else:
            code, message, stage = (outcome.code, outcome.message, outcome.stage)
            watch.failed(ItemError(code or "", message or "", stage=stage or ""))
