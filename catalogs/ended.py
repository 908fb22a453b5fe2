"""What became of a shard's works since a plan was made: another worker may have done them."""

from __future__ import annotations

from collections.abc import Collection

from catalogs import documents, paths
from catalogs.records import from_parquet, parse
from catalogs.store import Store

Attempt = tuple[str, int]  # key, number


def ended(
    store: Store, plan_key: str, shard_id: str, planned: Collection[Attempt]
) -> tuple[set[Attempt], bool]:
    """Which of the planned attempts are over, and whether the shard has records not yet sealed.

    One listing and two requests, and one for every record that is there.
    """
    over: dict[str, int] = {}
    listed = [info.path for info in store.list(paths.records(shard_id))]
    wanted = {key for key, _ in planned}
    for path in listed:
        name = paths.parse_record(path)
        # Read, not only listed: a damaged record counts for nothing, and its work is done again.
        if name and name[1] in wanted and parse(store.get(path) or b""):
            over[name[1]] = max(over.get(name[1], 0), name[2])
    path = paths.seal(plan_key, shard_id)
    seal = store.get(path)
    parts = documents.decode(seal, path, parts=list)["parts"] if seal is not None else []
    for part in parts:
        if (data := store.get(part)) is not None:
            rows = from_parquet(data, ("key", "attempt"), path=part)
            for key, attempt in zip(*(column.to_pylist() for column in rows.columns), strict=True):
                over[key] = max(over.get(key, 0), attempt)
    found = {(key, attempt) for key, attempt in planned if over.get(key, 0) >= attempt}
    return found, bool(listed)
