"""Leases: who works on a shard, and on which works. They save work; without one nothing is lost.

A shard is taken by creating its lease, which the owner rewrites as a heartbeat. Shards of other
plans that can hold the same works are held by it, too. One whose owner is dead is taken over by
creating the next epoch. Dead is an owner on this machine whose process is gone; any other once its
lease has not been rewritten for the lease time: by the store's own clock, or watched by this
process, never by comparing the clocks of two machines. Works in flight at a death are noted
(catalogs.crashes).
"""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import secrets
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Self

from catalogs import crashes, documents, liveness, paths
from catalogs.errors import StoreError
from catalogs.records import utc_now
from catalogs.shards import same_branch
from catalogs.store import ObjectInfo, Store

_log = logging.getLogger(__name__)
_BEATS = 4  # heartbeats in the lease time
_TRIES = 20


@dataclass(frozen=True)
class Holder:
    """A lease as it was read: the worker (host and process), and its works in flight by key."""

    shard_id: str
    epoch: int
    plan_key: str
    worker: str
    token: str
    machine: str
    witness: str
    in_flight: Mapping[str, str]
    since: str
    modified: datetime | None

    @property
    def path(self) -> str:
        """Where the lease lies."""
        return paths.lease(self.shard_id, self.epoch)

    @property
    def state(self) -> liveness.State:
        """What can be told from here of the owner's process."""
        return liveness.state(self.witness, self.machine)


class Lease:
    """A shard taken by this process, until it is released; a thread keeps it fresh.

    Left by an orderly exception it is released, too: nobody is to blame for an interrupt.
    """

    def __init__(self, owner: Leases, shard_id: str, epoch: int, token: str):
        self.shard_id = shard_id
        self.token = token
        # When a work last began or ended (monotonic); None while none is at work.
        self.moved: float | None = None
        self.lost = False  # another worker took this one for dead and took over
        self._path = paths.lease(shard_id, epoch)
        self._owner = owner
        self._since = utc_now()
        self._in_flight: dict[str, str] = {}
        self._written = time.monotonic()
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
        """Give the shard back. Two requests."""
        self._over.set()
        with self._writing:
            if self._mine():
                self._owner.store.delete([self._path])

    def broke(self, reason: str) -> None:
        """Hold against the works in flight that this process cannot go on, then give back."""
        with self._writing:
            self._owner.attribute(self.token, self._in_flight, reason)
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
        interval = self._owner.seconds / _BEATS
        while not self._over.wait(interval):
            liveness.refresh()
            if time.monotonic() - self._written < interval:
                continue  # naming works is a sign of life, too
            with contextlib.suppress(StoreError), self._writing:
                if self._over.is_set():
                    return
                if not self._mine():
                    _log.warning("another worker has taken over shard %s", self.shard_id)
                    self.lost = True
                    return
                self._write()

    def _mine(self) -> bool:
        """Whether the lease still stands: who takes over removes it. One request."""
        data = self._owner.store.get(self._path)
        return data is not None and self.token in data.decode(errors="replace")

    def _write(self) -> None:
        if not (self.lost or self._over.is_set()):
            data = self._owner.document(self.token, self._in_flight, self._since)
            self._owner.store.put(self._path, data, documents.TYPE)
            self._written = time.monotonic()


