"""Tiny pipelines whose transformer has more than one block, for what works from block to block."""

from typing import Any

import torch
from tiny_pipelines import Tiny, build, picture

from epa_core.awakening import EPASettings, awaken

STEPS = 8


def build_deep(name: str, blocks: int = 3) -> Tiny:
    """A fresh tiny pipeline, its transformers with ``blocks`` blocks of random weights."""
    tiny = build(name)
    for part in ("transformer", "transformer_2"):
        shallow = getattr(tiny.pipeline, part, None)
        if shallow is not None:
            with torch.random.fork_rng():
                torch.manual_seed(5)
                deep = type(shallow).from_config({**shallow.config, "num_layers": blocks})
            setattr(tiny.pipeline, part, deep.eval())
    return tiny


def frames_of(tiny: Tiny, seeds: tuple[int, ...] = (1,), steps: int = STEPS, **own: Any) -> Any:
    """Frames [B, F, H, W, 3] of the whole method, as whole numbers that can be subtracted."""
    import numpy as np

    call = tiny.call
    clips = awaken(
        tiny.pipeline,
        [picture(seed, call.height) for seed in seeds],
        [picture(seed + 100, call.height) for seed in seeds],
        prompt="the sea",
        seed=list(seeds),
        settings=EPASettings(num_inference_steps=steps),
        num_frames=call.num_frames,
        height=call.height,
        width=call.width,
        **{"guidance_scale": call.guidance_scale, **call.options, **own},
    )
    return np.stack(clips).astype(int)
