"""What became of a shard's works since a plan was made: another worker may have done them."""

from __future__ import annotations

from collections.abc import Collection

from catalogs import paths
from catalogs.records import from_parquet, parse
from catalogs.shards import same_branch
from catalogs.store import Store

Attempt = tuple[str, int]  # key, number


def ended(
    store: Store, shard_id: str, planned: Collection[Attempt], known: Collection[str] = ()
) -> tuple[set[Attempt], bool]:
    """Which of the planned attempts are over, and whether the shard has records not yet sealed.

    `known` are objects of the manifest that the plan was made from. Two listings, and one request
    for every record of these works and every part that can hold them, whatever plan it is of.
    """
    over: dict[str, int] = {}
    wanted = {key for key, _ in planned}
    # Records before parts: a worker that seals writes the part before it removes the records.
    listed = [info.path for info in store.list(paths.RECORDS)]
    for path in listed:
        name = paths.parse_record(path)
        # Read, not only listed: a damaged record counts for nothing, and its work is done again.
        if name and name[1] in wanted and parse(store.get(path) or b""):
            over[name[1]] = max(over.get(name[1], 0), name[2])
    for info in store.list(paths.PARTS):
        shard = info.path.rpartition("/")[2].partition(".")[0]
        if info.path in known or not same_branch(shard, shard_id):
            continue
        if (data := store.get(info.path)) is not None:
            rows = from_parquet(data, ("key", "attempt"), path=info.path)
            for key, attempt in zip(*(column.to_pylist() for column in rows.columns), strict=True):
                over[key] = max(over.get(key, 0), attempt)
    found = {(key, attempt) for key, attempt in planned if over.get(key, 0) >= attempt}
    own = f"{paths.records(shard_id)}/"
    return found, any(path.startswith(own) for path in listed)
