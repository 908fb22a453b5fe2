"""What became of a shard's works since a plan was made: another worker may have done them."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from catalogs import paths
from catalogs.records import Record, from_parquet, parse
from catalogs.shards import same_branch
from catalogs.store import Store

Attempt = tuple[str, int]  # key, number
_COLUMNS = ("attempt", "status", "code", "message", "stage_failed")


class Outcome(NamedTuple):
    """How the latest attempt at a work ended."""

    attempt: int
    status: str
    code: str | None
    message: str | None
    stage: str | None

    @classmethod
    def of(cls, record: Record) -> Outcome:
        """What a record says."""
        return cls(*(getattr(record, name) for name in _COLUMNS))


def ended(
    store: Store, shard_id: str, planned: Collection[Attempt], known: Collection[str] = ()
) -> tuple[set[Attempt], bool]:
    """Which of the planned attempts are over, and whether the shard has records not yet sealed.

    `known` are objects of the manifest that the plan was made from. Two listings, and one request
    for every record of these works and every part that can hold them, whatever plan it is of.
    """
    over, unsealed = outcomes(store, shard_id, {key for key, _ in planned}, known)
    found = {(k, n) for k, n in planned if k in over and over[k].attempt >= n}
    return found, unsealed


def outcomes(
    store: Store, shard_id: str, wanted: Collection[str], known: Collection[str] = ()
) -> tuple[dict[str, Outcome], bool]:
    """How the works of these keys ended; whether the shard has records. Requests as for `ended`."""
    over: dict[str, Outcome] = {}

    def note(key: str, outcome: Outcome) -> None:
        if key not in over or outcome.attempt > over[key].attempt:
            over[key] = outcome

    # Records before parts: a worker that seals writes the part before it removes the records.
    listed = [info.path for info in store.list(paths.RECORDS)]
    for path in listed:
        name = paths.parse_record(path)
        # Read, not only listed: a damaged record counts for nothing, and its work is done again.
        if name and name[1] in wanted and (record := parse(store.get(path) or b"")):
            note(name[1], Outcome.of(record))
    for info in store.list(paths.PARTS):
        shard = info.path.rpartition("/")[2].partition(".")[0]
        if info.path in known or not same_branch(shard, shard_id):
            continue
        if (data := store.get(info.path)) is not None:
            rows = from_parquet(data, ("key", *_COLUMNS), path=info.path)
            for key, *row in zip(*(column.to_pylist() for column in rows.columns), strict=True):
                note(key, Outcome(*row))
    own = f"{paths.records(shard_id)}/"
    return over, any(path.startswith(own) for path in listed)
