"""`review.csv`, as the gallery writes it and a spreadsheet may have saved it again."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path

from catalogs.builders.columns import listed, nearest
from catalogs.builders.table import read_bytes
from catalogs.errors import ConfigError
from catalogs.reviews import VERDICTS, Decision
from catalogs.safe_text import controls_shown, from_cell
from catalogs.validation import printable

COLUMNS = ("id", "key", "verdict", "note", "prompt", "reviewed_at")
_NEEDED = COLUMNS[:3]
_DELIMITERS = ",;\t"
_LONGEST_NOTE = 2000
_SAID = 5  # wrong rows that an error names
_WITH_HINT = 3  # of which so many get the nearest id: each is compared with all there are


def read_review(location: str, works: Sequence[str], longest_prompt: int) -> list[Decision]:
    """The decisions in a file or at a URL, about `works` (ids) of a collection.

    Commas, semicolons and tabs are understood, and a byte-order mark. ConfigError in a sentence
    for each wrong row, the first few of them, before anything is made of the right ones.
    """
    name = Path(location).name or location
    rows = list(_rows(_decoded(read_bytes(location), name), name))
    if not rows:
        raise ConfigError(f"{name}: there are no decisions in it.")
    judge = _Judge(works, longest_prompt)
    decisions = [judge.decision(number, row) for number, row in rows]
    if judge.wrong:
        more = len(judge.wrong) - _SAID
        rest = f"; and {more} more" if more > 0 else ""
        raise ConfigError(f"{name}: {'; '.join(judge.wrong[:_SAID])}{rest}. Nothing was taken in.")
    return [decision for decision in decisions if decision is not None]


def _decoded(data: bytes, name: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            f"{name}: line {row} is not UTF-8; save it as CSV UTF-8 and give it once more."
        ) from error


def _rows(text: str, name: str) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows with their numbers in the file, cells as they were before they were made safe."""
    header = text.partition("\n")[0]
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=max(_DELIMITERS, key=header.count), strict=True
    )
    columns: list[str] | None = None
    try:
        for number, cells in enumerate(reader, 1):
            if not any(cell.strip() for cell in cells):
                continue
            if columns is None:
                columns = _columns(cells, name)
                continue
            if len(cells) > len(columns) and any(cells[len(columns) :]):
                raise ConfigError(
                    f"{name}: row {number} has {len(cells)} cells, the header {len(columns)}."
                )
            yield number, {n: from_cell(cell) for n, cell in zip(columns, cells, strict=False)}
    except csv.Error as error:
        raise ConfigError(f"{name}: line {reader.line_num} is no CSV: {error}.") from error


def _columns(cells: Sequence[str], name: str) -> list[str]:
    columns = [cell.strip().lower() for cell in cells]
    while columns and not columns[-1]:
        columns.pop()
    for needed in _NEEDED:
        if needed not in columns:
            raise ConfigError(f"{name}: there is no column {needed!r}; it has {listed(columns)}.")
    for column in columns:
        if column not in COLUMNS:
            hint = nearest(column, COLUMNS)
            raise ConfigError(
                f"{name}: the column {printable(repr(column))} is unknown{hint}; "
                f"allowed are {', '.join(COLUMNS)}."
            )
        if columns.count(column) > 1:
            raise ConfigError(f"{name}: more than one column is named {column!r}.")
    return columns


class _Judge:
    """Turns rows into decisions and collects what is wrong with them."""

    def __init__(self, works: Sequence[str], longest_prompt: int) -> None:
        self.wrong: list[str] = []
        self._works = works
        self._longest = longest_prompt
        # A page and a spreadsheet show some characters by their numbers.
        self._ids = {controls_shown(item): item for item in works} | {item: item for item in works}
        self._seen: dict[str, int] = {}

    def decision(self, number: int, row: Mapping[str, str]) -> Decision | None:
        """The decision of a row; None where something is wrong, which is noted."""
        verdict = row.get("verdict", "").strip().lower()
        key = row.get("key", "").strip().lower()
        prompt, note = (row.get(name, "").strip() for name in ("prompt", "note"))
        item = self._ids.get(row.get("id", ""))
        reasons = []
        if item is None:
            reasons.append(f"there is no work {_quoted(row.get('id', ''))}{self._nearest(row)}")
        elif item in self._seen:
            reasons.append(f"the work {_quoted(item)} is in row {self._seen[item]}, too")
        if verdict not in VERDICTS:
            allowed = ", ".join(VERDICTS)
            reasons.append(f"verdict is {_quoted(verdict)}, allowed are {allowed}")
        elif prompt and verdict != "redo":
            reasons.append(f"a new prompt goes with redo, not with {verdict}")
        if not key:
            reasons.append("key is empty, but says which version was reviewed")
        for field, text, most in (
            ("prompt", prompt, self._longest),
            ("note", note, _LONGEST_NOTE),
        ):
            if len(text) > most:
                reasons.append(f"{field} has {len(text)} characters, at most {most} are allowed")
        if item is not None:
            self._seen.setdefault(item, number)
        if reasons:
            self.wrong.append(f"row {number}: {', and '.join(reasons)}")
            return None
        when = row.get("reviewed_at", "").strip()
        values = {"id": item, "key": key, "verdict": verdict, "note": note, "prompt": prompt}
        return Decision.model_validate({**values, "reviewed_at": when})

    def _nearest(self, row: Mapping[str, str]) -> str:
        if len(self.wrong) >= _WITH_HINT:
            return ""
        near = get_close_matches(row.get("id", ""), self._works, 1, 0.6)
        return f" (did you mean {_quoted(near[0])}?)" if near else ""


def _quoted(text: str) -> str:
    return repr(printable(text, 80))
