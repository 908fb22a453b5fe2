"""The same work gives the same frames: alone, in any shard, resumed, in other processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import local_runner
import torch
from local_runner import run_locally
from paintings import tiny_run, write_paintings

from tasks.collection import Collection
from tasks.runfile import dump_run

WORKS = 50


def run(folder: Path) -> list[tuple[str, str, str]]:
    """Count the ways in which any frame digest differs from the first run's."""
    torch.set_num_threads(1)
    folder = folder.resolve()
    source = write_paintings(folder / "in", WORKS, width=64, height=48)
    sizes = {"prepare": {"area": 3072}, "model": {"num_frames": 8}}
    wanted = _frames(run_locally(tiny_run(source, folder / "whole", **sizes))[1])
    rows = []
    for name, settings in {
        "shards of 1, batches of 1": {"execution": {"shard_size": 1, "batch_size": 1}},
        "one shard of 50, batches of 16": {"execution": {"shard_size": 50, "batch_size": 16}},
        "without any cache": {"execution": {"keep": []}},
        "alone": {"where": "title = 'Work 7'"},
    }.items():
        got = _frames(run_locally(tiny_run(source, folder / name[:8], **sizes, **settings))[1])
        rows.append(_row(name, got, wanted))
    again = tiny_run(source, folder / "process", **sizes)
    (folder / "RUN.yaml").write_text(dump_run(again))
    command = [sys.executable, local_runner.__file__, str(folder / "RUN.yaml")]
    first = tiny_run(source, folder / "process", **sizes, limit=20)
    run_locally(first)
    subprocess.run(command, check=True, capture_output=True)
    rows.append(
        _row("20 here, resumed in another process", _frames(Collection.open(again)), wanted)
    )
    return rows


def _row(name: str, got: dict[str, str], wanted: dict[str, str]) -> tuple[str, str, str]:
    same = sum(wanted[item] == frames for item, frames in got.items())
    return name, f"{same} of {len(got)} the same", "all"


def _frames(collection: Collection) -> dict[str, str]:
    table = collection.ledger.table([work.key for work in collection.works])
    return dict(zip(table["item_id"].to_pylist(), table["frames_sha256"].to_pylist(), strict=True))
