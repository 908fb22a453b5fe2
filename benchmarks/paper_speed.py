"""Seconds per painting, the line against one process per painting; the networks' share of it."""

from __future__ import annotations

import json
import resource
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from paintings import PROMPTS, painting, tiny_run
from tiny_animate_anything import write_released_checkpoint

from benchmarks import paper_weights as paper
from tasks.runfile import dump_run

PAINTINGS, PAUSE_EVERY = 16, 6
Row = tuple[str, str, str]


@dataclass(frozen=True)
class Process:
    """Seconds of one process, from its start to its end."""

    wall: float
    cpu: float

    def __str__(self) -> str:
        return f"{self.wall:.2f} (CPU {self.cpu:.2f})"


def _median(processes: list[Process]) -> Process:
    return Process(median(one.wall for one in processes), median(one.cpu for one in processes))


def run(folder: Path) -> list[Row]:
    """Both ways where a UNet call takes a tenth of a second and more, and where it is cheap."""
    if paper.on_gpu():
        return _compare(folder / "full", {}, 512, "below 1")
    return [
        *_compare(folder / "three-levels", paper.THREE_LEVELS, 64, "below 1"),
        *_compare(folder / "two-levels", paper.TWO_LEVELS, 16, "below 1"),
    ]


def _compare(folder: Path, unet: dict[str, Any], side: int, asked: str) -> list[Row]:
    folder.mkdir(parents=True)
    checkpoint = write_released_checkpoint(folder / "checkpoint", **unet)
    source = _write_works(folder / "in", 2 * side)
    run_file = folder / "RUN.yaml"
    run_file.write_text(_run_file(source, folder / "out", checkpoint, side))
    released, starts, line, seen = _by_turns(folder, checkpoint, run_file, side)
    if seen["counts"] != {"done": PAINTINGS}:
        raise RuntimeError(f"not all paintings were animated: {seen['counts']}")
    alone, start = _median(released), _median(starts)
    each = Process(line.wall / PAINTINGS, line.cpu / PAINTINGS)
    call = seen["unet_call"] * 1000
    started = Process(alone.wall - start.wall, alone.cpu - start.cpu)
    return [
        (f"{side}x{side} px: ms of a UNet call, median", f"{call:.0f}", ""),
        (f"s per painting, released way, median of {len(released)}", str(alone), ""),
        ("of these, imports and weights", str(start), ""),
        (f"s per painting, line of {PAINTINGS}, its start in it", str(each), ""),
        ("line / released way", _ratio(each, alone), asked),
        ("line / released way without its start", _ratio(each, started), ""),
        ("frames of both ways", _difference(folder), "at most 1 level"),
        *_shares(seen, call),
    ]


def _ratio(one: Process, other: Process) -> str:
    return str(Process(one.wall / other.wall, one.cpu / other.cpu))


def _write_works(folder: Path, side: int) -> Path:
    """Square paintings, each with its own proxy and a prompt."""
    folder.mkdir()
    lines = ["file_name,prompt"]
    for number in range(PAINTINGS):
        work, proxy = _files(folder, number)
        painting(number, side, side).save(work)
        painting(number + PAINTINGS, side, side).save(proxy)
        lines.append(f"{work.name},{PROMPTS[number % len(PROMPTS)]}")
    (folder / "metadata.csv").write_text("\n".join(lines) + "\n")
    return folder


def _files(folder: Path, number: int) -> tuple[Path, Path]:
    """A painting and its proxy."""
    return folder / f"work-{number:02d}.png", folder / f"work-{number:02d}.proxy.png"


def _run_file(source: Path, output: Path, checkpoint: Path, side: int) -> str:
    run = tiny_run(
        source,
        output,
        preset="paper",
        seed=paper.SEED,
        one_stream=True,  # the released code's noise, so that the frames can be compared
        model={
            "source": str(checkpoint),
            "dtype": "float16" if paper.on_gpu() else "float32",
            "num_frames": paper.FRAMES,
        },
        prepare={"area": side * side},
        proxy={"name": "given"},
        distill={"num_inference_steps": paper.STEPS},
        animate={"num_inference_steps": paper.STEPS},
        execution={"device": "auto"},
    )
    return dump_run(run)


def _by_turns(
    folder: Path, checkpoint: Path, run_file: Path, side: int
) -> tuple[list[Process], list[Process], Process, dict[str, Any]]:
    """Single paintings, their starts, and the line, in whose pauses they ran, and around it."""
    frames = {name: folder / name for name in ("released", "line")}
    for place in frames.values():
        place.mkdir()
    released: list[Process] = []
    starts: list[Process] = []

    def alone() -> None:
        number = len(released)
        files = _files(folder / "in", number)
        prompt = PROMPTS[number % len(PROMPTS)]
        begun, cpu = time.monotonic(), _cpu()
        process = paper.start("released_way", checkpoint, *files, prompt, side, frames["released"])
        ready = json.loads(paper.finished(process))
        released.append(Process(time.monotonic() - begun, _cpu() - cpu))
        starts.append(Process(ready["ready"] - begun, ready["cpu"]))

    alone()
    before = _cpu()
    start = time.perf_counter()
    with paper.start("paper_line", run_file, PAUSE_EVERY, frames["line"]) as process:
        seen = _attend(process, alone)
    wall = time.perf_counter() - start - seen["paused"]
    cpu = _cpu() - before - sum(one.cpu for one in released[1:])
    alone()
    return released, starts, Process(wall, cpu), seen


def _attend(process: subprocess.Popen[str], in_pause: Callable[[], None]) -> dict[str, Any]:
    """What the line says at its end; ``in_pause`` is called whenever it stands still."""
    output, answer = process.stdout, process.stdin
    assert output
    assert answer
    for said in output:
        if said.strip() != "pause":
            return json.loads(said)
        in_pause()
        answer.write("\n")
        answer.flush()
    raise RuntimeError("the line ended without a summary")


def _cpu() -> float:
    """CPU seconds of all processes that ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _difference(folder: Path) -> str:
    """How far the two ways' frames are apart, over the paintings that both made."""
    differences = np.concatenate(
        [
            np.abs(np.load(file).astype(int) - np.load(folder / "line" / file.name)).ravel()
            for file in sorted((folder / "released").glob("*.npy"))
        ]
    )
    return f"{differences.max()} apart in {(differences > 0).mean():.3%} of values"


def _shares(seen: dict[str, Any], call: float) -> list[Row]:
    """Where the wall time between the first and the last record went, per painting."""
    works, window = seen["works"], seen["window"]
    inside = {name: value / works * 1000 for name, value in seen["inside"].items()}
    share = sum(seen["inside"].values()) / window
    rest = window / works * 1000 - sum(inside.values())
    beside = {
        name.removeprefix("t_"): value / PAINTINGS * 1000
        for name, value in seen["seconds"].items()
        if name not in ("t_distill", "t_animate")
    }
    return [
        (
            "wall time inside UNet and VAE",
            f"{share:.1%}",
            "at least 95 %" if call >= 100 else "",
        ),
        (
            "ms per painting: UNet, VAE encode, VAE decode, rest",
            ", ".join(f"{value:.0f}" for value in (*inside.values(), rest)),
            "",
        ),
        (
            "ms per painting in the threads beside",
            ", ".join(f"{name} {value:.0f}" for name, value in beside.items()),
            "",
        ),
    ]
