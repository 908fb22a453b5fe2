"""Fabricated works for exports: files of a few bytes, rows beside them, and what was written."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from fabricated import files_of, record_of

from catalogs.exports import folder, videofolder, webdataset
from catalogs.exports.card import card
from catalogs.exports.copying import Outcome
from catalogs.exports.selection import joined
from catalogs.exports.target import Target
from catalogs.exports.works import Work, works_of
from catalogs.records import to_table
from catalogs.schema import table_from_rows
from catalogs.store import Store

FORMATS = ("videofolder", "webdataset", "folder")
MINE = "3f3f3f3f3f3f3f3f"
# Columns that a record does not hold, or holds under another name.
_CATALOG = ("split", "landing_url", "credit_line", "rights_uri", "styles", "is_public_domain")


def table_of(rows: Sequence[dict[str, Any]]) -> pa.Table:
    """A joined table of done works; a row is an `id` and what records and catalogs say of it."""
    records, works = [], []
    for row in rows:
        facts = {n: v for n, v in row.items() if n not in (*_CATALOG, "id", "fps_of_key")}
        records.append(record_of(row["id"], fps=row.get("fps_of_key", 8), **facts))
        found = {name: row[name] for name in _CATALOG if name in row}
        works.append({"id": row["id"], "image_uri": "x.png", **found})
    catalog = table_from_rows({row["id"]: row for row in works}.values())
    return joined(to_table(records), catalog)


def works(rows: Sequence[dict[str, Any]], *names: str) -> list[Work]:
    """The works to export of such rows, with further files by name."""
    found = works_of(table_of(rows), names, "algorithmicMedia")
    return [work for work in found if isinstance(work, Work)]


def fabricate(store: Store, rows: Sequence[dict[str, Any]], *names: str) -> list[Work]:
    """The same, and their files in the store."""
    for row in rows:
        for path, data in files_of(row["id"], row.get("fps_of_key", 8)).items():
            store.put(path, data, durable=False)
    return works(rows, *names)


def export(
    form: str, source: Store, url: Path | str, chosen: Sequence[Work], **options: Any
) -> Outcome:
    """Export works as the command does; `adopt` and `owner` are the target's."""
    place = {"owner": options.pop("owner", MINE), "adopt": options.pop("adopt", False)}
    target = Target(str(url), form, **place)
    if form == "folder":
        return folder.export(source, target, chosen, **options)

    def readme(present: Any, patterns: Any) -> str:
        return card(present, patterns, form=form, title="Sample works", preview=True)

    if form == "videofolder":
        return videofolder.export(source, target, chosen, readme, **options)
    return webdataset.export(source, target, chosen, readme, **options)


def tree(root: Path) -> dict[str, bytes]:
    """Every file below a folder, hidden ones too: posix path -> bytes."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


if __name__ == "__main__":  # what the fault tests kill: FORMAT SOURCE TARGET COUNT
    form, place, goal, count = sys.argv[1:]
    chosen = works([{"id": f"w{n:05d}", "title": f"Title {n}"} for n in range(int(count))])
    options = {"shard_works": 7} if form == "webdataset" else {}
    outcome = export(form, Store.open(place), goal, chosen, **options)
    print(outcome.written, outcome.kept, len(outcome.left_out))
