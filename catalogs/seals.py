"""Seals: a shard's records become one manifest part, and a finished plan costs one request.

Order of writing: part, seal, then the records are deleted. Whatever is missing after a crash, the
records or the part are there, and sealing again gives the same part. Two workers that seal one
shard write the same part, or two parts that the ledger merges. A record's name that came free may
hold a slower worker's result later, so only what still is as it went into the part is deleted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple, Self

from catalogs import documents, leases, paths
from catalogs.errors import StoreError
from catalogs.facts import Ledger
from catalogs.keys import digest_bytes
from catalogs.loading import read_all
from catalogs.records import Record, parse, to_parquet, to_table, utc_now
from catalogs.rows import Row
from catalogs.shards import same_branch
from catalogs.store import Store


def seal_shard(
    store: Store, plan_key: str, shard_id: str, records: Iterable[Record] = ()
) -> dict[str, Any]:
    """Seal a shard whose works all have a record; give back the seal. Four requests.

    `records` are those under this plan that the caller holds; all others found in the shard go
    along (two requests each).
    """
    held = list(records)
    found = _Found.of(store, shard_id, held)
    known = {row.to_bytes(): row for row in [*held, *found.records()]}.values()
    rows = sorted(known, key=lambda r: (r.item_id, r.key, r.attempt, r.to_bytes()))
    part = write_part(store, shard_id, rows)
    seal = {
        "plan_key": plan_key,
        "shard_id": shard_id,
        "parts": [part] if part else [],
        "counts": _counts(rows),
        "sealed_at": utc_now(),
    }
    path = paths.seal(plan_key, shard_id)
    if not store.create(path, documents.encode(seal), documents.TYPE):
        seal = _amend(store, path, seal)
    store.delete(found.unchanged(store))
    return seal


def seal_leftovers(
    store: Store,
    plan_key: str,
    ledger: Ledger,
    *,
    skip: Collection[str] = (),
    lease_seconds: float = 600,
) -> int:
    """Seal the records a crash left behind; give back how many shards had any.

    `ledger` only tells where to look: it may be as old as the run. `skip` names shards whose
    leftovers the caller has sealed along with new records; those on the branch of a shard that a
    living worker holds are that worker's to seal.
    """
    shards = [name for name in ledger.leftovers if name not in skip]
    if not shards:
        return 0
    busy = [holder.shard_id for holder in leases.holders(store, lease_seconds)]
    shards = [name for name in shards if not any(same_branch(name, other) for other in busy)]
    # One listing: many of these shards may have been sealed since.
    listed = {
        parsed[0] for i in store.list(paths.RECORDS) if (parsed := paths.parse_record(i.path))
    }
    left = [name for name in shards if name in listed]
    for shard_id in left:
        seal_shard(store, plan_key, shard_id)
    return len(left)


def write_part(store: Store, shard_id: str, rows: list[Record]) -> str | None:
    """Write a manifest part, named by its content; an equal one there already will do."""
    if not rows:
        return None
    data = to_parquet(to_table(rows))
    path = paths.manifest_part(shard_id, digest_bytes(data))
    store.create(path, data, "application/vnd.apache.parquet")
    return path


class _Found(NamedTuple):
    """Records that lie in a shard: those the caller holds, and what was read of the others."""

    held: list[str]
    read: Mapping[str, bytes]

    @classmethod
    def of(cls, store: Store, shard_id: str, records: Iterable[Record]) -> Self:
        """List a shard's records and read those not held; another size tells another record."""
        sizes = {record.path: len(record.to_bytes()) for record in records}
        listed = store.list(paths.records(shard_id))
        held = [info.path for info in listed if sizes.get(info.path) == info.size]
        others = [info.path for info in listed if sizes.get(info.path) != info.size]
        read = zip(others, read_all(store, others), strict=True)
        return cls(held, {path: data for path, data in read if data is not None})

    def records(self) -> list[Record]:
        """Those that were read; damaged ones do not count."""
        return [record for data in self.read.values() if (record := parse(data)) is not None]

    def unchanged(self, store: Store) -> list[str]:
        """Paths of those that a part now has and that are as they were; one request for each read.

        Damaged ones stay.
        """
        whole = [path for path, data in self.read.items() if parse(data) is not None]
        again = zip(whole, read_all(store, whole), strict=True)
        return [*self.held, *(path for path, data in again if data == self.read[path])]


