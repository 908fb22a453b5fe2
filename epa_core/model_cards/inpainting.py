"""Wan VACE and EasyAnimate InP, which fill in the frames after the painting under a mask."""

import math
from typing import Any

from epa_core.model_cards.card import Memory, ModelCard, Schedule, Takes

_FILLED = "It fills in the frames after the painting under a mask; the painting is kept as frame 0."
_VACE: dict[str, Any] = {
    "pipeline_class": "diffusers.WanVACEPipeline",
    "revision": None,
    "licence": "Apache-2.0",
    "commercial": "yes",
    "area": 480 * 832,
    "multiple": 16,
    "num_frames": 81,
    "frame_multiple": 4,
    "fps": 16,
    "conditioned_on": "first frame (given frames and mask in a stream of their own), UMT5 text",
    "family": "wan-vace",
    "cache_dtype": "float32",
    "dtype": "bfloat16",
    "uses_text": True,
    "per_work": ("negative_prompt",),
    "schedule": Schedule(first=9.87e5, last=2.0, t0=5, t0_kappa=15.77),
    "levers": Takes(
        attention=True, compile_blocks=True, step_caches=("first-block", "mag", "taylorseer")
    ),
    "traps": (_FILLED, "One painting to a call: its pipeline takes one prompt."),
}

CARDS = (
    ModelCard(
        name="wan2.1-vace-1.3b",
        summary="Wan 2.1 VACE as image-to-video, 2.2 B with its second stream, for 480x832",
        weights="Wan-AI/Wan2.1-VACE-1.3B-diffusers",
        parts=Memory(denoisers=(2.15,), text=5.68, other=0.13, running=1.6, decoding=4.0),
        **_VACE,
    ),
    ModelCard(
        name="wan2.1-vace-14b",
        summary="Wan 2.1 VACE as image-to-video, 17.3 B with its second stream, for 480x832",
        weights="Wan-AI/Wan2.1-VACE-14B-diffusers",
        parts=Memory(denoisers=(17.3,), text=5.68, other=0.13, running=4.2, decoding=4.0),
        **_VACE,
    ),
    ModelCard(
        name="easyanimate5.1-12b-inp",
        summary="EasyAnimate V5.1 InP image-to-video, 11.8 B, for 512x512",
        pipeline_class="diffusers.EasyAnimateInpaintPipeline",
        weights="alibaba-pai/EasyAnimateV5.1-12b-zh-InP-diffusers",
        revision=None,
        licence="Apache-2.0, as its text-to-video sibling; see the model's page",
        commercial="yes",
        parts=Memory(denoisers=(11.8,), text=8.27, other=0.27, running=2.5, decoding=4.0),
        area=512 * 512,
        multiple=16,
        num_frames=49,
        frame_multiple=4,
        fps=8,
        conditioned_on="first frame (latent and mask channels), Qwen2-VL text",
        family="easyanimate",
        cache_dtype="float32",
        dtype="bfloat16",
        uses_text=True,
        per_work=("negative_prompt",),
        schedule=Schedule(first=math.inf, last=1.64, t0=5, t0_kappa=13.6),
        levers=Takes(channels_last=True),
        traps=(
            _FILLED,
            "The painting gets a little noise before the model sees it (noise_aug_strength).",
            "One painting to a call: its pipeline draws that noise from one generator.",
            "Its call reads cache_mag_vae from vae/config.json, without which it is refused; "
            "whether the released file has it was not seen.",
        ),
    ),
)
