"""Facts about the models that a run may name (``cards`` is the way to them)."""

from dataclasses import dataclass
from typing import Any, Literal

# Part of cache keys: raise it whenever the same input would give other frames.
PREVIEW_VERSION = "2"


@dataclass(frozen=True)
class ModelCard:
    """One image-to-video model: where it comes from and the call it was made for.

    ``area`` is in pixels, sizes are multiples of ``multiple``; ``memory`` is an estimate in words;
    ``family`` groups checkpoints of one pipeline class; ``cache_dtype`` is what its latents are
    cached in, ``dtype`` what its weights are meant to be loaded in. ``saved_as`` are further
    classes that the ``model_index.json`` of its weights may name. ``weights`` is a hub id, the
    address of an archive to be fetched by hand, or None for the embedded model; ``loader`` names
    the function (folder, dtype) that loads what ``from_pretrained`` cannot. ``per_work`` are
    the catalog's columns that the model reads: mask_uri, motion_strength, negative_prompt.
    ``parts`` are the folders of weights that are released without a ``model_index.json``.
    """

    name: str
    summary: str
    pipeline_class: str
    weights: str | None
    revision: str | None
    licence: str
    memory: str
    area: int
    multiple: int
    num_frames: int
    fps: int
    conditioned_on: str
    family: str
    cache_dtype: Literal["float32", "float16"]
    dtype: Literal["float32", "float16", "bfloat16"]
    uses_text: bool
    saved_as: tuple[str, ...] = ()
    loader: str | None = None
    per_work: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()


def _by_name(*cards: ModelCard) -> dict[str, ModelCard]:
    return {card.name: card for card in cards}


_WAN: dict[str, Any] = {
    "pipeline_class": "diffusers.WanImageToVideoPipeline",
    "revision": None,
    "licence": "Apache-2.0",
    "family": "wan",
    "cache_dtype": "float32",
    "dtype": "bfloat16",
    "uses_text": True,
    "per_work": ("negative_prompt",),
}
_WAN21: dict[str, Any] = {
    "memory": "estimate: 31 GiB for the denoiser in bfloat16 and 11 GiB for the text encoder; "
    "less with offload",
    "multiple": 16,
    "num_frames": 81,
    "fps": 16,
    "conditioned_on": "first frame (mask and latent channels), CLIP image tokens, UMT5 text",
    **_WAN,
}
_SVD: dict[str, Any] = {
    "pipeline_class": "diffusers.StableVideoDiffusionPipeline",
    "revision": None,
    "licence": "Stability AI community licence (non-commercial in its first version)",
    "memory": "estimate: 3 GiB for the denoiser in float16, 8 GiB more while it runs and decodes",
    "area": 576 * 1024,
    "multiple": 64,
    "fps": 7,
    "conditioned_on": "first frame (latent channels), CLIP image embedding; no text",
    "family": "svd",
    "cache_dtype": "float32",
    "dtype": "float16",
    "uses_text": False,
}

