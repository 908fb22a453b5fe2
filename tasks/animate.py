"""Stage 4: fuse the two paths, re-noise, denoise with the image-to-video model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import Field

from epa_core.errors import ItemError
from tasks.base import Params as _Params

if TYPE_CHECKING:
    import PIL.Image
    import torch
    from diffusers import DiffusionPipeline

    from epa_core.awakening import CallSettings, EPASettings

VERSION = 1


class Params(_Params):
    """The final sampling run."""

    num_inference_steps: int = Field(25, ge=1, le=1000, description="sampler steps")
    kappa0: float | None = Field(
        None, gt=0, description="noise-to-signal ratio at which the fused latents are re-noised"
    )


def run(
    pipeline: DiffusionPipeline,
    paintings: Sequence[PIL.Image.Image],
    prompts: Sequence[str],
    seeds: Sequence[int],
    real: Sequence[torch.Tensor] | None,
    proxy: Sequence[torch.Tensor] | None,
    settings: EPASettings,
    call: CallSettings,
) -> list[torch.Tensor]:
    """Final latents of every painting. Raises ItemError ``nan_latents`` on a broken batch."""
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
    )
    for latents in final:
        if not torch.isfinite(latents).all():
            raise ItemError("nan_latents", "the model produced values that are no numbers")
    return final
