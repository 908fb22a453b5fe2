"""Rows of the ledger as planning sees them, and which of several rows of one key counts.

Done counts before anything else, then the higher attempt, then the earlier finish, then the
smaller digest of its frames; what is still equal is decided by its values, never by its place.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

PLAIN = ("item_id", "key", "shard_id", "status", "code", "retryable", "attempt")
# After these, order by what else planning looks at, so that the choice never depends on reading.
ORDER = ("finished_at", "frames_sha256")
_TIES = ("status", "code", "item_id", "shard_id", "retryable")

LOST = "file_lost"
REJECTED = "rejected"  # by a curator, in a review
_AS_LOST: dict[str, Any] = {
    "status": "failed",
    "code": LOST,
    "message": "a file of the result is missing or damaged",
    "retryable": True,
    "outputs": [],
}


class Row(NamedTuple):
    """What planning needs of one row; `place` finds the rest in the ledger."""

    place: int
    item_id: str
    key: str
    shard_id: str
    status: str
    code: str | None
    retryable: bool | None
    attempt: int


def without_lost(table: Any, lost: Mapping[str, int]) -> Any:
    """The table with lost results as failures of code `file_lost`.

    `lost` maps keys to the last attempt whose result is lost; files of one are none any more.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if not lost:
        return table
    last = _looked_up(table, lost, pa.int64())
    gone = pc.and_(pc.equal(table["status"], "done"), pc.less_equal(table["attempt"], last))
    return _with_values(table, pc.fill_null(gone, False), _AS_LOST)


def as_rejected(table: Any, notes: Mapping[str, str]) -> Any:
    """The table with the works that a curator rejected as skipped ones of code `rejected`.

    `notes` maps their keys to the curator's notes. Their files stay named.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if not notes:
        return table
    told = _looked_up(table, notes, pa.string())
    values = {"status": "skipped", "code": REJECTED, "retryable": False}
    return _with_values(table, pc.is_valid(told), {**values, "message": told})


def _looked_up(table: Any, values: Mapping[str, Any], kind: Any) -> Any:
    """The value of each row's key; null where it has none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    keys, found = pa.array(values.keys(), pa.string()), pa.array(values.values(), kind)
    return found.take(pc.index_in(table["key"].combine_chunks(), value_set=keys))


def _with_values(table: Any, rows: Any, values: Mapping[str, Any]) -> Any:
    """The table with other values in these rows, in those of the columns that it has."""
    import pyarrow as pa
    import pyarrow.compute as pc

    for name, value in values.items():
        place = table.schema.get_field_index(name)
        if place >= 0:
            field = table.schema.field(place)
            new = value if isinstance(value, pa.Array) else pa.scalar(value, field.type)
            table = table.set_column(place, field, pc.if_else(rows, new, table[name]))
    return table


def best_rows(table: Any, group: Sequence[str]) -> Any:
    """Positions of the best row of each group, ascending (numpy int64)."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    codes = [table[name].combine_chunks().dictionary_encode().indices for name in group[:1]]
    codes += [table[name].combine_chunks() for name in group[1:]]
    if len(group) == 1 and len(pc.unique(table[group[0]])) == table.num_rows:
        return np.arange(table.num_rows)
    ranked = pa.table(
        {
            **{f"group{i}": code for i, code in enumerate(codes)},
            "rank": pc.not_equal(table["status"], "done"),
            "attempt": table["attempt"],
            **{name: table[name] for name in (*ORDER, *_TIES)},
        }
    )
    groups = [(f"group{i}", "ascending") for i in range(len(codes))]
    order = [*groups, ("rank", "ascending"), ("attempt", "descending")]
    return _first_of_groups(
        ranked, order + [(name, "ascending") for name in (*ORDER, *_TIES)], len(codes)
    )


def latest_rows(table: Any) -> Any:
    """Positions of the row of each item that was finished last, ascending (numpy int64)."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    items = table["item_id"].combine_chunks().dictionary_encode()
    if len(items.dictionary) == table.num_rows:
        return np.arange(table.num_rows)
    ranked = pa.table(
        {
            "group0": items.indices,
            "finished_at": table["finished_at"],
            "rank": pc.not_equal(table["status"], "done"),
            "key": table["key"],
        }
    )
    order = [("group0", "ascending"), ("finished_at", "descending"), ("rank", "ascending")]
    return _first_of_groups(ranked, [*order, ("key", "ascending")], 1)


def _first_of_groups(ranked: Any, order: list[tuple[str, str]], depth: int) -> Any:
    """Sort and keep the first row of each group, given as positions in reading order."""
    import numpy as np
    import pyarrow.compute as pc

    places = pc.sort_indices(ranked, sort_keys=order).to_numpy()
    starts = np.zeros(len(places), dtype=bool)
    starts[:1] = True
    for i in range(depth):
        values = ranked[f"group{i}"].to_numpy()[places]
        starts[1:] |= values[1:] != values[:-1]
    return np.sort(places[starts]).astype(np.int64)
