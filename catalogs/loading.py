"""Reading the ledger from the store: its newest snapshot, the parts since, leftover records.

What was written is found whatever happens at the same time: a sealing worker writes the part
before it deletes the records, so records are listed before the manifest is; an object that was
listed and is gone when read means that someone sealed or compacted meanwhile, and all is read anew.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from catalogs import documents, paths
from catalogs.errors import DamagedError, StoreError
from catalogs.facts import Ledger, Sources
from catalogs.records import Record, from_parquet, parse
from catalogs.store import Store

_LOADS = 5
_THREADS = 16
_log = logging.getLogger(__name__)

Report = Callable[[str, str], object]
"""Told of a damaged object: its path, and a sentence about it."""


def load(store: Store) -> Ledger:
    """Read the ledger: three listings, the newest HEAD, its snapshot, and what came after it.

    DamagedError where an object of the manifest is damaged, mostly when its rows are asked for.
    """
    return _until_still(store, lambda: _load(store, None))


def survey(store: Store, report: Report) -> Ledger:
    """Read the ledger as far as it can be read: every object that cannot is left out and reported.

    Where the newest HEAD or its snapshot is damaged, the one before counts.
    """
    found: dict[str, str] = {}

    def once() -> Ledger | None:
        found.clear()
        return _load(store, found.setdefault)

    ledger = _until_still(store, once)
    for path, reason in found.items():
        report(path, reason)
    return ledger


def read_all(store: Store, wanted: Sequence[str]) -> list[bytes | None]:
    """Read many objects, several at a time; None for those that are gone."""
    if len(wanted) < 4:
        return [store.get(path) for path in wanted]
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="read") as pool:
        return list(pool.map(store.get, wanted))


def _until_still(store: Store, once: Callable[[], Ledger | None]) -> Ledger:
    for _ in range(_LOADS):
        ledger = once()
        if ledger is not None:
            return ledger
    raise StoreError(f"the manifest in {store.url} changes faster than it can be read")


class _Head(NamedTuple):
    """The HEAD that counts: its snapshot ("" before the first) and what that covers since when."""

    snapshot: str
    covered: Mapping[str, str]


def _load(store: Store, report: Report | None) -> Ledger | None:
    """Read what is listed; None when some of it was sealed or compacted away meanwhile."""
    commits = [i.path for i in store.list(paths.RECORDS) if paths.parse_record(i.path)]
    manifest = [info.path for info in store.list(paths.MANIFEST)]
    wishes = [info.path for info in store.list(paths.RETRIES)]
    head = _newest_head(store, manifest, report)
    if head is None:
        return None
    # A record's name may be used anew, so no record is ever covered, whatever an old HEAD says.
    covered = {p: t for p, t in head.covered.items() if not paths.parse_record(p)}
    parts = [p for p in manifest if p.startswith(f"{paths.PARTS}/") and p not in covered]
    tables = [head.snapshot, *parts] if head.snapshot else parts
    files, facts, asked = (read_all(store, names) for names in (tables, commits, wishes))
    if None in files or None in facts or None in asked:
        return None
    good = {path: data or b"" for path, data in zip(tables, files, strict=True)}
    if report is not None:
        good = {path: data for path, data in good.items() if _readable(path, data, report)}
    records = _records(zip(commits, facts, strict=True), report)
    retries, lost = _wishes(zip(wishes, asked, strict=True), report)
    sources = Sources(tuple(good), tuple(parts), tuple(manifest), tuple(commits), covered)
    return Ledger(list(good.values()), records, retries, sources, lost)


def _newest_head(store: Store, manifest: Sequence[str], report: Report | None) -> _Head | None:
    """The newest HEAD that can be read; None when one is gone. DamagedError when all are damaged.

    With `report` its snapshot can be read as well, and none need be left.
    """
    heads = [path for path in manifest if path.startswith(f"{paths.HEADS}/")]
    for path in reversed(heads):
        data = store.get(path)
        if data is None:
            return None
        damaged = [path]
        try:
            found = documents.decode(data, path, snapshot=str, covered=dict)
            if report is not None or found["snapshot"] not in manifest:
                damaged += [found["snapshot"]] if found["snapshot"] in manifest else []
                _check_snapshot(store, found["snapshot"], path)
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


def _check_snapshot(store: Store, path: str, head: str) -> None:
    data = store.get(path)
    if data is not None:
        from_parquet(data, path=path)
    elif store.head(head) is not None:  # else it was compacted away meanwhile
        raise DamagedError(f"{head} is damaged: there is no {path}.")


def _readable(path: str, data: bytes, report: Report) -> bool:
    """Whether all of a table can be decoded."""
    try:
        from_parquet(data, path=path)
    except DamagedError as error:
        report(path, str(error))
        return False
    return True


def _records(read: Iterable[tuple[str, bytes | None]], report: Report | None) -> list[Record]:
    found = []
    for path, data in read:
        record = parse(data or b"")
        if record is not None:
            found.append(record)
        elif report is not None:
            report(path, f"{path} is damaged: it is no record.")
        else:
            _log.warning("the record %s is damaged; its work counts as not done", path)
    return found


def _wishes(
    read: Iterable[tuple[str, bytes | None]], report: Report | None
) -> tuple[Counter[str], Counter[str]]:
    """Keys to be tried again, and keys whose result is lost, each with its last attempt."""
    retries, lost = Counter[str](), Counter[str]()
    for path, data in read:
        try:
            wish = documents.decode(data or b"", path, keys=dict)
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
