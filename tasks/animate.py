"""Stage 4: fuse the two paths, re-noise, denoise with the image-to-video model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field

from epa_core.errors import ItemError
from tasks.base import Params as _Params

if TYPE_CHECKING:
    import PIL.Image
    import torch
    from diffusers import DiffusionPipeline

    from epa_core.awakening import CallSettings, EPASettings, Seed

VERSION = 1


class Params(_Params):
    """The final sampling run."""

    num_inference_steps: int = Field(25, ge=1, le=1000, description="sampler steps")
    kappa0: float | None = Field(
        None, gt=0, description="noise-to-signal ratio at which the fused latents are re-noised"
    )
    half_slerp: bool = Field(
        False, description="fuse in half precision, as the paper's released code does"
    )


def run(
    pipeline: DiffusionPipeline,
    paintings: Sequence[PIL.Image.Image],
    prompts: Sequence[str],
    seeds: Sequence[Seed],
    real: Sequence[torch.Tensor] | None,
    proxy: Sequence[torch.Tensor] | None,
    settings: EPASettings,
    call: CallSettings,
    extras: Sequence[Mapping[str, Any]],
) -> list[torch.Tensor]:
    """Final latents of every painting. Raises ItemError ``numeric`` on a broken batch."""
    import torch

    from epa_core.awakening import animate_latents

    final = animate_latents(
        pipeline,
        list(paintings),
        list(prompts),
        list(seeds),
        None if real is None else list(real),
        None if proxy is None else list(proxy),
        settings,
        call,
        extras=extras,
    )
    for latents in final:
        if not torch.isfinite(latents).all():
            raise ItemError("numeric", "the model produced values that are no numbers")
    return final
