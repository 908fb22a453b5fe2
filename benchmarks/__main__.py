"""`python -m benchmarks [NAME ...]`: run all benchmarks, or the named ones, and print a table.

    machinery   cost per painting of everything but denoiser, VAE and encoder
    memory      resident bytes of one process over 2,000 works
    catalog     build and plan the WikiArt lists (needs EPA_WIKIART=folder of the ArtGAN lists)
    again       a second run of a finished collection of 10,000 works
    nothing-to-do  the same of 100,000 works on S3: requests over the wire, seconds
    exports     10,000 finished works in every form of `epa export`
    kills       SIGKILL at 30 random moments of a 180-work run
    same        one painting, many ways: the same frames
    workers     the engine `workers` with one, two and three process workers on a Prefect server
    paper-model the paper's model through the line against one process per painting; its memory,
                attention and compilation

Times on a shared machine are upper bounds; compare ratios within one run.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "support"))

from benchmarks import (
    again,
    catalog,
    exports,
    kills,
    machinery,
    memory,
    nothing_to_do,
    paper_model,
    same,
    workers,
)

ALL: dict[str, Callable[[Path], list[tuple[str, str, str]]]] = {
    "machinery": machinery.run,
    "memory": memory.run,
    "catalog": catalog.run,
    "again": again.run,
    "nothing-to-do": nothing_to_do.run,
    "exports": exports.run,
    "kills": kills.run,
    "same": same.run,
    "workers": workers.run,
    "paper-model": paper_model.run,
}


def main(names: list[str]) -> None:
    """Run benchmarks into ./bench-output and print what they measured beside what was asked."""
    names = [name.replace(" ", "-") for name in names]
    unknown = set(names) - set(ALL)
    if unknown:
        sys.exit(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(ALL)}")
    console = Console()
    table = Table("benchmark", "figure", "measured", "asked")
    for name in names or ALL:
        start = time.perf_counter()
        folder = Path("bench-output") / f"{name}-{int(time.time())}"
        folder.mkdir(parents=True)
        for figure, measured, asked in ALL[name](folder):
            table.add_row(name, figure, measured, asked)
        console.print(f"{name}: {time.perf_counter() - start:.0f} s", style="dim")
    console.print(table)


if __name__ == "__main__":
    main(sys.argv[1:])
