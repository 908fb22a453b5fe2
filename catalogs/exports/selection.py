"""Which works are exported: rows of the manifest beside what the catalog says of the paintings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from catalogs.catalog import matching
from catalogs.errors import ConfigError
from catalogs.validation import printable

VIEW = "works"  # what a condition calls the table it is about


@dataclass(frozen=True)
class Selection:
    """Conditions that all must hold; an empty one always does."""

    where: str | None = None
    statuses: Sequence[str] = ("done",)
    flags: Sequence[str] = ()
    cells: Sequence[str] = ()


def joined(manifest: pa.Table, catalog: pa.Table) -> pa.Table:
    """The manifest's rows in their order with an `id` and the catalog's further columns.

    Where both have a column the manifest's stands: it says what went into the video.
    """
    items = manifest["item_id"].combine_chunks()
    table = manifest.append_column("id", items)
    places = pc.index_in(items, value_set=catalog["id"].combine_chunks())
    for field in catalog.schema:
        if field.name not in table.column_names:
            table = table.append_column(field, catalog[field.name].combine_chunks().take(places))
    return table


def chosen(table: pa.Table, selection: Selection) -> pa.Table:
    """The rows of a joined table that a selection names. Raises ConfigError when there are none."""
    if table.num_rows == 0:
        raise ConfigError("no work of this collection has a result yet; there is nothing to export")
    for option, column, values in (
        ("status", "status", selection.statuses),
        ("flag", "flag", selection.flags),
        ("cell", "cell", selection.cells),
    ):
        if values:
            table = _one_of(table, option, column, values)
    if selection.where is not None and selection.where.strip():
        names = [name for name in table.column_names if name != "item_id"]
        keys = matching(table, selection.where, "key", known=names, name=VIEW)
        if len(keys) == 0:
            count = table.num_rows
            raise ConfigError(f"where: {selection.where!r} selects none of the {count} works")
        table = table.filter(pc.is_in(table["key"], keys))
    return table.combine_chunks()


def _one_of(table: pa.Table, option: str, column: str, values: Sequence[str]) -> pa.Table:
    there = Counter(table[column].to_pylist())
    for value in values:
        if value not in there:
            known = [f"{name} ({count})" for name, count in sorted(there.items(), key=str) if name]
            among = f"there are {printable(', '.join(known), 1000)}" if known else "there is none"
            raise ConfigError(f"--{option} {value!r}: no chosen work has it; {among}")
    return table.filter(pc.is_in(table[column], pa.array(values, pa.string())))
