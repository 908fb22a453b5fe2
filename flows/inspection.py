"""Questions about a collection, answered from its store alone: no Prefect, no torch."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path, PurePath
from shlex import quote
from typing import Any

from rich.console import Console
from rich.table import Table

from catalogs import crashes, leases
from catalogs.codes import CODES
from catalogs.errors import ConfigError
from catalogs.leases import Holder
from catalogs.ledger import reopen
from catalogs.records import Record, from_table, to_parquet
from catalogs.rows import REJECTED
from catalogs.safe_text import as_cell, as_json
from catalogs.verification import unrecorded
from flows.collection import open_run
from flows.report import escaped
from tasks.collection import Collection

_SHOWN = 10  # failed works that `epa status` lists


def open_collection(location: str) -> Collection:
    """The collection at a folder or URL. Raises ConfigError."""
    return Collection.open(open_run(location))


def print_status(location: str, *, as_json: bool = False) -> None:
    """Works by state and code, and how many are still to do."""
    collection = open_collection(location)
    keys = [work.key for work in collection.works]
    recorded = collection.ledger.counts(keys)
    states: Counter[str] = Counter()
    for (state, _), count in recorded.items():
        states[state] += count
    states["pending"] = len(keys) - states.total()
    codes = {code: count for (state, code), count in recorded.items() if state != "done"}
    cells = _states_by_cell(collection) if collection.run.matrix else {}
    seconds = collection.run.execution.lease_seconds
    holders = leases.holders(collection.store, seconds)
    orphans = 0
    if not recorded and not collection.ledger.keys():  # else too dear a question for a glance
        works = {work.key: work.item_id for work in collection.works}
        orphans = len(unrecorded(collection.store, works, seconds))
    if as_json:
        facts: dict[str, Any] = {"works": len(keys), "states": dict(states), "codes": codes}
        if orphans:
            facts["unrecorded"] = orphans
        if holders:
            facts["at_work"] = [_at_work(holder) for holder in holders]
        if cells:
            facts |= {"items": collection.table.num_rows, "cells": cells}
        sys.stdout.write(json.dumps(facts) + "\n")
        return
    console = Console(soft_wrap=True, highlight=False)
    table = Table("state", "works", box=None, pad_edge=False)
    for state, count in sorted(states.items()):
        table.add_row(state, str(count))
    console.print(table)
    if cells:
        console.print(_cell_table(cells, sorted(states)))
        console.print(f"  works of {collection.table.num_rows} paintings in {len(cells)} cells")
    for (state, code), count in sorted(recorded.items()):
        if state != "done":
            console.print(f"  {count} {state}: {escaped(code)}")
    if orphans:
        console.print(f"  {not_recorded(orphans, location)}")
    for holder in holders:
        console.print(escaped(f"  shard {holder.shard_id}: {_working(holder)}"))
    failed = [
        row.key
        for row in collection.ledger.current(keys)
        if row.status != "done" and row.code != REJECTED
    ]
    for record in from_table(collection.ledger.table(failed[:_SHOWN])):
        place = PurePath(record.source_uri or "").name
        about = f"{record.item_id}  {place}  {in_cell(record)}{record.code}: {record.message}"
        console.print(f"    {escaped(about)}")
    if len(failed) > _SHOWN:
        command = escaped(f"epa manifest {quote(location)}")
        console.print(f"    and {len(failed) - _SHOWN} more; all of them: {command}")


def not_recorded(count: int, location: str) -> str:
    """That results are there which nothing speaks of, and what takes them in."""
    lie, are = ("1 result lies", "is") if count == 1 else (f"{count} results lie", "are")
    rebuild = f"epa rebuild {escaped(quote(location))}"
    return f"{lie} in videos/ and {are} not recorded: {rebuild}"


def _at_work(holder: Holder) -> dict[str, Any]:
    """A shard under work now, as plain data."""
    return {
        "shard": holder.shard_id,
        "worker": holder.worker,
        "since": holder.since,
        "in_flight": sorted(holder.in_flight.values()),
    }


def _working(holder: Holder) -> str:
    works = sorted(holder.in_flight.values())
    more = f" and {len(works) - 3} more" if len(works) > 3 else ""
    at = f", at {', '.join(works[:3])}{more}" if works else ""
    heard = f" (last heard of at {holder.modified:%H:%M:%S %Z})" if holder.modified else ""
    return f"{holder.worker} is at work since {holder.since}{at}{heard}"


def _states_by_cell(collection: Collection) -> dict[str, dict[str, int]]:
    """Cell -> works by state; a work that several cells share counts in the first."""
    counts: dict[str, Counter[str]] = {str(cell.label): Counter() for cell in collection.cells}
    for work in collection.works:
        row = collection.ledger.find(work.key)
        label = str(collection.cells[work.cell].label)
        counts[label][row.status if row else "pending"] += 1
    return {label: dict(found) for label, found in counts.items()}


def _cell_table(cells: Mapping[str, Mapping[str, int]], states: list[str]) -> Table:
    table = Table("cell", *states, box=None, pad_edge=False)
    for label, counts in cells.items():
        table.add_row(escaped(label), *(str(counts.get(state, 0)) for state in states))
    return table


def write_manifest(location: str, format: str, output: Path | None) -> None:
    """One row per work of the collection that has a record; to a file or to standard output."""
    import pyarrow as pa
    import pyarrow.csv as pc

    collection = open_collection(location)
    table = collection.results()
    if format == "parquet":
        data = to_parquet(table)
    elif format == "json":
        rows = table.to_pylist(maps_as_pydicts="lossy")
        data = "".join(as_json(row) + "\n" for row in rows).encode()
    else:
        sink = pa.BufferOutputStream()
        pc.write_csv(_flat(table), sink)
        data = bytes(sink.getvalue())
    try:
        if output is None:
            sys.stdout.buffer.write(data)
        else:
            output.write_bytes(data)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise ConfigError(f"{output} cannot be written: {error.strerror}") from error


def _flat(table: Any) -> Any:
    """The table as a spreadsheet can hold it: nested columns as JSON text, no text a formula."""
    import pyarrow as pa

    for index, field in enumerate(table.schema):
        if pa.types.is_nested(field.type) or pa.types.is_string(field.type):
            values = table[field.name].to_pylist(maps_as_pydicts="lossy")
            write = as_json if pa.types.is_nested(field.type) else as_cell
            texts = [None if value is None else write(value) for value in values]
            table = table.set_column(index, field.name, pa.array(texts, pa.string()))
    return table


def in_cell(record: Record) -> str:
    """The cell of a record as a prefix; nothing where a run has one cell."""
    return f"{record.cell}: " if record.cell else ""


def ask_retry(location: str, codes: list[str], items: list[str]) -> int:
    """Mark the failed works (with these codes, among these items) as to be tried again.

    Not those that a curator rejected: another review takes them up. Deaths of workers that were at
    them are forgotten. ConfigError for a code that nobody knows.
    """
    collection = open_collection(location)
    failed = [
        row
        for row in collection.ledger.current([work.key for work in collection.works])
        if row.status != "done" and row.code != REJECTED
    ]
    known = {*CODES, *(row.code for row in failed if row.code)}
    if REJECTED in codes:
        raise ConfigError(
            f"--reason {REJECTED}: {CODES[REJECTED].meaning} {CODES[REJECTED].advice}"
        )
    for code in codes:
        if code not in known:
            near = get_close_matches(code, known, 1, 0.5)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ConfigError(f"there is no failure code {code!r}{hint}")
    rows = [
        row
        for row in failed
        if (not codes or row.code in codes) and (not items or row.item_id in items)
    ]
    if not rows and (codes or items):
        asked = ", ".join([*codes, *items])
        raise ConfigError(f"no failed work is named by {asked}; see `epa status {location}`")
    crashes.forget(collection.store, [row.key for row in rows])
    return reopen(collection.store, rows, reason=", ".join(codes) or "asked")
