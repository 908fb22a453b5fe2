"""What the catalog commands do."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from catalogs.catalog import build_source, open_source, read_catalog, select
from catalogs.errors import ConfigError
from catalogs.prompts import assign_prompts
from catalogs.validation import BuildResult, ValidationReport, check_table
from flows.report import escaped


def build_catalog(
    source: str, kind: str, columns: Mapping[str, str], options: Mapping[str, Any]
) -> BuildResult:
    """The catalog of ``source``, read as ``kind``. Raises ConfigError."""
    from catalogs.builders.folder import build_folder
    from catalogs.builders.huggingface import build_huggingface
    from catalogs.builders.table import build_table
    from catalogs.builders.wikiart import build_wikiart

    if options.get("images") and kind not in ("auto", "wikiart"):
        raise ConfigError(f"--images is for WikiArt lists, not for --kind {kind}")
    if kind == "auto":
        return build_source(source, columns or None, **options)
    if kind == "folder":
        return build_folder(source, mapping=columns or None)
    if kind == "wikiart":
        return build_wikiart(source, **options)
    if kind == "huggingface":
        return build_huggingface(source, mapping=columns or None)
    return build_table(source, columns or None)


def check_catalog(catalog: str) -> ValidationReport:
    """What is to be said of a catalog, its pictures on this machine looked at."""
    return check_table(open_source(catalog), catalog)


def check_target(path: str) -> None:
    """Refuse to write a catalog over anything that is not one. Raises ConfigError."""
    if not path.endswith(".parquet"):
        raise ConfigError(f"--output {path}: a catalog's name ends in .parquet")
    target = Path(path)
    if "://" in path or not target.exists():
        return
    try:
        read_catalog(path)
    except ConfigError:
        raise ConfigError(f"--output {path}: it exists and is no catalog; name another") from None


def print_works(catalog: str, where: str | None, limit: int) -> None:
    """A table of works, with prompts."""
    whole = open_source(catalog)
    table = assign_prompts(select(whole, where, limit))
    shown = Table(box=None)
    shown.add_column("id", overflow="fold")  # whole, so that it can be pasted into `epa why`
    for heading in ("artist", "title", "year", "size", "prompt", "from"):
        shown.add_column(heading)
    for row in table.to_pylist():
        size = f"{row['width']}x{row['height']}" if row["width"] else "?"
        cells = (row["id"], row["artist"], row["title"], row["year_begin"], size)
        prompts = (row["prompt"], row["prompt_source"])
        shown.add_row(*(escaped("" if c is None else str(c)) for c in (*cells, *prompts)))
    console = Console()
    console.print(shown)
    console.print(f"{table.num_rows} of {whole.num_rows} works", highlight=False)
