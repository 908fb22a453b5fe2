"""Questions about a collection, answered from its store alone: no Prefect, no torch."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path, PurePath
from typing import Any

from rich.console import Console
from rich.table import Table

from catalogs.errors import ConfigError
from catalogs.ledger import reopen
from catalogs.records import Record, from_table, to_parquet
from catalogs.safe_text import as_cell, as_json
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
    if as_json:
        facts = {"works": len(keys), "states": dict(states), "codes": codes}
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
    for code, count in sorted(codes.items()):
        console.print(f"  {count} failed: {escaped(code)}")
    failed = [row.key for row in collection.ledger.current(keys) if row.status != "done"]
    for record in from_table(collection.ledger.table(failed[:_SHOWN])):
        place = PurePath(record.source_uri or "").name
        about = f"{record.item_id}  {place}  {_in_cell(record)}{record.code}: {record.message}"
        console.print(f"    {escaped(about)}")
    if len(failed) > _SHOWN:
        console.print(f"    and {len(failed) - _SHOWN} more; all of them: epa manifest OUT")


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


def print_why(location: str, item: str) -> None:
    """The work's history, what its present key is made of, and what a run would do with it."""
    collection = open_collection(location)
    item = _find(collection, item)
    works = [(i, work) for i, work in enumerate(collection.works) if work.item_id == item]
    history = collection.ledger.history(item)
    if not works and not history:
        near = get_close_matches(item, [w.item_id for w in collection.works], 1, 0.3)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        raise ConfigError(f"there is no work {item!r} in this collection{hint}")
    console = Console(soft_wrap=True, highlight=False)
    for record in history:
        console.print(_attempt(record))
    if not works:
        console.print("It is no longer among the selected works.")
        return
    cells = collection.cells_by_key(works[0][1].index)
    materials = [collection.material(work) for _, work in works]
    shared = {n: v for n, v in materials[0].items() if all(m[n] == v for m in materials)}
    for (i, work), material in zip(works, materials, strict=True):
        labels = [cell.label for cell in cells[work.key] if cell.label is not None]
        now = f"now, {' and '.join(labels)}:" if labels else "now:"
        reason = f"[bold]{escaped(collection.plan.reasons[i])}[/]"
        console.print(f"{escaped(now)} {reason} (key {work.key})")
        _print_facts(console, {n: v for n, v in material.items() if n not in shared})
    if len(works) > 1:
        console.print("all of them:")
    _print_facts(console, shared)


def _print_facts(console: Console, facts: Mapping[str, Any]) -> None:
    for name, value in facts.items():
        console.print(f"  {name} = {escaped(json.dumps(value, ensure_ascii=False))}")


def _find(collection: Collection, named: str) -> str:
    """The id of the one work with this id, file name or title; what was given where none is."""
    table = collection.table
    ids, places = table["id"].to_pylist(), table["image_uri"].to_pylist()
    if named in ids:
        return named
    columns = zip(ids, places, table["title"].to_pylist(), strict=True)
    found = {i for i, place, title in columns if named in (PurePath(place).name, title)}
    return found.pop() if len(found) == 1 else named


def _attempt(record: Record) -> str:
    cell = _in_cell(record)
    text = escaped(f"{record.finished_at}  {cell}attempt {record.attempt}: {record.status}")
    if record.status == "done":
        return f"{text}, motion {record.motion}, {record.flag}; key {record.key}"
    where = f" in {record.stage_failed}" if record.stage_failed else ""
    return text + escaped(f" [{record.code}]{where}: {record.message}")


def _in_cell(record: Record) -> str:
    return f"{record.cell}: " if record.cell else ""


def ask_retry(location: str, codes: list[str], items: list[str]) -> int:
    """Mark the failed works (with these codes, among these items) as to be tried again."""
    collection = open_collection(location)
    rows = [
        row
        for row in collection.ledger.current([work.key for work in collection.works])
        if row.status != "done"
        and (not codes or row.code in codes)
        and (not items or row.item_id in items)
    ]
    if not rows and (codes or items):
        asked = ", ".join([*codes, *items])
        raise ConfigError(f"no failed work is named by {asked}; see `epa status {location}`")
    return reopen(collection.store, rows, reason=", ".join(codes) or "asked")
