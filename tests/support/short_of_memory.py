"""A run in a process that gets little memory: python short_of_memory.py FOLDER, prints JSON lines.

Each line is the manifest (status, code, batch size of every work) of one run of four paintings: in
too little memory for any of them, in more and more of it until a batch shrinks, then in all.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from pathlib import Path
from typing import Any

import torch
from local_runner import run_locally
from paintings import tiny_run, write_paintings

ROOMS = (8, *range(150, 1500, 50))  # MiB more than the process already has
HOW: dict[str, Any] = {
    "prepare": {"area": 256 * 256},
    "model": {"num_frames": 16},
    "execution": {"batch_size": 4, "max_failure_ratio": None},
}


def limit(room: int | None) -> None:
    """Allow ``room`` MiB of address space beyond what is in use; None: no limit."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    soft = resource.RLIM_INFINITY if room is None else used + (room << 20)
    resource.setrlimit(resource.RLIMIT_AS, (soft, resource.RLIM_INFINITY))


def run(source: Path, output: Path, room: int | None) -> list[dict[str, Any]]:
    """The manifest of a run within ``room``."""
    limit(room)
    try:
        collection = run_locally(tiny_run(source, output, **HOW))[1]
    finally:
        limit(None)
    names = ("item_id", "status", "code", "retryable", "batch_size", "attempt")
    rows = collection.ledger.table().select(names).to_pylist()
    print(json.dumps(rows), flush=True)
    return rows


def main(folder: Path) -> None:
    """The three kinds of run."""
    torch.set_num_threads(1)
    source = write_paintings(folder / "in", 4, width=256, height=256)
    run_locally(tiny_run(source, folder / "warm", limit=1, **HOW))  # all imports, the model
    run(source, folder / "out", ROOMS[0])
    for room in ROOMS[1:]:
        rows = run(source, folder / f"out-{room}", room)
        if any(row["status"] == "done" and row["batch_size"] < 4 for row in rows):
            break
    run(source, folder / "out", None)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    # Not by way of the libraries' own clean-up: where memory had run out in one of their threads,
    # the C++ runtime may abort there, after all that is asked about was said.
    os._exit(0)
