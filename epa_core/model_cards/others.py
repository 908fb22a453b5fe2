"""SANA-Video, Kandinsky 5 and 6, Motif-Video."""

import math
from typing import Any

from epa_core.model_cards.card import Memory, ModelCard, Schedule, Takes

_SHARED: dict[str, Any] = {
    "revision": None,
    "cache_dtype": "float32",
    "dtype": "bfloat16",
    "uses_text": True,
    "per_work": ("negative_prompt",),
    "frame_multiple": 4,
}
_ALONE = "One painting to a call."
_STILL = "The first latent frame stays the painting: motion starts after it."

_KANDINSKY6: dict[str, Any] = {
    "pipeline_class": "diffusers.Kandinsky6TI2VAPipeline",
    "licence": "MIT",
    "commercial": "yes",
    "area": 512 * 768,
    "multiple": 16,
    "num_frames": 121,
    "fps": 24,
    "conditioned_on": "first frame (clean latent as one frame more), Qwen and CLIP text",
    "family": "kandinsky6",
    "schedule": Schedule(first=math.inf, last=3.04, t0=7, t0_kappa=15.1),
    "levers": Takes(attention=True, compile_blocks=True, step_caches=("taylorseer",)),
    "traps": (
        "Its sound is made and thrown away; model.options: {sample_audio: false} makes none, which "
        "changes the video.",
        "Weights distilled to few steps (PiflowScheduler) are refused.",
    ),
    **_SHARED,
}

CARDS = (
    ModelCard(
        name="sana-video-480p",
        summary="SANA-Video image-to-video, 2 B, for 480x832",
        pipeline_class="diffusers.SanaImageToVideoPipeline",
        weights="Efficient-Large-Model/SANA-Video_2B_480p_diffusers",
        licence="NVIDIA open model licence",
        commercial="conditional",
        condition="on the terms of that licence, which ask for its guardrails to stay",
        parts=Memory(denoisers=(2.04,), text=2.63, other=0.16, running=1.5, decoding=4.0),
        area=480 * 832,
        multiple=32,
        num_frames=81,
        fps=16,
        conditioned_on="first frame (clean latent, a timestep per token), Gemma text",
        family="sana-video",
        saved_as=("SanaVideoPipeline",),  # one checkpoint for text-to-video and image-to-video
        schedule=Schedule(first=math.inf, last=4.9, t0=10, t0_kappa=13.5),
        levers=Takes(attention=True, channels_last=True),
        traps=(_STILL, _ALONE, "Its list of sizes is not used: videos keep the painting's shape."),
        **_SHARED,
    ),
    ModelCard(
        name="kandinsky5-i2v-pro",
        summary="Kandinsky 5.0 Pro image-to-video, 19 B, for 512x768",
        pipeline_class="diffusers.Kandinsky5I2VPipeline",
        weights="kandinskylab/Kandinsky-5.0-I2V-Pro-sft-5s-Diffusers",
        licence="MIT, as its siblings; see the model's page",
        commercial="yes",
        parts=Memory(
            denoisers=(19.0,), text=8.48, other=0.25, running=5.0, decoding=4.0, tiled=True
        ),
        area=512 * 768,
        multiple=16,
        num_frames=121,
        fps=24,
        conditioned_on="first frame (clean latent), Qwen and CLIP text",
        family="kandinsky5",
        levers=Takes(attention=True, compile_blocks=True),
        schedule=Schedule(first=math.inf, last=6.16, t0=11, t0_kappa=14.2),
        traps=(
            "Its levels are said here for a shift of 10, the default of its authors' code; its "
            "scheduler's file, which decides, was not seen.",
            _STILL,
            _ALONE,
            "It evens out its first four latent frames by later ones, so it needs 17 frames.",
        ),
        **_SHARED,
    ),
    ModelCard(
        name="kandinsky6-lite",
        summary="Kandinsky 6.0 Lite image-to-video, 3.2 B, for 512x768; its sound is not kept",
        weights="kandinskylab/Kandinsky-6.0-Lite-5s-Diffusers",
        parts=Memory(denoisers=(3.17,), text=8.48, other=0.54, running=2.5, decoding=4.0),
        **_KANDINSKY6,
    ),
    ModelCard(
        name="kandinsky6-pro",
        summary="Kandinsky 6.0 Pro image-to-video, 30 B, for 512x768; its sound is not kept",
        weights="kandinskylab/Kandinsky-6.0-Pro-5s-Diffusers",
        parts=Memory(denoisers=(30.1,), text=8.48, other=0.54, running=5.5, decoding=4.0),
        **_KANDINSKY6,
    ),
    ModelCard(
        name="motif-video-2b",
        summary="Motif-Video image-to-video, 2 B, for 736x1280",
        pipeline_class="diffusers.MotifVideoImage2VideoPipeline",
        weights="Motif-Technologies/Motif-Video-2B",
        licence="Apache-2.0, as others say of it; see the model's page",
        condition="its terms were not read for this card",
        parts=Memory(denoisers=(2.04,), text=2.68, other=0.16, running=6.0, decoding=11.0),
        area=736 * 1280,
        multiple=16,
        num_frames=121,
        fps=24,
        conditioned_on="first frame (latent and mask channels), vision tokens, T5Gemma text",
        family="motif-video",
        schedule=Schedule(first=math.inf, last=10.0, t0=14, t0_kappa=13.8),
        saved_as=("MotifVideoPipeline",),
        levers=Takes(
            attention=True,
            compile_blocks=True,
            step_caches=("first-block", "mag", "taylorseer"),
        ),
        traps=(
            _ALONE,
            "Guidance is a component (a guider); model.guidance_scale sets its scale.",
            "Its levels are said here for a shift of 15, which its page is said to advise; its "
            "scheduler's file, which decides, was not seen. FlowMatchEulerDiscreteScheduler reads "
            "shift: where a file says flow_shift instead, nothing is shifted.",
        ),
        **_SHARED,
    ),
)