class Leases:
    """Taking the shards of one plan, and finding out which of them others hold."""

    def __init__(self, store: Store, plan_key: str, seconds: float):
        self.store = store
        self.plan_key = plan_key
        self.seconds = seconds
        self._watched: dict[str, tuple[datetime | None, float]] = {}
        self._clock: tuple[datetime, float] | None = None

    def acquire(self, shard_id: str) -> Lease | None:
        """Take a shard; None while a living worker holds it or another with the same works.

        What the dead had in flight is noted before anybody can take over from them. Two requests
        where nobody held it.
        """
        token = secrets.token_hex(8)
        epoch = 0
        for _ in range(_TRIES):
            mine = self._create(shard_id, epoch, token)
            standing = self._standing([shard_id], but=paths.lease(shard_id, epoch) if mine else "")
            if not all(self._dead(holder) for holder in standing):
                if mine:  # two that come at once see each other: both step back
                    self.store.delete([paths.lease(shard_id, epoch)])
                return None
            for holder in standing:
                self._bury(holder)
            if mine:
                self.store.delete(holder.path for holder in standing)
                return Lease(self, shard_id, epoch, token)
            epochs = [holder.epoch for holder in standing if holder.shard_id == shard_id]
            epoch = max(epochs, default=-1) + 1
        return None

    def standing(self, shard_ids: Iterable[str]) -> list[tuple[Holder, bool]]:
        """All leases on the branches of some shards, each with whether its holder is alive.

        Requests as for `busy`.
        """
        return [(holder, not self._dead(holder)) for holder in self._standing(shard_ids)]

    def busy(self, shard_ids: Iterable[str]) -> dict[str, Holder]:
        """Which of the shards living workers hold. One listing, and one request for each lease."""
        wanted = list(shard_ids)
        living = [holder for holder in self._standing(wanted) if not self._dead(holder)]
        return {
            shard_id: holder
            for holder in living
            for shard_id in wanted
            if same_branch(holder.shard_id, shard_id)
        }

    def attribute(self, death: str, in_flight: Mapping[str, str], reason: str = "") -> None:
        """Note a death for the works that were in flight, but for those that ended before."""
        left = dict(in_flight)
        for info in self.store.list(paths.RECORDS) if left else ():
            if record := paths.parse_record(info.path):
                left.pop(record[1], None)
        crashes.attribute(self.store, death, left, reason)

    def document(self, token: str, in_flight: Mapping[str, str], since: str) -> bytes:
        """Write a lease of this process."""
        return documents.encode(
            {
                "plan": self.plan_key,
                "worker": f"{platform.node()}:{os.getpid()}",
                "machine": liveness.machine(),
                "witness": liveness.witness(),
                "token": token,
                "in_flight": dict(in_flight),
                "since": since,
            }
        )

    def _standing(self, shard_ids: Iterable[str], but: str = "") -> list[Holder]:
        """Leases on the branches of some shards, but the one at that path."""
        wanted = list(shard_ids)
        listed = [
            info
            for info in self.store.list(paths.LEASES)
            if info.path != but
            and (name := paths.parse_lease(info.path))
            and any(same_branch(name[0], shard_id) for shard_id in wanted)
        ]
        return _read(self.store, listed)

    def _create(self, shard_id: str, epoch: int, token: str) -> bool:
        path = paths.lease(shard_id, epoch)
        if self.store.create(path, self.document(token, {}, utc_now()), documents.TYPE):
            return True
        # The answer to an earlier try may have been lost: then it is ours all the same.
        data = self.store.get(path)
        return data is not None and token in data.decode(errors="replace")

    def _dead(self, holder: Holder) -> bool:
        """Whether the owner is dead: by its process, else by not having been heard of."""
        state = holder.state
        if state in ("dead", "left"):
            return True
        watched = self._watched.get(holder.path)
        if watched is None or watched[0] != holder.modified:
            watched = self._watched[holder.path] = holder.modified, time.monotonic()
        if time.monotonic() - watched[1] >= self.seconds:
            return True
        # A clock that jumps must not make a living neighbour a dead one.
        return state == "unknown" and older_than(holder, self._now(), self.seconds)

    def _bury(self, holder: Holder) -> None:
        """Note what the dead had in flight; one that ended in order could not say so."""
        if holder.state != "left":
            _log.warning("%s is dead; its shard %s is free", holder.worker, holder.shard_id)
            self.attribute(holder.token, holder.in_flight)
        liveness.bury(holder.witness)

    def _now(self) -> datetime | None:
        """The store's time: asked for once in the lease time, between by how long that is ago."""
        known = self._clock
        if known is None or time.monotonic() - known[1] >= self.seconds:
            moment = clock(self.store)
            if moment is None:
                return None
            known = self._clock = moment, time.monotonic()
        return known[0] + timedelta(seconds=time.monotonic() - known[1])


def holders(store: Store, seconds: float) -> list[Holder]:
    """Leases whose owners seem alive; writes nothing, so when in doubt it is alive."""
    found = _read(store, store.list(paths.LEASES))
    latest = max((h.modified for h in found if h.modified), default=None)
    alive = []
    for holder in found:
        state = holder.state
        if state == "alive" or (state == "unknown" and not older_than(holder, latest, seconds)):
            alive.append(holder)
    return alive


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
        parsed = paths.parse_lease(info.path)
        data = store.get(info.path) if parsed else None
        if data is None or parsed is None:  # given back meanwhile, or no lease
            continue
        try:
            document: Mapping[str, Any] = documents.decode(data, info.path, in_flight=dict)
        except StoreError as error:  # goes by its age alone
            _log.warning("%s", error)
            document = {"in_flight": {}}
        names = ("plan", "worker", "token", "machine", "witness", "since")
        plan, worker, token, machine, witness, since = (str(document.get(n, "")) for n in names)
        token = token or f"damaged-{parsed[0]}-{parsed[1]}"
        in_flight = {str(k): str(v) for k, v in document["in_flight"].items()}
        found.append(
            Holder(
                *parsed,
                plan,
                worker or "unknown",
                token,
                machine,
                witness,
                in_flight,
                since,
                info.modified,
            )
        )
    return found
