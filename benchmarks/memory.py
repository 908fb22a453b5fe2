"""Flat memory: the resident bytes of one process over 2,000 tiny paintings."""

from __future__ import annotations

import resource
from pathlib import Path
from statistics import median
from typing import Any

import torch
from local_runner import run_locally
from paintings import tiny_run, write_paintings

from tasks import animate_pass
from tasks.commit import commit_done

WORKS = 2_000
SHOWN = (200, 500, 1_000, 1_500, 2_000)
# A single reading depends on what is in flight at that moment.
WINDOW = 100


def run(folder: Path) -> list[tuple[str, str, str]]:
    """Median resident bytes over the hundred works before each of `SHOWN`."""
    torch.set_num_threads(1)
    memory = watched()
    source = write_paintings(folder / "in", WORKS, width=64, height=64)
    summary, _ = run_locally(tiny_run(source, folder / "out", prepare={"area": 4096}))
    levels = [median(memory[end - WINDOW : end]) for end in SHOWN]
    rows = [("works done", str(summary.counts.get("done")), str(WORKS))]
    for end, level in zip(SHOWN, levels, strict=True):
        growth = 100 * (level / levels[0] - 1)
        asked = "within 5 %" if end == WORKS else ""
        rows.append((f"memory at {end}", f"{level / 2**20:.0f} MiB, {growth:+.1f} %", asked))
    return rows


def watched() -> list[int]:
    """A list to which every finished work adds the process's resident bytes."""
    memory: list[int] = []
    page = resource.getpagesize()

    def noted(shard: Any, entry: Any) -> None:
        commit_done(shard, entry)
        memory.append(int(Path("/proc/self/statm").read_text().split()[1]) * page)

    animate_pass.commit_done = noted
    return memory
