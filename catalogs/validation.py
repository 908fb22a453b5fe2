"""What a build or a check of a catalog found: nothing is left out without a reason and a count."""

from __future__ import annotations

import gc
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from catalogs.errors import ConfigError
from catalogs.schema import SCHEMA_VERSION

EXAMPLES = 10
SMALL_SIDE = 256
EXTREME_ASPECT = 3.0
_WEB = ("http://", "https://")


@dataclass
class ValidationReport:
    """Counts of one build: what came in, what is in the catalog, what was left out and why.

    `dropped` rows are not in the catalog; `flagged` rows are in it (an unreadable image, a missing
    file) and will be recorded as failed by a run. Both carry up to ten examples per reason.
    """

    source: str
    rows_in: int = 0
    rows_out: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    flagged: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)
    null_share: dict[str, float] = field(default_factory=dict)
    top_artists: list[tuple[str, int]] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    schema_version: int = SCHEMA_VERSION

    def drop(self, reason: str, example: str) -> None:
        """Count a row that does not enter the catalog."""
        self.dropped[reason] += 1
        self._example(reason, example)

    def flag(self, reason: str, example: str) -> None:
        """Count a row that enters the catalog though something is wrong with it."""
        self.flagged[reason] += 1
        self._example(reason, example)

    def _example(self, reason: str, example: str) -> None:
        kept = self.examples.setdefault(reason, [])
        if len(kept) < EXAMPLES:
            kept.append(example)

    def first(self, reason: str) -> str:
        """The first few examples of a reason, on one line."""
        return "; ".join(printable(text) for text in self.examples.get(reason, [])[:3])

    def describe(self, table: pa.Table) -> None:
        """Fill the figures that the finished table gives: rows, null shares, artists, sizes."""
        self.rows_out = table.num_rows
        self.null_share = {
            name: round(table[name].null_count / max(1, table.num_rows), 4)
            for name in table.column_names
        }
        web = sum(uri.lower().startswith(_WEB) for uri in table["image_uri"].to_pylist() if uri)
        if web:
            self.counts["on the web (`epa catalog download` fetches them)"] = web
        artists = Counter(name for name in table["artist"].to_pylist() if name)
        self.top_artists = artists.most_common(10)
        sizes = zip(
            table["id"].to_pylist(),
            table["width"].to_pylist(),
            table["height"].to_pylist(),
            strict=True,
        )
        for work, width, height in sizes:
            if not width or not height:
                continue
            if min(width, height) < SMALL_SIDE:
                self.flag("small", f"{work} ({width}x{height})")
            if max(width, height) > EXTREME_ASPECT * min(width, height):
                self.flag("extreme_aspect", f"{work} ({width}x{height})")

    def to_json(self) -> str:
        """The report as a JSON object."""
        return json.dumps(vars(self), ensure_ascii=False, indent=2)

    def lines(self) -> list[str]:
        """The report for a terminal, one fact per line; no markup, control characters shown."""
        out = [f"{self.source}: {self.rows_in} in, {self.rows_out} in the catalog"]
        for heading, counter in (("left out", self.dropped), ("kept, but", self.flagged)):
            for reason, count in counter.most_common():
                out.append(f"{heading} {reason}: {count} ({self.first(reason)})")
        filled = [
            f"{name} {100 * (1 - share):.0f} %"
            for name, share in self.null_share.items()
            if share < 1 and name not in ("id", "image_uri")
        ]
        if filled:
            out.append("filled: " + ", ".join(filled))
        if self.top_artists:
            named = ", ".join(f"{printable(name)} {count}" for name, count in self.top_artists[:5])
            out.append("artists: " + named)
        out.extend(f"{name}: {count}" for name, count in self.counts.items())
        out.extend(printable(note) for note in self.notes)
        return out


@dataclass(frozen=True)
class BuildResult:
    """A finished catalog table and the report of how it came to be."""

    table: pa.Table
    report: ValidationReport


@contextmanager
def paused_collector() -> Iterator[None]:
    """No cyclic garbage collection inside: rows have no cycles, and looking costs a third."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def printable(text: str, limit: int = 200) -> str:
    """The text on one line: control characters and lone surrogates escaped, long ones cut."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def check_table(table: pa.Table, source: str) -> ValidationReport:
    """Report on an existing catalog: ids, null shares, sizes, images gone or never to be read."""
    from catalogs.addresses import PARQUET, check_address, local_path

    report = ValidationReport(source=source, rows_in=table.num_rows)
    seen: set[str] = set()
    for work, uri in zip(table["id"].to_pylist(), table["image_uri"].to_pylist(), strict=True):
        if not valid_id(work):
            report.flag("empty_id", repr(work))
        elif work in seen:
            report.flag("duplicate_id", work)
        seen.add(work)
        try:
            path = local_path(check_address(uri.removeprefix(PARQUET)))
        except ConfigError:
            report.flag("bad_reference", uri)
            continue
        if uri.startswith(PARQUET):
            continue
        # Not Path.exists(), which raises for a name that is too long.
        if path is not None and path.is_absolute() and not os.path.exists(path):  # noqa: PTH110
            report.flag("missing_file", uri)
    report.describe(table)
    return report


def valid_id(work: object) -> bool:
    """Whether the value can be an id: any text but an empty or blank one."""
    return isinstance(work, str) and bool(work.strip())


def finish(
    rows: Iterable[dict[str, Any]], report: ValidationReport, metadata: dict[str, str]
) -> BuildResult:
    """Build the table from rows: empty and repeated ids and rows with no image are left out.

    The first row of an id is kept. Empty texts become null. Fills the report's table figures.
    """
    from catalogs.schema import table_from_rows

    kept: dict[str, dict[str, Any]] = {}
    for row in rows:
        work, uri = row.get("id"), row.get("image_uri")
        if not valid_id(work):
            report.drop("empty_id", str(uri))
        elif not uri:
            report.drop("no_image", str(work))
        elif work in kept:
            report.drop("duplicate_id", f"{work} ({uri})")
        else:
            kept[str(work)] = row
    metadata = {"row_count": str(len(kept)), **metadata}
    table = table_from_rows(kept.values(), metadata)
    report.describe(table)
    return BuildResult(table, report)
