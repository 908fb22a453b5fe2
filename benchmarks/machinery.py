"""What a painting costs besides denoiser, VAE and encoder: 1,000 previews of 64x64 px."""

from __future__ import annotations

import gc
import resource
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import torch
from local_runner import run_locally
from paintings import tiny_run, write_paintings

import epa_core.media.video as video
from epa_core.models.preview import PreviewPipeline
from tasks.commit import commit_done

WORKS = 1_000


def run(folder: Path) -> list[tuple[str, str, str]]:
    """Wall time of the whole run less the time inside model calls and encoder, per painting."""
    torch.set_num_threads(1)
    inside = {"model": 0.0, "encoder": 0.0}
    memory: list[int] = []
    _clock(inside, "model", PreviewPipeline, "__call__")
    for part in ("_encode_mp4", "_encode_webp", "_encode_jpeg", "_check_mp4"):
        _clock(inside, "encoder", video, part)
    from epa_core import families

    for name in ("encode", "frames"):
        _clock(inside, "model", families.Family, name)
    _watch_memory(memory)
    source = write_paintings(folder / "in", WORKS, width=64, height=64)
    paintings = tiny_run(
        source,
        folder / "out",
        prepare={"area": 4096},
        model={"num_frames": 16},
        distill={"num_inference_steps": 25},
        animate={"num_inference_steps": 25},
        execution={"batch_size": 4},
    )
    start = time.perf_counter()
    summary, _ = run_locally(paintings)
    wall = time.perf_counter() - start
    # Model and encoder run in two threads, side by side: what neither covers is at least
    # wall - model - encoder, and at most wall - the longer of the two.
    least = (wall - inside["model"] - inside["encoder"]) / WORKS * 1000
    most = (wall - max(inside.values())) / WORKS * 1000
    growth = 100 * (memory[-1] / memory[99] - 1)
    return [
        ("works done", str(summary.counts.get("done")), str(WORKS)),
        ("wall per painting", f"{wall / WORKS * 1000:.1f} ms", ""),
        ("of it in the model", f"{inside['model'] / WORKS * 1000:.1f} ms", ""),
        (
            "of it in the encoder (a thread beside)",
            f"{inside['encoder'] / WORKS * 1000:.1f} ms",
            "",
        ),
        ("machinery per painting", f"{max(least, 0):.1f} to {most:.1f} ms", "at most 15 ms"),
        ("memory after 1,000 against after 100", f"{growth:+.1f} %", "within 5 %"),
    ]


def _clock(inside: dict[str, float], name: str, owner: Any, attribute: str) -> None:
    """Add the time spent in ``owner.attribute`` to ``inside[name]``."""
    function: Callable[..., Any] = getattr(owner, attribute)

    @wraps(function)
    def timed(*arguments: Any, **options: Any) -> Any:
        start = time.perf_counter()
        try:
            return function(*arguments, **options)
        finally:
            inside[name] += time.perf_counter() - start

    setattr(owner, attribute, timed)


def _watch_memory(memory: list[int]) -> None:
    """Note the resident bytes after every recorded work."""
    from tasks import animate_pass

    page = resource.getpagesize()

    def watched(shard: Any, entry: Any) -> None:
        commit_done(shard, entry)
        if len(memory) % 100 == 99:
            gc.collect()
        memory.append(int(Path("/proc/self/statm").read_text().split()[1]) * page)

    animate_pass.commit_done = watched
