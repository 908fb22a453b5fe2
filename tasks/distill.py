"""Stage 3: motion distilled into the latents of a path (real painting or proxy)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from tasks.base import Params as _Params

if TYPE_CHECKING:
    import PIL.Image
    import torch
    from diffusers import DiffusionPipeline

    from epa_core.awakening import CallSettings, EPASettings, Seed

VERSION = 1


class Params(_Params):
    """Video score distillation (docs/architecture.md, "Method")."""

    num_inference_steps: int = Field(25, ge=1, le=1000, description="T")
    p: float = Field(0.6, ge=0, le=1, description="share of the steps that distil")
    alpha_curve: Literal[
        "stepwise-decreasing", "linear-decreasing", "stepwise-increasing", "linear-increasing"
    ] = "stepwise-decreasing"
    alpha_first: float = Field(10.0, gt=0)
    alpha_last: float = Field(1.0, gt=0)
    levels: Literal["auto", "native", "matched"] = "auto"


def run(
    pipeline: DiffusionPipeline,
    images: Sequence[PIL.Image.Image],
    prompts: Sequence[str],
    seeds: Sequence[Seed],
    settings: EPASettings,
    call: CallSettings,
    extras: Sequence[Mapping[str, Any]],
) -> list[torch.Tensor]:
    """Refined latents of every path, float32 on the CPU; static latents where nothing is distilled.

    Both paths of a painting, and several paintings of one size, are just entries of the lists.
    """
    from epa_core.awakening import distill_latents, static_latents

    if settings.variant in ("baseline", "S"):
        return static_latents(pipeline, list(images), call)
    return distill_latents(
        pipeline, list(images), list(prompts), list(seeds), settings, call, extras=extras
    )
