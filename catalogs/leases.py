"""Leases: who works on a shard, and on which works. They save work; removing one breaks nothing.

A shard is taken by creating its lease, which the owner rewrites as a heartbeat. One whose owner is
dead is taken over by creating the next epoch. Dead is an owner on this machine whose process is
gone; any other once its lease has not been rewritten for the lease time: by the store's own clock,
or watched by this process, never by comparing the clocks of two machines. Works in flight at a
death are noted (catalogs.crashes).
"""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from types import TracebackType
from typing import Any, Self

from catalogs import crashes, documents, liveness, paths
from catalogs.errors import StoreError
from catalogs.records import utc_now
from catalogs.store import ObjectInfo, Store

_log = logging.getLogger(__name__)
_BEATS = 10  # heartbeats in the lease time
_TRIES = 20


@dataclass(frozen=True)
class Holder:
    """A lease as it was read: the worker (host and process), and its works in flight by key."""

    plan_key: str
    shard_id: str
    epoch: int
    worker: str
    token: str
    witness: str
    in_flight: Mapping[str, str]
    since: str
    modified: datetime | None

    @property
    def path(self) -> str:
        """Where the lease lies."""
        return paths.lease(self.plan_key, self.shard_id, self.epoch)


class Lease:
    """A shard taken by this process, until it is released; a thread keeps it fresh.

    Left by an orderly exception it is released, too: nobody is to blame for an interrupt.
    """

    def __init__(self, owner: Leases, shard_id: str, epoch: int, token: str):
        self.shard_id = shard_id
        self.epoch = epoch
        self.token = token
        self.lost = False  # another worker took this one for dead and took over
        self._owner = owner
        self._since = utc_now()
        self._in_flight: dict[str, str] = {}
        self._writing = threading.Lock()  # or an older heartbeat could follow a newer one
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="lease", daemon=True)
        self._thread.start()

    def name(self, in_flight: Mapping[str, str]) -> None:
        """Say which works (key -> item id) are about to be touched. One request."""
        with self._writing:
            self._in_flight = dict(in_flight)
            self._write()

    def release(self) -> None:
        """Give the shard back. One request."""
        self._over.set()
        with self._writing:
            if not self.lost:
                self._owner.remove(self.shard_id, self.epoch)

    def broke(self, reason: str) -> None:
        """Hold against the works in flight that this process cannot go on, then give back."""
        with self._writing:
            self._owner.attribute(self.shard_id, self.token, self._in_flight, reason)
        self.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._over.is_set():
            return
        try:
            self.release()
        except StoreError:
            if error is None:
                raise
            _log.warning("the lease of shard %s could not be given back", self.shard_id)

    def _beat(self) -> None:
        while not self._over.wait(self._owner.seconds / _BEATS):
            with contextlib.suppress(StoreError), self._writing:
                if self._over.is_set():
                    return
                if self._owner.store.head(self._owner.path(self.shard_id, self.epoch + 1)):
                    _log.warning("another worker has taken over shard %s", self.shard_id)
                    self.lost = True
                    return
                self._write()

    def _write(self) -> None:
        if not (self.lost or self._over.is_set()):
            path = self._owner.path(self.shard_id, self.epoch)
            data = _document(self.token, self._in_flight, self._since)
            self._owner.store.put(path, data, documents.TYPE)