def _counts(rows: Iterable[Record]) -> dict[str, int]:
    """Works by status, each work once, by the status its best attempt has."""
    best: dict[str, str] = {}
    for row in sorted(rows, key=lambda r: (r.status == "done", r.attempt)):
        best[row.key] = row.status
    return dict(sorted(Counter(best.values()).items()))


def _amend(store: Store, path: str, seal: dict[str, Any]) -> dict[str, Any]:
    """Add a later part to the seal that stands; the seal informs, the parts are the facts."""
    data = store.get(path)
    stands = documents.decode(data, path, parts=list) if data is not None else {"parts": []}
    if set(seal["parts"]) <= set(stands["parts"]):
        return stands if data is not None else seal
    counts = Counter(stands.get("counts", {})) + Counter(seal["counts"])
    parts = sorted({*stands["parts"], *seal["parts"]})
    merged = {**seal, "parts": parts, "counts": dict(sorted(counts.items()))}
    store.put(path, documents.encode(merged), documents.TYPE)
    return merged


def finished(store: Store, plan_key: str) -> dict[str, Any] | None:
    """Give the seal of the whole plan, None while works remain. One request."""
    path = paths.seal_all(plan_key)
    data = store.get(path)
    return documents.decode(data, path, counts=dict, codes=dict) if data is not None else None


def seal_all(
    store: Store,
    plan_key: str,
    counts: Mapping[str, int],
    *,
    codes: Mapping[str, int] | None = None,
    ledger: Ledger | None = None,
) -> dict[str, Any] | None:
    """Declare the plan finished; None where it is not, as somebody asked for more. Two requests.

    `counts` (works by status) and `codes` (failures by code) are kept in the seal. A wish that
    `ledger`, from which they are, does not know yet may have opened the plan before it was sealed:
    then the seal goes again. One written later opens the plan itself.
    """
    seal = {
        "plan_key": plan_key,
        "counts": dict(counts),
        "codes": dict(codes or {}),
        "sealed_at": utc_now(),
    }
    path = paths.seal_all(plan_key)
    store.create(path, documents.encode(seal), documents.TYPE)
    if ledger is not None:
        wishes = {info.path for info in store.list(paths.RETRIES)}
        if not wishes <= set(ledger.sources.wishes):
            store.delete([path])
            return None
    return seal


def reopen(store: Store, rows: Iterable[Row], *, reason: str = "") -> int:
    """Let failed rows be tried again; give back how many. Done rows are left as they are.

    Their attempts so far no longer count against them. The seals of all plans are removed, and
    those of the shards that can hold these items.
    """
    chosen = [row for row in rows if row.status != "done"]
    if chosen:
        wish = {"keys": {row.key: row.attempt for row in chosen}, "reason": reason}
        _wish(store, wish, {row.shard_id for row in chosen})
    return len(chosen)


def declare_lost(store: Store, rows: Iterable[Row], *, reason: str = "") -> int:
    """Let results be made again whose files are missing or damaged; give back how many.

    A result of a row's key counts again once its attempt is a later one. Seals go as for `reopen`.
    """
    chosen = sorted(rows, key=lambda row: row.attempt)
    lost = {row.key: row.attempt for row in chosen}
    if lost:
        wish = {"keys": {}, "lost": lost, "reason": reason}
        _wish(store, wish, {row.shard_id for row in chosen})
    return len(lost)


def _wish(store: Store, wish: Mapping[str, Any], shards: Collection[str]) -> None:
    """Write down under a free number what is to be done again, and open plans and `shards`.

    Seals go before, lest a death in between leaves a wish that no run looks for, and after, lest
    a run has set them anew meanwhile.
    """
    data = documents.encode({**wish, "created": utc_now()})
    _open(store, shards)
    taken = [paths.sequence_of(info.path) for info in store.list(paths.RETRIES)]
    first = max(taken, default=0) + 1
    if not any(store.create(paths.retry(first + i), data, documents.TYPE) for i in range(100)):
        raise StoreError(f"no free name for a retry in {store.url}")
    _open(store, shards)


def _open(store: Store, shards: Collection[str]) -> None:
    store.delete(info.path for info in store.list(paths.SEALS) if _concerned(info.path, shards))


def _concerned(path: str, shards: Iterable[str]) -> bool:
    """Whether a seal speaks of a whole plan, or of a shard on the branch of one of `shards`."""
    name = path.rpartition("/")[2].removesuffix(".json")
    return name == "ALL" or any(same_branch(name, shard) for shard in shards)
