"""Wan 2.1 and 2.2, and SkyReels-V2, which has Wan 2.1's layout."""

from dataclasses import replace
from typing import Any

from epa_core.model_cards.card import Memory, ModelCard, Schedule, Takes

_ONE_EXPERT = Takes(
    attention=True, compile_blocks=True, step_caches=("first-block", "mag", "taylorseer")
)
_UMT5, _CLIP, _VAE = 5.68, 0.63, 0.13
_BATCH = "One painting to a call: its pipeline repeats a list of pictures once too often."
_WAN: dict[str, Any] = {
    "pipeline_class": "diffusers.WanImageToVideoPipeline",
    "revision": None,
    "licence": "Apache-2.0",
    "commercial": "yes",
    "family": "wan",
    "cache_dtype": "float32",
    "dtype": "bfloat16",
    "uses_text": True,
    "per_work": ("negative_prompt",),
    "frame_multiple": 4,
}
_WAN21: dict[str, Any] = {
    "multiple": 16,
    "num_frames": 81,
    "fps": 16,
    "conditioned_on": "first frame (mask and latent channels), CLIP image tokens, UMT5 text",
    "levers": _ONE_EXPERT,
    "traps": (_BATCH,),
    **_WAN,
}
_SKYREELS: dict[str, Any] = _WAN21 | {
    "pipeline_class": "diffusers.SkyReelsV2ImageToVideoPipeline",
    "licence": "Skywork community licence",
    "commercial": "unknown",
    "condition": "its terms were not read for this card",
    "family": "skyreels-v2",
    "num_frames": 97,
    "fps": 24,
    "levers": Takes(attention=True, compile_blocks=True, step_caches=("taylorseer",)),
    "schedule": Schedule(first=9.87e5, last=3.34, t0=7, t0_kappa=15.85),
}

CARDS = (
    ModelCard(
        name="wan2.1-i2v-480p",
        summary="Wan 2.1 image-to-video, 14 B, for 480x832",
        weights="Wan-AI/Wan2.1-I2V-14B-480P-Diffusers",
        area=480 * 832,
        parts=Memory(denoisers=(16.39,), text=_UMT5, other=_CLIP + _VAE, running=3.5, decoding=4.0),
        schedule=Schedule(first=9.87e5, last=2.0, t0=5, t0_kappa=15.77),
        **_WAN21,
    ),
    ModelCard(
        name="wan2.1-i2v-720p",
        summary="Wan 2.1 image-to-video, 14 B, for 720x1280",
        weights="Wan-AI/Wan2.1-I2V-14B-720P-Diffusers",
        area=720 * 1280,
        parts=Memory(denoisers=(16.39,), text=_UMT5, other=_CLIP + _VAE, running=8.1, decoding=9.2),
        schedule=Schedule(first=9.87e5, last=3.34, t0=7, t0_kappa=15.85),
        **_WAN21,
    ),
    ModelCard(
        name="wan2.2-i2v-a14b",
        summary="Wan 2.2 image-to-video, two experts of 14 B, for 480x832",
        weights="Wan-AI/Wan2.2-I2V-A14B-Diffusers",
        parts=Memory(denoisers=(14.29, 14.29), text=_UMT5, other=_VAE, running=3.5, decoding=4.0),
        area=480 * 832,
        multiple=16,
        num_frames=81,
        fps=16,
        conditioned_on="first frame (mask and latent channels), UMT5 text",
        levers=replace(_ONE_EXPERT, step_caches=("first-block", "taylorseer")),
        schedule=Schedule(first=9.87e5, last=3.34, t0=7, t0_kappa=15.85),
        traps=(
            _BATCH,
            "Its experts change places at a noise of 0.9, so t0 leaves the first one little to do: "
            "animate.kappa0 is a knob worth turning here.",
        ),
        **_WAN,
    ),
    ModelCard(
        name="wan2.2-ti2v-5b",
        summary="Wan 2.2 image-to-video, 5 B, for 704x1280",
        weights="Wan-AI/Wan2.2-TI2V-5B-Diffusers",
        parts=Memory(denoisers=(5.0,), text=_UMT5, other=0.7, running=5.1, decoding=5.0),
        area=704 * 1280,
        multiple=32,
        num_frames=121,
        fps=24,
        conditioned_on="first frame (clean latent, a timestep per token), UMT5 text",
        levers=_ONE_EXPERT,
        saved_as=("WanPipeline",),  # one checkpoint for text-to-video and image-to-video
        schedule=Schedule(first=9.87e5, last=3.34, t0=7, t0_kappa=15.85),
        traps=(_BATCH, "The first latent frame stays the painting: motion starts after it."),
        **_WAN,
    ),
    ModelCard(
        name="skyreels-v2-i2v-720p",
        summary="SkyReels-V2 image-to-video, 14 B, for 720x1280",
        weights="Skywork/SkyReels-V2-I2V-14B-720P-Diffusers",
        area=720 * 1280,
        parts=Memory(
            denoisers=(16.39,), text=_UMT5, other=_CLIP + _VAE, running=9.8, decoding=11.0
        ),
        **_SKYREELS,
    ),
)