class Leases:
    """The leases of one plan: taking shards, and finding out which of them others hold."""

    def __init__(self, store: Store, plan_key: str, seconds: float):
        self.store = store
        self.plan_key = plan_key
        self.seconds = seconds
        self._watched: dict[str, tuple[datetime | None, float]] = {}

    def path(self, shard_id: str, epoch: int) -> str:
        """Where a lease of this plan lies."""
        return paths.lease(self.plan_key, shard_id, epoch)

    def acquire(self, shard_id: str) -> Lease | None:
        """Take a shard; None while a living worker holds it. One request where nobody did.

        What the dead had in flight is noted before anybody can take over from them.
        """
        token = secrets.token_hex(8)
        epoch = 0
        for _ in range(_TRIES):
            if self._create(shard_id, epoch, token):
                return Lease(self, shard_id, epoch, token)
            last = next((h for h in self.holders() if h.shard_id == shard_id), None)
            if last is None:  # given back meanwhile
                epoch = 0
                continue
            if not self._dead(last, self._clock()):
                return None
            _log.warning("%s is dead; its shard %s is taken over", last.worker, shard_id)
            self.attribute(shard_id, last.token, last.in_flight)
            liveness.bury(last.witness)
            epoch = last.epoch + 1
        return None

    def busy(self) -> list[Holder]:
        """Leases that living workers hold. One listing, and one request for each lease."""
        now = self._clock()
        return [holder for holder in self.holders() if not self._dead(holder, now)]

    def holders(self) -> list[Holder]:
        """Newest lease of each shard, whether its owner lives or not."""
        found = newest(self.store.list(paths.leases(self.plan_key)))
        return _read(self.store, found)

    def remove(self, shard_id: str, epoch: int) -> None:
        """Remove a lease and those it took over from, the newest first."""
        self.store.delete([self.path(shard_id, epoch)])
        self.store.delete(self.path(shard_id, older) for older in range(epoch))

    def _create(self, shard_id: str, epoch: int, token: str) -> bool:
        path = self.path(shard_id, epoch)
        if self.store.create(path, _document(token, {}, utc_now()), documents.TYPE):
            return True
        # The answer to an earlier try may have been lost: then it is ours all the same.
        with contextlib.suppress(StoreError):
            return documents.decode(self.store.get(path) or b"{}", path).get("token") == token
        return False

    def _clock(self) -> Callable[[], datetime | None]:
        """The store's time, asked for once and only if somebody wants it."""
        return cache(lambda: clock(self.store))

    def _dead(self, holder: Holder, now: Callable[[], datetime | None]) -> bool:
        """Whether the owner is dead: by its process, else by not having been heard of."""
        living = liveness.alive(holder.witness) if holder.witness else None
        if living is False:
            return True
        watched = self._watched.get(holder.path)
        if watched is None or watched[0] != holder.modified:
            watched = self._watched[holder.path] = holder.modified, time.monotonic()
        if time.monotonic() - watched[1] >= self.seconds:
            return True
        # A clock that jumps must not make a living neighbour a dead one.
        return living is None and older_than(holder, now(), self.seconds)

    def attribute(
        self, shard_id: str, death: str, in_flight: Mapping[str, str], reason: str = ""
    ) -> None:
        """Note a death for the works that were in flight, but for those that ended before."""
        left = dict(in_flight)
        for info in self.store.list(paths.records(shard_id)) if left else ():
            if record := paths.parse_record(info.path):
                left.pop(record[1], None)
        crashes.attribute(self.store, death, left, reason)


def newest(listed: Iterable[ObjectInfo]) -> list[ObjectInfo]:
    """Of the leases among listed objects the one of the highest epoch, for each plan and shard."""
    best: dict[tuple[str, str], tuple[int, ObjectInfo]] = {}
    for info in listed:
        if parsed := paths.parse_lease(info.path):
            plan_key, shard_id, epoch = parsed
            known = best.get((plan_key, shard_id))
            if known is None or epoch > known[0]:
                best[plan_key, shard_id] = epoch, info
    return [info for _, info in best.values()]


def holders(store: Store, seconds: float) -> list[Holder]:
    """Leases of all plans whose owners seem alive; writes nothing, so when in doubt it is alive."""
    found = _read(store, newest(store.list(paths.LEASES)))
    latest = max((h.modified for h in found if h.modified), default=None)
    return [
        holder
        for holder in found
        if (liveness.alive(holder.witness) if holder.witness else None) is not False
        and not older_than(holder, latest, seconds)
    ]


def in_flight(store: Store, seconds: float) -> dict[str, str]:
    """Works (key -> item id) that workers who seem alive have in flight."""
    return {
        key: item for holder in holders(store, seconds) for key, item in holder.in_flight.items()
    }


def older_than(holder: Holder, now: datetime | None, seconds: float) -> bool:
    """Whether a lease was last written over `seconds` before `now`, both by the store's clock."""
    if now is None or holder.modified is None:
        return False
    return (now - holder.modified).total_seconds() >= seconds


def clock(store: Store) -> datetime | None:
    """The store's own time: that of an object just written. Three requests."""
    path = f"{paths.LEASES}/clock-{secrets.token_hex(8)}"
    store.put(path, b"", durable=False)
    try:
        info = store.head(path)
    finally:
        store.delete([path])
    return info.modified if info else None


def _read(store: Store, listed: Iterable[ObjectInfo]) -> list[Holder]:
    found = []
    for info in listed:
        data, parsed = store.get(info.path), paths.parse_lease(info.path)
        if data is None or parsed is None:  # given back meanwhile
            continue
        try:
            document: Mapping[str, Any] = documents.decode(data, info.path, in_flight=dict)
        except StoreError as error:  # goes by its age alone
            _log.warning("%s", error)
            document = {"in_flight": {}}
        texts = (str(document.get(name, "")) for name in ("worker", "token", "witness", "since"))
        worker, token, witness, since = texts
        token = token or f"damaged-{parsed[1]}-{parsed[2]}"
        in_flight = {str(k): str(v) for k, v in document["in_flight"].items()}
        found.append(
            Holder(*parsed, worker or "unknown", token, witness, in_flight, since, info.modified)
        )
    return found


def _document(token: str, in_flight: Mapping[str, str], since: str) -> bytes:
    return documents.encode(
        {
            "worker": f"{platform.node()}:{os.getpid()}",
            "witness": liveness.witness(),
            "token": token,
            "in_flight": dict(in_flight),
            "since": since,
        }
    )