MODELS: dict[str, ModelCard] = _by_name(
    ModelCard(
        name="preview",
        summary="Closed-form preview: moves the painting as its prompt says; no weights, any CPU",
        pipeline_class="epa_core.models.preview.PreviewPipeline",
        weights=None,
        revision=None,
        licence="Apache-2.0",
        memory="under 1 GiB",
        area=288 * 288,
        multiple=8,
        num_frames=16,
        fps=8,
        conditioned_on="the painting and the words of the prompt",
        family="preview",
        cache_dtype="float16",
        dtype="float32",
        uses_text=True,
    ),
    ModelCard(
        name="animate-anything",
        summary="AnimateAnything, 1.4 B, the paper's own model: mask and motion strength per work",
        pipeline_class="epa_core.models.animate_anything.AnimateAnythingPipeline",
        weights="https://cloudbook-public-production.oss-cn-shanghai.aliyuncs.com/animation/"
        "animate_anything_512_v1.02.tar",
        revision=None,
        licence="not stated with the weights (repository: see alibaba/animate-anything)",
        memory="estimate: 3.7 GB of weights in float16 (7.3 GB in float32), and what a clip takes",
        area=512 * 512,
        multiple=8,
        num_frames=16,
        fps=8,
        conditioned_on="first frame (one more frame in front), CLIP text, motion mask and strength",
        family="animate-anything",
        cache_dtype="float32",
        dtype="float16",
        uses_text=True,
        saved_as=("LatentToVideoPipeline",),
        loader="epa_core.models.animate_anything_checkpoint.load_animate_anything",
        per_work=("mask_uri", "motion_strength", "negative_prompt"),
    ),
    ModelCard(
        name="wan2.1-i2v-480p",
        summary="Wan 2.1 image-to-video, 14 B, for 480x832",
        weights="Wan-AI/Wan2.1-I2V-14B-480P-Diffusers",
        area=480 * 832,
        **_WAN21,
    ),
    ModelCard(
        name="wan2.1-i2v-720p",
        summary="Wan 2.1 image-to-video, 14 B, for 720x1280",
        weights="Wan-AI/Wan2.1-I2V-14B-720P-Diffusers",
        area=720 * 1280,
        **_WAN21,
    ),
    ModelCard(
        name="wan2.2-i2v-a14b",
        summary="Wan 2.2 image-to-video, two experts of 14 B, for 480x832",
        weights="Wan-AI/Wan2.2-I2V-A14B-Diffusers",
        memory="estimate: 53 GiB for both denoisers in bfloat16 and 11 GiB for the text encoder; "
        "less with offload",
        area=480 * 832,
        multiple=16,
        num_frames=81,
        fps=16,
        conditioned_on="first frame (mask and latent channels), UMT5 text",
        **_WAN,
    ),
    ModelCard(
        name="wan2.2-ti2v-5b",
        summary="Wan 2.2 image-to-video, 5 B, for 704x1280",
        weights="Wan-AI/Wan2.2-TI2V-5B-Diffusers",
        memory="estimate: 9 GiB for the denoiser in bfloat16, 5 GiB more while it runs, 11 GiB "
        "for the text encoder",
        area=704 * 1280,
        multiple=32,
        num_frames=121,
        fps=24,
        conditioned_on="first frame (clean latent, a timestep per token), UMT5 text",
        saved_as=("WanPipeline",),  # one checkpoint for text-to-video and image-to-video
        **_WAN,
    ),
    # CogVideoX-5b-I2V (1.0) has no card: its learned positions fix every video to 480x720, and
    # here a video keeps its painting's aspect.
    ModelCard(
        name="cogvideox1.5-5b-i2v",
        summary="CogVideoX 1.5 image-to-video, 5.6 B, for 768x1360 (1.0 knows only 480x720)",
        pipeline_class="diffusers.CogVideoXImageToVideoPipeline",
        weights="THUDM/CogVideoX1.5-5B-I2V",
        revision=None,
        licence="CogVideoX licence (commercial use on conditions)",
        memory="estimate: 11 GiB for the denoiser in bfloat16, 9 GiB for the text encoder, "
        "above 40 GiB while decoding without tiles",
        area=768 * 1360,
        multiple=16,
        num_frames=81,
        fps=16,
        conditioned_on="first frame (latent channels), T5 text",
        family="cogvideox",
        cache_dtype="float32",
        dtype="bfloat16",
        uses_text=True,
        per_work=("negative_prompt",),
    ),
    ModelCard(
        name="ltx-video",
        summary="LTX-Video image-to-video, 1.9 B, for 512x704",
        pipeline_class="diffusers.LTXImageToVideoPipeline",
        weights="Lightricks/LTX-Video",
        revision=None,
        licence="LTXV open weights licence (limited by revenue)",
        memory="estimate: 4 GiB for the denoiser in bfloat16, 9 GiB for the text encoder",
        area=512 * 704,
        multiple=32,
        num_frames=161,
        fps=25,
        conditioned_on="first frame (clean latent tokens), T5 text",
        family="ltx",
        cache_dtype="float32",
        dtype="bfloat16",
        uses_text=True,
        per_work=("negative_prompt",),
    ),
    ModelCard(
        name="svd",
        summary="Stable Video Diffusion, 1.5 B, 14 frames of 576x1024",
        weights="stabilityai/stable-video-diffusion-img2vid",
        num_frames=14,
        **_SVD,
    ),
    ModelCard(
        name="svd-xt",
        summary="Stable Video Diffusion XT, 1.5 B, 25 frames of 576x1024",
        weights="stabilityai/stable-video-diffusion-img2vid-xt",
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
        memory="estimate: 3 GiB for the denoiser in float16, 6 to 8 GiB at 512x512",
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
    ),
    ModelCard(
        name="cinemo",
        summary="Cinemo, 0.9 B, a model of the paper, for 320x512: motion bucket or strength",
        pipeline_class="epa_core.models.cinemo.CinemoPipeline",
        weights="maxin-cn/Cinemo",
        revision=None,
        licence="not verified for the weights (see maxin-cn/Cinemo)",
        memory="estimate: 2.3 GB of weights in float16 (4.5 GB in float32), and what a clip takes",
        area=320 * 512,
        multiple=8,
        num_frames=16,
        fps=8,
        conditioned_on="first frame (clean latent, added to all frames), CLIP text, motion bucket",
        family="cinemo",
        cache_dtype="float32",
        dtype="float16",
        uses_text=True,
        loader="epa_core.models.cinemo_checkpoint.load_cinemo",
        per_work=("motion_strength", "negative_prompt"),
        parts=("unet", "vae_temporal_decoder", "text_encoder", "tokenizer", "scheduler"),
    ),
)
