"""Calls of a tiny AnimateAnything: small enough to make dozens, and what they come to."""

from pathlib import Path
from typing import Any

import torch
from PIL import Image
from tiny_pipelines import picture

from epa_core.models.animate_anything import AnimateAnythingPipeline
from epa_core.models.animate_anything_checkpoint import load_animate_anything

CALL: dict[str, Any] = {"height": 16, "width": 32, "num_frames": 3, "num_inference_steps": 2}
SHAPE = (1, 4, 3, 2, 4)


def loaded(folder: Path, dtype: torch.dtype = torch.float32) -> AnimateAnythingPipeline:
    pipeline = load_animate_anything(folder, dtype)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def seeded(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def latents_of(pipeline: AnimateAnythingPipeline, **given: Any) -> Any:
    """The frames of a call; latents of a tiny one of one painting, unless ``given`` says else."""
    usual = {"image": picture(1), "prompt": "the sea", "generator": seeded(1)}
    return pipeline(**{**CALL, **usual, "output_type": "latent", **given}).frames


def half_white(size: tuple[int, int] = (32, 32)) -> Image.Image:
    mask = Image.new("L", size)
    mask.paste(255, (0, 0, size[0] // 2, size[1]))
    return mask


def unet_calls(pipeline: AnimateAnythingPipeline) -> list[dict[str, Any]]:
    """What the UNet is called with, from now on."""
    calls: list[dict[str, Any]] = []

    def note(_: Any, args: tuple[torch.Tensor, ...], kwargs: dict[str, Any]) -> None:
        calls.append({"sample": args[0], "timestep": args[1], **kwargs})

    pipeline.unet.register_forward_pre_hook(note, with_kwargs=True)
    return calls
