"""Reading the ledger from the store: its newest snapshot, the parts since, leftover records.

What was written is found whatever happens at the same time: a sealing worker writes the part
before it deletes the records, so records are listed before the manifest is. A record that was
listed and is gone when read is in a part by then, and a part that is gone in a snapshot: the
manifest is listed anew, what was read is kept, and only what is new is read.
"""

import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import NamedTuple

from catalogs import documents, paths
from catalogs.errors import DamagedError, StoreError
from catalogs.facts import Ledger, Sources
from catalogs.records import Record, from_parquet, parse
from catalogs.store import Store

_PATIENCE = 60.0  # seconds a manifest that changes under the reading is read for
_PAUSE = 0.1  # seconds before the second try, at most; doubled with each further one
_LONGEST = 5.0  # seconds between two tries, at most
_THREADS = 16
_log = logging.getLogger(__name__)

Report = Callable[[str, str], object]
"""Told of a damaged object: its path, and a sentence about it."""


def load(store: Store) -> Ledger:
    """Read the ledger: three listings, the newest HEAD, its snapshot, and what came after it.

    DamagedError where an object of the manifest is damaged, mostly when its rows are asked for.
    """
    return _Reading(store).ledger()


def survey(store: Store, report: Report) -> Ledger:
    """Read the ledger as far as it can be read: every object that cannot is left out and reported.

    Where the newest HEAD or its snapshot is damaged, the one before counts.
    """
    reading = _Reading(store, lenient=True)
    ledger = reading.ledger()
    for path, reason in reading.damaged.items():
        report(path, reason)
    return ledger


def read_all(store: Store, wanted: Sequence[str]) -> list[bytes | None]:
    """Read many objects, several at a time; None for those that are gone."""
    if len(wanted) < 4:
        return [store.get(path) for path in wanted]
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="read") as pool:
        return list(pool.map(store.get, wanted))


class _Head(NamedTuple):
    """The HEAD that counts: its snapshot ("" before the first) and what that covers since when."""

    snapshot: str
    covered: Mapping[str, str]


