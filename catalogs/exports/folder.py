"""A folder for people: `Artist/Title (id).mp4`, and a table of all works for a spreadsheet."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from typing import Any

from catalogs.exports.copying import Outcome
from catalogs.exports.loose import Placed, copy_works
from catalogs.exports.names import ENDINGS, file_stems
from catalogs.exports.target import Target
from catalogs.exports.works import COLUMNS, Work
from catalogs.safe_text import as_cell
from catalogs.store import Store

NAME = "folder"
INDEX = "index.csv"


def place(works: Sequence[Work]) -> list[Placed]:
    """Where the files of each work go."""
    return [
        Placed(work, tuple(stem + ENDINGS[file.name] for file in work.files))
        for work, stem in zip(works, file_stems(works), strict=True)
    ]


def export(
    source: Store,
    target: Target,
    works: Sequence[Work],
    *,
    link: bool = False,
    on_work: Callable[[], object] = lambda: None,
) -> Outcome:
    """Write the folder. Raises StoreError."""
    outcome, there = copy_works(source, target, place(works), link=link, on_work=on_work)
    outcome.notes += target.finish({INDEX: _index(there)}, complete=not outcome.left_out)
    return outcome


def _index(placed: Sequence[Placed]) -> bytes:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["file_name", *COLUMNS])
    for one in placed:
        told = one.work.told()
        cells = [one.paths[0], *(told[name] for name in COLUMNS)]
        table.writerow([_cell(value) for value in cells])
    return text.getvalue().encode()


def _cell(value: Any) -> Any:
    if isinstance(value, list):
        value = "; ".join(value)
    return as_cell(value) if isinstance(value, str) else value
