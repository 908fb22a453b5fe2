"""Questions about a collection, answered from its store alone: no Prefect, no torch."""

from __future__ import annotations

import json
import sys
from collections import Counter
from difflib import get_close_matches
from pathlib import Path, PurePath
from typing import Any

from rich.console import Console
from rich.table import Table

from catalogs.errors import ConfigError
from catalogs.ledger import reopen
from catalogs.records import Record, from_table, to_parquet
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
    if as_json:
        facts = {"works": len(keys), "states": dict(states), "codes": codes}
        sys.stdout.write(json.dumps(facts) + "\n")
        return
    console = Console(soft_wrap=True, highlight=False)
    table = Table("state", "works", box=None, pad_edge=False)
    for state, count in sorted(states.items()):
        table.add_row(state, str(count))
    console.print(table)
    for code, count in sorted(codes.items()):
        console.print(f"  {count} failed: {escaped(code)}")
    failed = [row.key for row in collection.ledger.current(keys) if row.status != "done"]
    for record in from_table(collection.ledger.table(failed[:_SHOWN])):
        place = PurePath(record.source_uri or "").name
        about = f"{record.item_id}  {place}  {record.code}: {record.message}"
        console.print(f"    {escaped(about)}")
    if len(failed) > _SHOWN:
        console.print(f"    and {len(failed) - _SHOWN} more; all of them: epa manifest OUT")


def write_manifest(location: str, format: str, output: Path | None) -> None:
    """One row per work of the collection that has a record; to a file or to standard output."""
    import pyarrow as pa
    import pyarrow.csv as pc

    collection = open_collection(location)
    table = collection.ledger.table([work.key for work in collection.works])
    if format == "parquet":
        data = to_parquet(table)
    elif format == "json":
        rows = table.to_pylist(maps_as_pydicts="lossy")
        data = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
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
    """Nested columns as JSON text, so that a spreadsheet can hold them."""
    import pyarrow as pa

    for index, field in enumerate(table.schema):
        if pa.types.is_nested(field.type):
            values = table[field.name].to_pylist(maps_as_pydicts="lossy")
            texts = [None if v is None else json.dumps(v, ensure_ascii=False) for v in values]
            table = table.set_column(index, field.name, pa.array(texts, pa.string()))
    return table


def print_why(location: str, item: str) -> None:
    """The work's history, what its present key is made of, and what a run would do with it."""
    collection = open_collection(location)
    item = _find(collection, item)
    work = next((work for work in collection.works if work.item_id == item), None)
    history = collection.ledger.history(item)
    if work is None and not history:
        near = get_close_matches(item, [w.item_id for w in collection.works], 1, 0.3)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        raise ConfigError(f"there is no work {item!r} in this collection{hint}")
    console = Console(soft_wrap=True, highlight=False)
    for record in history:
        console.print(_attempt(record))
    if work is None:
        console.print("It is no longer among the selected works.")
        return
    reason = collection.plan.reasons[work.index]
    console.print(f"now: [bold]{escaped(reason)}[/] (key {work.key})")
    for name, value in collection.material(work).items():
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
    text = f"{record.finished_at}  attempt {record.attempt}: {record.status}"
    if record.status == "done":
        return f"{text}, motion {record.motion}, {record.flag}; key {record.key}"
    where = f" in {record.stage_failed}" if record.stage_failed else ""
    return escaped(f"{text} [{record.code}]{where}: {record.message}")


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