class _Reading:
    """One reading of the ledger, in as many turns as it takes.

    What was read is kept from turn to turn: names stand for one content. (But those of records:
    one that is used anew meanwhile was committed later than the reading began.) `lenient` leaves
    out what is `damaged`, path -> a sentence.
    """

    def __init__(self, store: Store, *, lenient: bool = False) -> None:
        self.damaged: dict[str, str] = {}
        self._store = store
        self._report = self.damaged.setdefault if lenient else None
        self._kept: dict[str, bytes] = {}
        self._records: list[str] = []

    def ledger(self) -> Ledger:
        """Read until nothing vanishes between being listed and being read."""
        listed = (info.path for info in self._store.list(paths.RECORDS))
        self._records = [path for path in listed if paths.parse_record(path)]
        until = time.monotonic() + _PATIENCE
        for turn in count():
            self.damaged.clear()
            ledger = self._turn()
            if ledger is not None:
                return ledger
            if time.monotonic() >= until:
                break
            pause = min(_PAUSE * 2**turn, _LONGEST)
            time.sleep(random.uniform(0, pause))  # noqa: S311
        raise StoreError(f"the manifest in {self._store.url} changes faster than it can be read")

    def _turn(self) -> Ledger | None:
        """Read what is listed; None when some of it was sealed or compacted away meanwhile."""
        manifest = [info.path for info in self._store.list(paths.MANIFEST)]
        wishes = [info.path for info in self._store.list(paths.RETRIES)]
        head = self._newest_head(manifest)
        if head is None:
            return None
        # A record's name may be used anew, so no record is ever covered, whatever an old HEAD says.
        covered = {p: t for p, t in head.covered.items() if not paths.parse_record(p)}
        parts = [p for p in manifest if p.startswith(f"{paths.PARTS}/") and p not in covered]
        tables = [head.snapshot, *parts] if head.snapshot else parts
        if not self._read([*tables, *self._records, *wishes]):
            # Records that are gone are in parts, which the next listing of the manifest shows.
            self._records = [path for path in self._records if path in self._kept]
            return None
        good = self._read_so_far(tables)
        if self._report is not None:
            good = {
                path: data for path, data in good.items() if _readable(path, data, self._report)
            }
        records = _records(self._read_so_far(self._records), self._report)
        retries, lost = _wishes(self._read_so_far(wishes), self._report)
        sources = Sources(
            tuple(good), tuple(parts), tuple(manifest), tuple(self._records), covered, tuple(wishes)
        )
        return Ledger(list(good.values()), records, retries, sources, lost)

    def _read(self, wanted: Sequence[str]) -> bool:
        """Read objects not read yet; whether all are there."""
        new = [path for path in wanted if path not in self._kept]
        found = dict(zip(new, read_all(self._store, new), strict=True))
        self._kept |= {path: data for path, data in found.items() if data is not None}
        return None not in found.values()

    def _get(self, path: str) -> bytes | None:
        self._read([path])
        return self._kept.get(path)

    def _read_so_far(self, wanted: Sequence[str]) -> dict[str, bytes]:
        return {path: self._kept[path] for path in wanted}

    def _newest_head(self, manifest: Sequence[str]) -> _Head | None:
        """The newest HEAD that can be read; None when one is gone.

        DamagedError when all are damaged. A lenient reading wants one whose snapshot can be read
        as well, and does without any.
        """
        report = self._report
        heads = [path for path in manifest if path.startswith(f"{paths.HEADS}/")]
        for path in reversed(heads):
            data = self._get(path)
            if data is None:
                return None
            damaged = [path]
            try:
                found = documents.decode(data, path, snapshot=str, covered=dict)
                if report is not None or found["snapshot"] not in manifest:
                    damaged += [found["snapshot"]] if found["snapshot"] in manifest else []
                    self._check_snapshot(found["snapshot"], path)
            except DamagedError as error:
                if report is not None:
                    for bad in damaged:
                        report(bad, str(error))
                elif path == heads[0]:
                    raise
                else:
                    _log.warning("%s; the HEAD before it counts", error)
                continue
            return _Head(found["snapshot"], found["covered"])
        return _Head("", {})

    def _check_snapshot(self, path: str, head: str) -> None:
        data = self._get(path)
        if data is not None:
            from_parquet(data, path=path)
        elif self._store.head(head) is not None:  # else it was compacted away meanwhile
            raise DamagedError(f"{head} is damaged: there is no {path}.")


def _readable(path: str, data: bytes, report: Report) -> bool:
    """Whether all of a table can be decoded."""
    try:
        from_parquet(data, path=path)
    except DamagedError as error:
        report(path, str(error))
        return False
    return True


def _records(read: Mapping[str, bytes], report: Report | None) -> list[Record]:
    found = []
    for path, data in read.items():
        record = parse(data)
        if record is not None:
            found.append(record)
        elif report is not None:
            report(path, f"{path} is damaged: it is no record.")
        else:
            _log.warning("the record %s is damaged; its work counts as not done", path)
    return found


def _wishes(read: Mapping[str, bytes], report: Report | None) -> tuple[Counter[str], Counter[str]]:
    """Keys to be tried again, and keys whose result is lost, each with its last attempt."""
    retries, lost = Counter[str](), Counter[str]()
    for path, data in read.items():
        try:
            wish = documents.decode(data, path, keys=dict)
            gone = wish.get("lost", {})
            if not all(isinstance(n, int) for n in [*wish["keys"].values(), *gone.values()]):
                raise DamagedError(f"{path} is damaged: an attempt is no number.")
        except DamagedError as error:
            if report is None:
                raise
            report(path, str(error))
            continue
        retries |= Counter(wish["keys"])
        lost |= Counter(gone)
    return retries, lost
