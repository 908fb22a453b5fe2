"""CogVideoX 1.0 and 1.5."""

import math
from typing import Any

from epa_core.levers import CacheName
from epa_core.model_cards.card import Memory, ModelCard, Schedule, Takes

_COGVIDEOX: dict[str, Any] = {
    "pipeline_class": "diffusers.CogVideoXImageToVideoPipeline",
    "revision": None,
    "licence": "CogVideoX licence",
    "commercial": "conditional",
    "condition": "commercial use needs a (free) registration and has limits",
    "conditioned_on": "first frame (latent channels), T5 text",
    "family": "cogvideox",
    "cache_dtype": "float32",
    "dtype": "bfloat16",
    "uses_text": True,
    "per_work": ("negative_prompt",),
    "multiple": 16,
    "frame_multiple": 4,
    "schedule": Schedule(first=math.inf, last=1.24, t0=4, t0_kappa=14.49),
}
_CACHES: tuple[CacheName, ...] = ("pab", "first-block", "mag", "faster", "taylorseer")

CARDS = (
    ModelCard(
        name="cogvideox1.5-5b-i2v",
        summary="CogVideoX 1.5 image-to-video, 5.6 B, for 768x1360 and other shapes",
        weights="THUDM/CogVideoX1.5-5B-I2V",
        parts=Memory(
            denoisers=(5.57,), text=4.76, other=0.22, running=6.8, decoding=5.0, tiled=True
        ),
        area=768 * 1360,
        levers=Takes(step_caches=_CACHES),
        num_frames=81,
        fps=16,
        traps=(
            "Above 40 GiB while it decodes without vae_tiling; the figure here is with it.",
            "Latent frames are padded to an even number, and the padding comes first.",
        ),
        **_COGVIDEOX,
    ),
    ModelCard(
        name="cogvideox-5b-i2v",
        summary="CogVideoX 1.0 image-to-video, 5.6 B; computes at 480x720 whatever the painting",
        weights="THUDM/CogVideoX-5b-I2V",
        parts=Memory(
            denoisers=(5.57,), text=4.76, other=0.22, running=2.7, decoding=3.0, tiled=True
        ),
        area=480 * 720,
        fixed=(480, 720),
        levers=Takes(step_caches=_CACHES, channels_last=True),
        num_frames=49,
        fps=8,
        traps=(
            "It has positions for 480x720 alone: a painting is squeezed to that, and its video "
            "stretched back to the painting's shape. Far from 2:3 the model sees it distorted; "
            "CogVideoX 1.5 takes any shape.",
            "14.7 GiB while it decodes without vae_tiling; the figure here is with it.",
        ),
        **_COGVIDEOX,
    ),
)
