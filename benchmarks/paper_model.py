"""The paper's model: seconds per painting, the networks' share, memory, attention, compilation.

Tiny weights on a CPU; on a GPU the released sizes with random weights in float16.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks import paper_memory, paper_options, paper_speed


def run(folder: Path) -> list[tuple[str, str, str]]:
    """Every figure beside what was asked of it; each measured in processes of its own."""
    folder = folder.resolve()
    return [
        *paper_speed.run(folder),
        *paper_memory.run(folder),
        *paper_options.run(folder),
    ]
