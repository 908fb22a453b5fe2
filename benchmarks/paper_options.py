"""What the UNet's options are worth: attention, channels_last, torch.compile.

`python -m benchmarks.paper_options CHECKPOINT SIDE` measures in a process of its own and prints
JSON. Two settings are called by turns and their medians compared.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import torch
from paintings import PROMPTS, painting
from torch import Tensor
from torch._dynamo.utils import counters
from torch.nn import functional

from benchmarks import paper_weights as paper
from epa_core.awakening import CallSettings, EPASettings, animate_latents, distill_latents
from epa_core.levers import Levers
from epa_core.loading import place
from epa_core.models.animate_anything import AnimateAnythingPipeline

TURNS = 7
# Paintings in a batch and pixels by which they are wider than those before.
CALLS = {
    "first painting of a size": (1, 0),
    "a second painting of that size": (1, 0),
    "a third": (1, 0),
    "a batch of two of that size": (2, 0),
    "a painting of another size": (1, 8),
}
ASKED = ("2: distil, animate", "0", "0", "0", "2")


def run(folder: Path) -> list[tuple[str, str, str]]:
    """Ratios of one UNet call, and how often the UNet was compiled."""
    from tiny_animate_anything import write_released_checkpoint

    three = write_released_checkpoint(folder / "three", **paper.THREE_LEVELS)
    two = write_released_checkpoint(folder / "two", **paper.TWO_LEVELS)
    side = 512 if paper.on_gpu() else 64
    # An empty cache: what an earlier run compiled would hide the warm-up.
    cache = {"TORCHINDUCTOR_CACHE_DIR": str(folder / "compiled")}
    seen = json.loads(paper.finished(paper.start("paper_options", three, two, side, **cache)))
    return [
        ("attention", seen["attention"], "SDPA"),
        ("channels_last on / off: UNet call", f"{seen['channels_last']:.2f}", ""),
        ("channels_last on / off: VAE decode of 4 frames", f"{seen['channels_last_vae']:.2f}", ""),
        ("compiled / not: UNet call", f"{seen['compiled']:.2f}", ""),
        ("compiled: s of the first call", f"{seen['warm_up']:.0f}", ""),
        *(
            (f"compilations: {what}", str(count), asked)
            for what, count, asked in zip(CALLS, seen["graphs"], ASKED, strict=True)
        ),
    ]


def main(checkpoint: str, small: str, side: str) -> None:
    """Print what was seen."""
    paper.use_threads()
    device = "cuda" if paper.on_gpu() else "cpu"
    plain = paper.load(checkpoint)
    seen: dict[str, Any] = {"attention": _attention(plain, int(side))}
    changed = place(paper.load(checkpoint), device, Levers(channels_last=True))
    calls = [_unet_call(one, int(side)) for one in (changed, plain)]
    seen["channels_last"] = _ratio(*calls)
    changed.vae.to(memory_format=torch.channels_last)
    seen["channels_last_vae"] = _ratio(*(_decode(one, int(side)) for one in (changed, plain)))
    cheap = checkpoint if paper.on_gpu() else small
    size = int(side) if paper.on_gpu() else 16
    plain = paper.load(cheap)
    compiled = _unet_call(place(paper.load(cheap), device, Levers(compile=True)), size)
    start = time.perf_counter()
    compiled()
    seen["warm_up"] = time.perf_counter() - start
    seen["compiled"] = _ratio(compiled, _unet_call(plain, size))
    seen["graphs"] = _graphs(cheap, device, size)
    print(json.dumps(seen))


def _attention(pipeline: AnimateAnythingPipeline, side: int) -> str:
    """The processors of the UNet's attention layers, and what a call runs."""
    kinds = Counter(type(one).__name__ for one in pipeline.unet.attn_processors.values())
    fused = functional.scaled_dot_product_attention
    with patch.object(functional, fused.__name__, wraps=fused) as counted:
        _unet_call(pipeline, side)()
    layers = ", ".join(f"{count} {name}" for name, count in kinds.items())
    return f"{layers}; {counted.call_count} fused calls in a UNet call"


def _unet_call(pipeline: AnimateAnythingPipeline, side: int) -> Callable[[], Tensor]:
    """One guided call of the UNet for one painting."""
    unet = pipeline.unet
    size = side // pipeline.vae_scale_factor
    generator = torch.Generator().manual_seed(0)
    width = unet.config.cross_attention_dim

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(unet.device, unet.dtype)

    given = {
        "sample": random(2, 4, paper.FRAMES, size, size),
        "timestep": torch.full((2,), 500.0, device=unet.device),
        "encoder_hidden_states": random(2, 77, width),
        "condition_latent": random(2, 4, 1, size, size),
        "mask": torch.ones(1, 1, 1, size, size, device=unet.device, dtype=unet.dtype),
        "motion": torch.full((2,), paper.MOTION, device=unet.device),
    }
    return torch.no_grad()(lambda: unet(**given, return_dict=False)[0])


def _decode(pipeline: AnimateAnythingPipeline, side: int) -> Callable[[], Tensor]:
    vae, size = pipeline.vae, side // pipeline.vae_scale_factor
    latents = torch.randn(4, 4, size, size).to(vae.device, vae.dtype)
    return torch.no_grad()(lambda: vae.decode(latents, return_dict=False)[0])


def _ratio(changed: Callable[[], Tensor], plain: Callable[[], Tensor]) -> float:
    """Medians of calls by turns, after one of each."""
    times: dict[bool, list[float]] = {True: [], False: []}
    for turn in range(TURNS + 1):
        for which, work in ((True, changed), (False, plain)):
            start = time.perf_counter()
            work()
            if paper.on_gpu():
                torch.cuda.synchronize()
            if turn:
                times[which].append(time.perf_counter() - start)
    return median(times[True]) / median(times[False])


def _graphs(checkpoint: str, device: str, side: int) -> list[int]:
    """Graphs compiled by each of `CALLS` in turn.

    Whether torch compiles anew is decided before its backend sees a graph: one that compiles
    nothing shows it in seconds.
    """
    with patch.object(torch, "compile", partial(torch.compile, backend="eager")):
        pipeline = place(paper.load(checkpoint), device, Levers(compile=True))
    torch._dynamo.reset()
    counters.clear()
    seen = [0]
    for first, (count, wider) in enumerate(CALLS.values()):
        _awaken(pipeline, count, side + wider, side, first)
        seen.append(counters["stats"]["unique_graphs"])
    return [after - before for before, after in pairwise(seen)]


def _awaken(
    pipeline: AnimateAnythingPipeline, count: int, width: int, height: int, first: int
) -> None:
    """Distil and animate paintings in one batch; prompts and seeds from ``first`` on."""
    seeds = list(range(first, first + count))
    works = [painting(seed, width, height) for seed in seeds]
    proxies = [painting(seed + 100, width, height) for seed in seeds]
    prompts = [PROMPTS[seed % len(PROMPTS)] for seed in seeds]
    call = CallSettings(height, width, paper.FRAMES, paper.GUIDANCE)
    settings = EPASettings(num_inference_steps=paper.STEPS, p=paper.P)
    clips = distill_latents(
        pipeline, [*works, *proxies], prompts * 2, [*seeds, *seeds], settings, call
    )
    real, proxy = clips[:count], clips[count:]
    animate_latents(pipeline, works, prompts, seeds, real, proxy, settings, call)


if __name__ == "__main__":
    main(*sys.argv[1:])
