"""Which works of a shard are at work now, named in its lease before they are touched.

So whoever takes over from a dead worker knows what it died of. Naming costs a request, so works
are named two at a time, and those that take a moment each many; a name too many costs an innocent
work no more than being done by itself once.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from catalogs.records import utc_now

if TYPE_CHECKING:
    from catalogs.leases import Lease
    from tasks.shard import Job

_OFTEN = 30.0  # seconds: named more often than that, more works are named at once
_FEWEST, _MOST = 2, 16


class InFlight:
    """The works between their beginning and their end; safe to call from any thread."""

    def __init__(self, lease: Lease | None = None):
        self.lease = lease
        self._lock = threading.Lock()
        self._coming: list[tuple[str, str]] = []  # (key, item id), in the order of the pass
        self._named: dict[str, str] = {}
        self._at_work: set[str] = set()
        self._started: dict[str, str] = {}
        self._ahead, self._written = _FEWEST, 0.0

    @property
    def lost(self) -> bool:
        """Whether another worker has taken the shard over: what is left is theirs."""
        return self.lease is not None and self.lease.lost

    def expect(self, jobs: Sequence[Job]) -> None:
        """Say in which order the next works will begin."""
        with self._lock:
            self._coming = [(job.work.key, job.work.item_id) for job in jobs]

    def begin(self, job: Job) -> None:
        """``job`` is touched from now on. At most one request. Raises StoreError."""
        key = job.work.key
        with self._lock:
            self._started.setdefault(key, utc_now())
            self._at_work.add(key)
            self._moved()
            if self.lease is None or key in self._named:
                return
            place = next((i for i, (k, _) in enumerate(self._coming) if k == key), None)
            chosen = [(key, job.work.item_id)]
            if place is not None:
                chosen = self._coming[place : place + self._paced()]
                self._coming = self._coming[place + len(chosen) :]
            self._named |= dict(chosen)
            self.lease.name(self._named)

    def end(self, job: Job) -> None:
        """``job`` is over; the next naming leaves it out."""
        with self._lock:
            self._named.pop(job.work.key, None)
            self._at_work.discard(job.work.key)
            self._moved()

    def got_on(self) -> None:
        """A work has many steps, and one of them ended: nothing hangs."""
        with self._lock:
            self._moved()

    def clear(self) -> None:
        """All are over, and the lease says so. At most one request."""
        with self._lock:
            if self.lease is not None and self._written:
                self.lease.name({})
            self._named = {}

    def started_at(self, job: Job) -> str | None:
        """When ``job`` began, in UTC."""
        return self._started.get(job.work.key)

    def _moved(self) -> None:
        if self.lease is not None:
            self.lease.moved = time.monotonic() if self._at_work else None

    def _paced(self) -> int:
        """How many works to name now, by how long the last ones took."""
        now = time.monotonic()
        if now - self._written < _OFTEN:
            self._ahead = min(2 * self._ahead, _MOST)
        elif now - self._written > 4 * _OFTEN:
            self._ahead = _FEWEST
        self._written = now
        return self._ahead
