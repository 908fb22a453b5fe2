"""A catalog to work on: any source opened, its works selected; and where it is written and read."""

from __future__ import annotations

import re
from collections.abc import Iterable

import pyarrow as pa

from catalogs.builders.columns import nearest
from catalogs.builders.source import build_source, open_source
from catalogs.catalog_file import read_catalog, write_catalog
from catalogs.errors import ConfigError
from catalogs.schema import SCHEMA
from catalogs.validation import printable

__all__ = [
    "build_source",
    "matching",
    "open_source",
    "read_catalog",
    "select",
    "write_catalog",
]


_SHORT = "styles[1] AS style, year_begin AS year"  # what people call them, and the manifest does


def select(table: pa.Table, where: str | None = None, limit: int | None = None) -> pa.Table:
    """The works for which a DuckDB expression over the columns is true, the first `limit` by id.

    Beside the schema's columns there are `style` (the first of `styles`) and `year` (`year_begin`).
    `where` reads nothing but this table (`catalog`). Raises ConfigError for an expression that is
    wrong, an unknown column (with the nearest name) or an empty selection.
    """
    if limit is not None and limit < 1:
        raise ConfigError(f"limit: {limit} is not allowed; give 1 or more.")
    if table.num_rows == 0:
        raise ConfigError("the catalog has no works.")
    if where is None or not where.strip():
        return table if limit is None else table.slice(0, limit)
    import pyarrow.compute as pc

    ids = _matching_ids(table, where)
    if len(ids) == 0:
        raise ConfigError(f"where: {where!r} selects none of the {table.num_rows} works.")
    chosen = table.filter(pc.is_in(table["id"], ids))
    return (chosen if limit is None else chosen.slice(0, limit)).combine_chunks()


def _matching_ids(table: pa.Table, where: str) -> pa.Array:
    known = [*SCHEMA.names, "style", "year"]
    return matching(table, where, "id", known=known, more=_SHORT)


def matching(
    table: pa.Table,
    where: str,
    column: str,
    *,
    known: Iterable[str],
    name: str = "catalog",
    more: str = "",
) -> pa.Array:
    """One column of the rows for which a DuckDB expression is true; it reads nothing but the table.

    The table is called `name` in it; `more` are further columns in SQL, `known` the names an error
    may offer. Raises ConfigError for a wrong expression or an unknown column.
    """
    import duckdb

    connection = duckdb.connect(
        config={
            "enable_external_access": "false",
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
        }
    )
    try:
        connection.register(name, table)
        connection.execute("SET lock_configuration = true")
        # A relation's filter takes one expression: no second statement gets in through it.
        works = connection.view(name).project(f"*, {more}" if more else "*")
        found = works.filter(where).project(column).to_arrow_table()
        return found[column].combine_chunks()
    except duckdb.Error as error:
        raise ConfigError(_explain(where, error, list(known))) from error
    finally:
        connection.close()


def _explain(where: str, error: Exception, known: list[str]) -> str:
    message = str(error)
    unknown = re.search(r'[Cc]olumn "([^"]+)" not found|column named "([^"]+)"', message)
    if unknown:
        name = unknown[1] or unknown[2]
        hint = nearest(name, known) or f"; allowed are {', '.join(known)}"
        return f"where: there is no column {name!r}{hint}."
    first = printable(message.partition("\n")[0].strip())
    return f"where: {where!r} is not a valid expression: {first}"
