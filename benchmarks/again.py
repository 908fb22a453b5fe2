"""A second run of a finished collection of 10,000 works of 32x32 px."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import torch
from local_runner import run_locally
from paintings import tiny_run, write_paintings

from catalogs.catalog import build_source, write_catalog
from tasks.collection import Collection
from tasks.runfile import dump_run

WORKS = int(os.environ.get("EPA_BENCH_WORKS", "10000"))


def run(folder: Path) -> list[tuple[str, str, str]]:
    """Requests and seconds of "nothing to do", beyond the start-up of the command line."""
    torch.set_num_threads(1)
    folder = folder.resolve()
    source = write_paintings(folder / "in", WORKS, width=32, height=32)
    write_catalog(build_source(source), folder / "catalog.parquet")
    paintings = tiny_run(
        folder / "catalog.parquet",
        folder / "out",
        execution={"batch_size": 16, "shard_size": 200, "keep": []},
    )
    start = time.perf_counter()
    summary, _ = run_locally(paintings)
    first = time.perf_counter() - start
    (folder / "RUN.yaml").write_text(dump_run(paintings))
    start = time.perf_counter()
    collection = Collection.open(paintings)
    finished = collection.finished_summary()
    seconds = time.perf_counter() - start
    epa = Path(sys.executable).parent / "epa"
    helped = _seconds([epa, "--help"])
    whole = _seconds([epa, "run", str(folder / "RUN.yaml")])
    requests = collection.store.counts.total() + 1  # the catalog is one more
    return [
        ("works done in the first run", f"{summary.counts.get('done')} in {first:.0f} s", ""),
        ("found finished", str(finished is not None), "True"),
        ("store requests", str(requests), "at most 3"),
        ("open and ask", f"{seconds:.2f} s", "at most 2 s"),
        ("`epa run` less `epa --help`", f"{whole - helped:.2f} s", "at most 2 s"),
    ]


def _seconds(command: list[str | Path]) -> float:
    times = []
    for _ in range(3):
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append(time.perf_counter() - start)
    return min(times)
