"""Building and planning the catalog of the 80,097 WikiArt works."""

from __future__ import annotations

import os
import time
from pathlib import Path

from paintings import tiny_run

from catalogs.builders.wikiart import build_wikiart
from catalogs.catalog import write_catalog
from tasks.collection import Collection


def run(folder: Path) -> list[tuple[str, str, str]]:
    """Seconds to build, and to plan from nothing."""
    lists = os.environ.get("EPA_WIKIART")
    if not lists:
        return [("skipped", "set EPA_WIKIART to the folder of the ArtGAN lists", "")]
    start = time.perf_counter()
    result = build_wikiart(lists)
    write_catalog(result, folder / "wikiart.parquet")
    built = time.perf_counter() - start
    start = time.perf_counter()
    collection = Collection.open(tiny_run(folder / "wikiart.parquet", folder / "out"))
    plan = collection.plan
    planned = time.perf_counter() - start
    return [
        ("rows", str(result.table.num_rows), "80097"),
        ("build and write", f"{built:.1f} s", "at most 10 s"),
        (f"open and plan ({len(plan.shards)} shards)", f"{planned:.1f} s", "at most 10 s"),
    ]
