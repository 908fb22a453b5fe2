"""What became of a plan's works since it was made, for whoever watches while others work.

The records tell it, so it is the same whoever does the works: this process, one of its own, or
another machine.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from queue import SimpleQueue
from typing import NamedTuple, Self

from catalogs import paths
from catalogs.records import TIMINGS, Record, from_parquet, from_table, parse
from catalogs.store import Store

_MOST = 200  # records read at one look: those of a shard that is sealed come as one part


class Ended(NamedTuple):
    """What a watcher keeps of a record; seconds of all stages, bytes of memory."""

    item_id: str
    title: str | None
    status: str
    code: str | None
    attempt: int
    seconds: float
    peak_memory: int | None
    worker: str | None
    flag: str | None
    poster: str | None  # its path

    @classmethod
    def of(cls, record: Record) -> Self:
        """The part of a record that is kept: a run may have many thousands."""
        return cls(
            record.item_id,
            record.title,
            record.status,
            record.code,
            record.attempt,
            sum(getattr(record, name) or 0.0 for name in TIMINGS),
            record.peak_memory,
            record.worker,
            record.flag,
            next((output.path for output in record.outputs if output.name == "poster.jpg"), None),
        )


class News:
    """The best record of each planned attempt that is over, read as they come.

    ``planned`` maps the works' keys to the number of the attempt; ``known`` are objects of the
    manifest that the plan was made from.
    """

    def __init__(self, store: Store, planned: Mapping[str, int], known: Collection[str] = ()):
        self.ended: dict[str, Ended] = {}
        self._store = store
        self._planned = planned
        self._seen = set(known)
        self._heard: SimpleQueue[Record] = SimpleQueue()

    def hear(self, record: Record) -> None:
        """Take note of a record without reading it: this process wrote it. From any thread."""
        self._heard.put(record)

    def look(self) -> bool:
        """Read what is new, a part of it if it is much; whether there was any. Raises StoreError.

        Two listings, and a request for each record and each part neither heard of nor read before.
        """
        before = len(self._seen)
        while not self._heard.empty():
            record = self._heard.get_nowait()
            self._seen.add(record.path)
            self._take(record)
        heard = len(self._seen)
        # Records before parts: a worker that seals writes the part before it removes the records.
        for info in self._store.list(paths.RECORDS):
            name = paths.parse_record(info.path)
            if info.path in self._seen or not name or name[1] not in self._planned:
                continue
            if len(self._seen) - heard >= _MOST:
                break
            if found := parse(self._store.get(info.path) or b""):
                self._seen.add(info.path)
                self._take(found)
        for info in self._store.list(paths.PARTS):
            if info.path not in self._seen and (data := self._store.get(info.path)) is not None:
                self._seen.add(info.path)
                for each in from_table(from_parquet(data, path=info.path)):
                    self._take(each)
        return len(self._seen) > before

    def _take(self, record: Record) -> None:
        planned = self._planned.get(record.key)
        if planned is None or record.attempt < planned:
            return
        stands, new = self.ended.get(record.key), Ended.of(record)
        if stands is None or _rank(new) > _rank(stands):
            self.ended[record.key] = new


def _rank(ended: Ended) -> tuple[bool, int]:
    """As in the ledger: done before anything else, then the later attempt."""
    return ended.status == "done", ended.attempt
