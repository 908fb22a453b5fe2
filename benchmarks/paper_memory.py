"""Peak memory at 512x512, 16 frames, for batches of 1, 2 and 4, the VAE slicing or not.

As a program (`python -m benchmarks.paper_memory CHECKPOINT`) it measures and prints JSON. On a GPU
a step is one update of both paths and two of denoising, on a CPU one of denoising alone; memory is
what the allocator has given out, or the process's resident pages, above what the weights take.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from paintings import PROMPTS, painting

from benchmarks import paper_weights as paper
from epa_core.awakening import (
    CallSettings,
    EPASettings,
    animate_latents,
    decode_latents,
    distill_latents,
    static_latents,
)
from epa_core.models import animate_anything
from epa_core.models.animate_anything import AnimateAnythingPipeline

SIDE, BATCHES = 512, (1, 2, 4)
# Without attention over 64x64 latents, and no wider than need be: a step takes seconds.
NARROW: dict[str, Any] = {**paper.TWO_LEVELS, "block_out_channels": [32, 32]}
_MIB = 2**20
Peaks = dict[str, float]


def run(folder: Path) -> list[tuple[str, str, str]]:
    """MiB of a denoising step and of decoding, and the ratio that slicing makes."""
    from tiny_animate_anything import write_released_checkpoint

    checkpoint = write_released_checkpoint(folder / "narrow", **NARROW)
    # Small blocks too go back to the system at once, else one peak would hide in another's.
    environment = {"MALLOC_MMAP_THRESHOLD_": str(2**18)}
    measured = json.loads(paper.finished(paper.start("paper_memory", checkpoint, **environment)))
    rows = []
    for batch, peaks in measured.items():
        step, decode, sliced = peaks["step"], peaks["decode"], peaks["sliced"]
        overall = max(step, sliced) / max(step, decode)
        rows += [
            (
                f"peak MiB, batch {batch}: step; decode; decode sliced",
                f"{step:.0f}; {decode:.0f}; {sliced:.0f}",
                "",
            ),
            (
                f"sliced / not, batch {batch}: decode; step and decode",
                f"{sliced / decode:.2f}; {overall:.2f}",
                "",
            ),
        ]
    whole = measured["1"]["whole"]
    ratio = measured["1"]["sliced"] / whole
    rows.append(
        ("peak MiB, all frames decoded at once; sliced / that", f"{whole:.0f}; {ratio:.2f}", "")
    )
    return rows


def main(checkpoint: str) -> None:
    """Print the peaks by batch; of a batch of 1 also that of decoding all frames at once."""
    paper.use_threads()
    pipeline = paper.load(checkpoint)
    call = CallSettings(SIDE, SIDE, paper.FRAMES, paper.GUIDANCE)
    _peaks(pipeline, 1, CallSettings(64, 64, paper.FRAMES, paper.GUIDANCE))  # warms up
    print(json.dumps({batch: _peaks(pipeline, batch, call) for batch in BATCHES}))


def _peaks(pipeline: AnimateAnythingPipeline, batch: int, call: CallSettings) -> Peaks:
    images = [painting(number, call.width, call.height) for number in range(2 * batch)]
    final: list[torch.Tensor] = []

    def step() -> None:
        final.extend(_step(pipeline, images, call))

    def decode() -> None:
        decode_latents(pipeline, final, call)

    pipeline.vae.disable_slicing()
    peaks = {"step": _peak(step), "decode": _peak(decode)}
    if batch == 1:
        with patch.object(animate_anything, "DECODED_FRAMES", call.num_frames):
            peaks["whole"] = _peak(decode)
    pipeline.vae.enable_slicing()
    return {**peaks, "sliced": _peak(decode)}


def _step(
    pipeline: AnimateAnythingPipeline, images: list[Any], call: CallSettings
) -> list[torch.Tensor]:
    """Paintings, then as many proxies -> final latents of the paintings, in as few steps as go."""
    count = len(images) // 2
    settings = EPASettings(num_inference_steps=2 if paper.on_gpu() else 1, p=0.1)
    prompts, seeds = [PROMPTS[0]] * len(images), list(range(len(images)))
    if paper.on_gpu():
        clips = distill_latents(pipeline, images, prompts, seeds, settings, call)
    else:
        clips = static_latents(pipeline, images, call)
    real, proxy = clips[:count], clips[count:]
    works = images[:count], prompts[:count], seeds[:count]
    return animate_latents(pipeline, *works, real, proxy, settings, call)


def _peak(work: Callable[[], None]) -> float:
    """MiB that ``work`` took at most beyond what was taken before."""
    if paper.on_gpu():
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        work()
        return (torch.cuda.max_memory_allocated() - before) / _MIB
    Path("/proc/self/clear_refs").write_text("5")  # the peak is now what is resident
    before = _resident_peak()
    work()
    return (_resident_peak() - before) / _MIB


def _resident_peak() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


if __name__ == "__main__":
    main(*sys.argv[1:])
