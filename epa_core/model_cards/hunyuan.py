"""HunyuanVideo and HunyuanVideo 1.5."""

import math
from typing import Any

from epa_core.model_cards.card import Memory, ModelCard, Schedule, Takes

_SHIFT7 = Schedule(first=math.inf, last=4.67, t0=9, t0_kappa=14.88)
_HUNYUAN: dict[str, Any] = {
    "revision": None,
    "licence": "Tencent Hunyuan community licence",
    "commercial": "conditional",
    "condition": "not in the EU, the United Kingdom and South Korea, as the licences of its "
    "siblings say; more terms in its own",
    "cache_dtype": "float32",
    "dtype": "bfloat16",
    "uses_text": True,
    "per_work": ("negative_prompt",),
    "multiple": 16,
    "frame_multiple": 4,
    "fps": 24,
}

CARDS = (
    ModelCard(
        name="hunyuanvideo-i2v",
        summary="HunyuanVideo image-to-video, 12.8 B, for 720x1280",
        pipeline_class="diffusers.HunyuanVideoImageToVideoPipeline",
        weights="hunyuanvideo-community/HunyuanVideo-I2V",
        parts=Memory(
            denoisers=(12.81,), text=8.48, other=0.25, running=12.8, decoding=6.0, tiled=True
        ),
        area=720 * 1280,
        num_frames=129,
        conditioned_on="first frame (latent channels, or a clean frame), LLaVA picture and text",
        family="hunyuanvideo",
        schedule=_SHIFT7,
        levers=Takes(attention=True, compile_blocks=True),
        traps=(
            "Weights of the kind latent_concat leave out the first four frames: 129 give 125.",
            "guidance_scale is an embedding in weights of the kind token_replace; in the others it "
            "is a second evaluation (true_cfg_scale), which needs a negative prompt: an empty one "
            "is given where there is none.",
            "One painting to a call.",
        ),
        **_HUNYUAN,
    ),
    ModelCard(
        name="hunyuanvideo1.5-i2v-480p",
        summary="HunyuanVideo 1.5 image-to-video, 8.3 B, for the area of 640x640",
        pipeline_class="diffusers.HunyuanVideo15ImageToVideoPipeline",
        weights="hunyuanvideo-community/HunyuanVideo-1.5-480p_i2v",
        parts=Memory(
            denoisers=(8.33,), text=7.84, other=1.72, running=4.0, decoding=5.0, tiled=True
        ),
        area=640 * 640,
        num_frames=121,
        conditioned_on="first frame (latent and mask channels), SigLIP tokens, Qwen and ByT5 text",
        family="hunyuanvideo1.5",
        schedule=Schedule(first=math.inf, last=3.33, t0=7, t0_kappa=15.83),
        levers=Takes(
            attention=True, compile_blocks=True, step_caches=("taylorseer",), sequential=False
        ),
        traps=(
            "It computes at sizes of a list: a painting is resized to the nearest one and its "
            "video back, mostly by less than a tenth.",
            "Guidance is a component (a guider); model.guidance_scale sets its scale.",
            "Step-distilled weights (use_meanflow) are refused.",
            "One painting to a call.",
        ),
        **_HUNYUAN,
    ),
)
