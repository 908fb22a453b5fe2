"""UNets: Stable Video Diffusion, I2VGen-XL, and Stable Diffusion 1.5 with a motion module."""

from typing import Any

from epa_core.model_cards.card import Memory, ModelCard, Schedule, Takes

_SVD: dict[str, Any] = {
    "pipeline_class": "diffusers.StableVideoDiffusionPipeline",
    "revision": None,
    "licence": "Stability AI community licence (non-commercial in its first version)",
    "commercial": "conditional",
    "condition": "free below a yearly revenue that the licence names; look which version came "
    "with the weights, the first one forbids commercial use",
    "area": 576 * 1024,
    "multiple": 64,
    "fps": 7,
    "conditioned_on": "first frame (latent channels), CLIP image embedding; no text",
    "family": "svd",
    "cache_dtype": "float32",
    "dtype": "float16",
    "uses_text": False,
    "schedule": Schedule(first=700.0, last=3.87, t0=13, t0_kappa=15.59),
    "levers": Takes(channels_last=True, vae_tiling=False, chunks=True),
    "traps": (
        "It reads no text: prompts only reach the proxy.",
        "t0 is as late as its 13th step, since its schedule starts at a noise of 700.",
    ),
}
_SD15: dict[str, Any] = {
    "revision": None,
    "licence": "Apache-2.0 for the motion module, that of the Stable Diffusion 1.5 you choose",
    "commercial": "conditional",
    "condition": "the uses that CreativeML Open RAIL-M forbids; some fine-tunes forbid more",
    "area": 512 * 512,
    "multiple": 64,
    "num_frames": 16,
    "fps": 8,
    "cache_dtype": "float32",
    "dtype": "float16",
    "uses_text": True,
    "per_work": ("negative_prompt",),
    "schedule": Schedule(first=25.2, last=1.43, t0=1, t0_kappa=25.2),
}
_ASSEMBLED = (
    "No repository holds all of it: put it together once and save it (docs/models.md shows how), "
    "then name that folder as model.source."
)

CARDS = (
    ModelCard(
        name="svd",
        summary="Stable Video Diffusion, 1.5 B, 14 frames of 576x1024",
        weights="stabilityai/stable-video-diffusion-img2vid",
        parts=Memory(denoisers=(1.52,), other=0.75, running=4.4, decoding=4.5),
        num_frames=14,
        **_SVD,
    ),
    ModelCard(
        name="svd-xt",
        summary="Stable Video Diffusion XT, 1.5 B, 25 frames of 576x1024",
        weights="stabilityai/stable-video-diffusion-img2vid-xt",
        parts=Memory(denoisers=(1.52,), other=0.75, running=7.7, decoding=4.5),
        num_frames=25,
        **_SVD,
    ),
    ModelCard(
        name="i2vgen-xl",
        summary="I2VGen-XL, 1.4 B, for 704x1280; a model of the paper's generation",
        pipeline_class="diffusers.I2VGenXLPipeline",
        weights="ali-vilab/i2vgen-xl",
        revision=None,
        licence="MIT",
        commercial="yes",
        parts=Memory(denoisers=(1.42,), text=0.35, other=0.75, running=8.9, decoding=2.0),
        area=704 * 1280,
        multiple=64,
        num_frames=16,
        fps=16,
        conditioned_on="first frame (latent channels), CLIP image and text embeddings",
        family="i2vgen-xl",
        cache_dtype="float32",
        dtype="float16",
        uses_text=True,
        per_work=("negative_prompt",),
        schedule=Schedule(first=16.9, last=0.65, t0=1, t0_kappa=16.9),
        levers=Takes(channels_last=True, chunks=True),
        traps=(
            "diffusers lists it as deprecated.",
            "Its condition is drawn from the global random state, which is seeded for every call.",
        ),
    ),
    ModelCard(
        name="animatediff-sparsectrl",
        summary="AnimateDiff with SparseCtrl, 1.3 B, 16 frames of 512x512; put together by hand",
        pipeline_class="diffusers.AnimateDiffSparseControlNetPipeline",
        weights="https://huggingface.co/guoyww/animatediff-sparsectrl-rgb",
        parts=Memory(denoisers=(1.31,), text=0.12, other=0.58, running=2.1, decoding=6.0),
        conditioned_on="first frame (a control net), CLIP text",
        family="animatediff-sparsectrl",
        levers=Takes(channels_last=True, vae_slicing=True),
        traps=(_ASSEMBLED, "One painting to a call: it would take the first for all."),
        **_SD15,
    ),
    ModelCard(
        name="pia",
        summary="PIA, 1.3 B, 16 frames of 512x512; put together by hand",
        pipeline_class="diffusers.PIAPipeline",
        weights="https://huggingface.co/openmmlab/PIA-condition-adapter",
        parts=Memory(denoisers=(1.31,), text=0.12, other=0.08, running=2.1, decoding=6.0),
        conditioned_on="first frame (mask and latent channels), CLIP text",
        family="pia",
        levers=Takes(channels_last=True, vae_slicing=True, sequential=False),
        traps=(_ASSEMBLED, "diffusers lists it as deprecated."),
        **_SD15,
    ),
)
