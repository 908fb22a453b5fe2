"""Garbage collection: objects that no row, no leftover record and no living worker refers to.

What is garbage is judged from facts read after the listing, the leases last but one and the ledger
last: a worker names its work in its lease, writes the files, commits the record, in this order, so
a file that is wanted meanwhile is seen in one of the three. Nothing younger than the grace period
goes, by the store's own clock. Right before the deletion the leases are read again. Should a worker
name, between that look and the deletion, a work that had files lie about for longer than that, its
end is waited for, and its result is declared lost. Temporary files stay a day at least, whatever
the grace period: a writer may be at them.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from catalogs import leases, liveness, paths
from catalogs.compaction import superfluous
from catalogs.facts import Ledger
from catalogs.ledger import declare_lost
from catalogs.loading import load
from catalogs.rows import PLAIN, Row
from catalogs.store import ObjectInfo, Store
from catalogs.store_local import LocalStore

Kind = Literal["videos", "cache", "temporary", "leases", "crashes", "seals", "manifest"]
MEANINGS: Mapping[Kind, str] = {
    "videos": "files of results that no record names",
    "cache": "cached results that no present work needs",
    "temporary": "temporary files that killed writers left",
    "leases": "leases that are over",
    "crashes": "deaths of works that are done or no longer planned",
    "seals": "seals of other plans",
    "manifest": "parts and snapshots that a newer snapshot covers",
}
GRACE = timedelta(days=7)
_ABANDONED = timedelta(days=1)  # after which no writer is still at a file
_LONGEST_WAIT = 900.0  # seconds for works that were taken up at the very moment
_POLL = 5.0  # seconds between two looks at them, at most
_CACHED = re.compile(rf"{paths.CACHE}/[^/]+/[^/]+/(?P<key>[^/.]+)\.[^/]+")
_TEMPORARY = re.compile(r"\.tmp-[0-9a-f]{16}")  # as the local store names them

_log = logging.getLogger("epa")


@dataclass(frozen=True)
class Needs:
    """What the present run is: its plan, the keys of all stages of its works, its lease time."""

    plan_key: str
    stages: frozenset[str]
    lease_seconds: float


@dataclass
class Garbage:
    """Objects that may go, by kind; `notes` say in a sentence what was left alone and why."""

    found: dict[Kind, list[ObjectInfo]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    lease_seconds: float = 600

    @property
    def paths(self) -> list[str]:
        """Everything that may go."""
        return [info.path for infos in self.found.values() for info in infos]


@dataclass(frozen=True)
class _Wanted:
    """What must stay: files by path, results and cached objects by key."""

    files: frozenset[str]
    results: frozenset[str]  # first 12 digits of keys
    cached: frozenset[str] | None  # None: anything may be wanted


def find_garbage(store: Store, needs: Needs, older_than: timedelta = GRACE) -> Garbage:
    """Look for objects that may go and were last written longer ago than `older_than`.

    One listing of each folder and the reading of the ledger. DamagedError where the ledger cannot
    be read: what it does not know it cannot protect.
    """
    now = leases.clock(store)
    if now is None:
        return Garbage(notes=[f"{store.url} tells no times, so nothing counts as old"])
    before = now - older_than
    folders = (paths.VIDEOS, paths.CACHE, paths.CRASHES, paths.LEASES, paths.SEALS, paths.MANIFEST)
    listed = {folder: store.list(folder) for folder in folders}
    halves = _old(_halves(store, listed[paths.LEASES]), min(before, now - _ABANDONED))
    holders = _living(store, needs.lease_seconds, now)
    ledger = load(store)
    wanted = _wanted(ledger, needs, holders)
    busy = {key for holder in holders for key in holder.in_flight}
    garbage = Garbage(lease_seconds=needs.lease_seconds)
    if wanted.cached is None:
        garbage.notes.append("another run is at work here, so the cache is left alone")
    expired = superfluous(ledger, before)
    kinds: dict[Kind, Iterable[ObjectInfo]] = {
        "videos": (info for info in listed[paths.VIDEOS] if _unnamed(info.path, wanted)),
        "cache": (info for info in listed[paths.CACHE] if _unneeded(info.path, wanted)),
        "temporary": halves,
        "leases": _over(listed[paths.LEASES], holders),
        "crashes": (i for i in listed[paths.CRASHES] if _bygone(i.path, ledger, needs, busy)),
        # Whoever is at work may want those of another plan; they cost little.
        "seals": () if holders else _others(listed[paths.SEALS], needs.plan_key),
        "manifest": (info for info in listed[paths.MANIFEST] if info.path in expired),
    }
    garbage.found = {kind: old for kind, infos in kinds.items() if (old := _old(infos, before))}
    return garbage


def _old(infos: Iterable[ObjectInfo], before: datetime) -> list[ObjectInfo]:
    return [info for info in infos if info.modified is not None and info.modified < before]


def remove(store: Store, garbage: Garbage) -> int:
    """Delete what was found; how many results had been committed to it in that very second.

    These are declared lost, so that the next run makes them again. What living workers have taken
    up since it was found is spared, and no longer in `garbage`.
    """
    _spare(garbage, leases.in_flight(store, garbage.lease_seconds))
    doomed = set(garbage.paths)
    store.delete(doomed)
    files = {path for path in doomed if path.startswith(f"{paths.VIDEOS}/")}
    if not files:
        return 0
    if not _wait_for(store, files, garbage.lease_seconds):
        garbage.notes.append(
            "works are still being made whose files were just removed; see `epa verify` later"
        )
    harmed = [row for row, outputs in _results(load(store)) if not files.isdisjoint(outputs)]
    return declare_lost(store, harmed, reason="garbage collection")


def _spare(garbage: Garbage, busy: Iterable[str]) -> None:
    """Keep what speaks of works (by key) that are in flight."""
    short = {key[:12] for key in busy}
    kept = {
        kind: [info for info in infos if _key_of(info.path) not in short]
        for kind, infos in garbage.found.items()
    }
    garbage.found = {kind: infos for kind, infos in kept.items() if infos}


def _wait_for(store: Store, files: Iterable[str], seconds: float) -> bool:
    """Wait until no work is in flight that has one of these files; False where that takes long.

    Whoever names its work later than the first look writes its files after they were removed.
    """
    keys = {_key_of(path) for path in files}
    until, pause = time.monotonic() + _LONGEST_WAIT, 0.1
    while busy := [key for key in leases.in_flight(store, seconds) if key[:12] in keys]:
        if time.monotonic() >= until:
            return False
        _log.info("waiting for %d works that were just taken up", len(busy))
        time.sleep(pause)
        pause = min(pause * 2, _POLL)
    return True


def _key_of(path: str) -> str | None:
    """The first 12 digits of the key that an output or a crash fact is about."""
    if output := paths.parse_output(path):
        return output.key
    key = paths.parse_crash(path)
    return key and key[:12]


def _living(store: Store, seconds: float, now: datetime) -> list[leases.Holder]:
    """Leases of workers that live: their process does, or they were heard of in the lease time."""
    return [
        holder
        for holder in leases.holders(store, seconds)
        if liveness.alive(holder.witness) or not leases.older_than(holder, now, seconds)
    ]


def _results(ledger: Ledger) -> Iterator[tuple[Row, list[str]]]:
    """Every done row there is, superseded and lost ones too, with the paths of its files."""
    import pyarrow.compute as pc

    table = ledger.columns((*PLAIN, "outputs"))
    places = pc.indices_nonzero(pc.equal(table["status"], "done"))
    table = table.take(places)
    plain = zip(places.to_pylist(), *(table[name].to_pylist() for name in PLAIN), strict=True)
    for values, outputs in zip(plain, table["outputs"].to_pylist(), strict=True):
        yield Row(*values), [output["path"] for output in outputs]


def _wanted(ledger: Ledger, needs: Needs, holders: Iterable[leases.Holder]) -> _Wanted:
    """All that rows, leftover records (damaged ones, too) and living workers refer to."""
    files = frozenset(path for _, outputs in _results(ledger) for path in outputs)
    recorded = (paths.parse_record(path) for path in ledger.sources.records)
    keys: set[str] = {name[1] for name in recorded if name}
    cached: frozenset[str] | None = needs.stages
    for holder in holders:
        keys.update(holder.in_flight)
        # Stages of another plan's works cannot be told from the keys that its lease names.
        if holder.plan_key != needs.plan_key:
            cached = None
    return _Wanted(files, frozenset(key[:12] for key in keys), cached)


def _unnamed(path: str, wanted: _Wanted) -> bool:
    """Whether a file under `videos/` belongs to no record; what is no output stays."""
    output = paths.parse_output(path)
    return output is not None and path not in wanted.files and output.key not in wanted.results


def _unneeded(path: str, wanted: _Wanted) -> bool:
    match = _CACHED.fullmatch(path)
    return match is not None and wanted.cached is not None and match["key"] not in wanted.cached


def _bygone(path: str, ledger: Ledger, needs: Needs, busy: Collection[str]) -> bool:
    """Whether a death is that of a worker whose work is done, or planned and made no more."""
    key = paths.parse_crash(path)
    if key is None or key in busy:
        return False
    row = ledger.find(key)
    return key not in needs.stages or (row is not None and row.status == "done")


def _others(seals: Iterable[ObjectInfo], plan_key: str) -> Iterator[ObjectInfo]:
    """Seals of other plans: without them such a plan is compared with the ledger once more."""
    return (info for info in seals if not info.path.startswith(f"{paths.seals(plan_key)}/"))


def _over(listed: Iterable[ObjectInfo], holders: Iterable[leases.Holder]) -> Iterator[ObjectInfo]:
    """Leases that nobody alive holds."""
    held = {holder.path for holder in holders}
    return (i for i in listed if paths.parse_lease(i.path) and i.path not in held)


def _halves(store: Store, leases_listed: Iterable[ObjectInfo]) -> Iterator[ObjectInfo]:
    """What killed writers left: on a local disk half-written files, and questions for the time."""
    yield from (info for info in leases_listed if paths.parse_lease(info.path) is None)
    if not isinstance(store, LocalStore):
        return  # elsewhere a write is all or nothing
    for folder, _, names in os.walk(store.root):
        for name in filter(_TEMPORARY.fullmatch, names):
            path = Path(folder) / name
            with contextlib.suppress(OSError):  # published or removed meanwhile
                stat = path.stat()
                modified = datetime.fromtimestamp(stat.st_mtime, UTC)
                yield ObjectInfo(path.relative_to(store.root).as_posix(), stat.st_size, modified)
