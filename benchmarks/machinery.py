"""What a painting costs besides denoiser, VAE and encoder: 1,000 previews of 64x64 px."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from statistics import median
from typing import Any

import torch
from local_runner import run_locally
from paintings import tiny_run, write_paintings

import epa_core.media.video as video
from benchmarks.memory import watched
from epa_core.families import Family
from epa_core.models.preview import PreviewPipeline
from epa_core.proxies.preview import PreviewProxy

WORKS = 1_000


def run(folder: Path) -> list[tuple[str, str, str]]:
    """CPU time of the whole run less that inside model calls and encoder, per painting.

    Model and encoder work side by side in two threads, so wall times cannot be subtracted; what
    the disk adds is shown beside it.
    """
    torch.set_num_threads(1)
    inside = {"model": 0.0, "encoder": 0.0}
    _clock(inside, "model", PreviewPipeline, "__call__")
    for part in ("_encode_mp4", "_encode_webp", "_encode_jpeg", "_check_mp4"):
        _clock(inside, "encoder", video, part)
    _clock(inside, "model", PreviewProxy, "make")
    for name in ("encode", "frames"):  # the VAE's two directions
        _clock(inside, "model", Family, name)
    memory = watched()
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
    run_locally(tiny_run(source, folder / "warm-up", limit=1))  # imports and model load
    inside.update(model=0.0, encoder=0.0)
    memory.clear()
    start, cpu_start = time.perf_counter(), time.process_time()
    summary, collection = run_locally(paintings)
    wall, cpu = time.perf_counter() - start, time.process_time() - cpu_start
    machinery = (cpu - inside["model"] - inside["encoder"]) / WORKS * 1000
    disk = collection.ledger.seconds()["t_upload"] * 1000
    # Medians over a hundred works: a single reading depends on what is in flight at that moment.
    growth = 100 * (median(memory[-100:]) / median(memory[100:200]) - 1)
    return [
        ("works done", str(summary.counts.get("done")), str(WORKS)),
        ("wall per painting", f"{wall / WORKS * 1000:.1f} ms", ""),
        ("CPU in denoiser, VAE and proxy maker", f"{inside['model'] / WORKS * 1000:.1f} ms", ""),
        ("CPU in the encoder", f"{inside['encoder'] / WORKS * 1000:.1f} ms", ""),
        ("CPU in the machinery", f"{machinery:.1f} ms", "at most 15 ms"),
        ("writing (wall, a thread beside)", f"{disk:.1f} ms", ""),
        ("memory after 1,000 against after 100", f"{growth:+.1f} %", "within 5 %"),
    ]


def _clock(inside: dict[str, float], name: str, owner: Any, attribute: str) -> None:
    """Add the CPU time of this thread in ``owner.attribute`` to ``inside[name]``."""
    function: Callable[..., Any] = getattr(owner, attribute)

    @wraps(function)
    def timed(*arguments: Any, **options: Any) -> Any:
        start = time.thread_time()
        try:
            return function(*arguments, **options)
        finally:
            inside[name] += time.thread_time() - start

    setattr(owner, attribute, timed)
