"""What tiny pipelines are made of: random parts, embeddings for text, paintings."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import diffusers
import numpy as np
import torch
from diffusers.utils import logging as diffusers_logging
from gaussian_oracle import Oracle
from PIL import Image
from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModelWithProjection

from epa_core.awakening import CallSettings

diffusers_logging.set_verbosity_error()
torch.set_num_threads(1)

SIDE = 32


@dataclass(frozen=True)
class Tiny:
    """A pipeline, how to call it, and what is special about it in the common tests.

    ``oracle``: how the exact denoiser of a Gaussian is planted (None: it has a test of its own).
    ``restarts``: steps from which the stock call goes on, given its own sample as ``latents=``;
    ``rounding``: by how much such a call may be off, and the frames by a level of 255.
    ``dropped``: frames that the call leaves out of its video. ``whole``: levels are cut, not
    rounded.
    """

    pipeline: Any
    call: CallSettings
    oracle: Oracle | None = None
    restarts: tuple[int, ...] = (0, 2)
    rounding: float = 0.0
    dropped: int = 0
    whole: bool = False


def picture(seed: int, side: int = SIDE) -> Image.Image:
    """A smooth random painting."""
    corners = np.random.default_rng(seed).uniform(0, 255, (4, 4, 3)).astype("uint8")
    return Image.fromarray(corners).resize((side, side), Image.Resampling.BICUBIC)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1000 + seed))


def built(make: Callable[[], Any], seed: int = 0) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return make().eval()


def clip_vision(hidden: int, projection: int, heads: int, side: int = 32, patch: int = 8) -> Any:
    config = CLIPVisionConfig(
        hidden_size=hidden,
        projection_dim=projection,
        num_hidden_layers=1,
        num_attention_heads=heads,
        image_size=side,
        intermediate_size=16,
        patch_size=patch,
    )
    return built(lambda: CLIPVisionModelWithProjection(config))


def clip_processor() -> Any:
    size = {"height": 32, "width": 32}
    return CLIPImageProcessor(crop_size=size, size={"shortest_edge": 32})


def call_of(
    num_frames: int, guidance_scale: float | None, side: int = SIDE, **options: Any
) -> CallSettings:
    return CallSettings(side, side, num_frames, guidance_scale, options)


def text(tokens: int, width: int, mask: bool = False) -> dict[str, torch.Tensor]:
    text = {
        "prompt_embeds": noise(1, tokens, width),
        "negative_prompt_embeds": noise(1, tokens, width, seed=1),
    }
    if mask:
        ones = torch.ones(1, tokens, dtype=torch.bool)
        text |= {"prompt_attention_mask": ones, "negative_prompt_attention_mask": ones}
    return text


def image_vae() -> Any:
    return built(
        lambda: diffusers.AutoencoderKL(
            block_out_channels=[8, 16],
            norm_num_groups=4,
            down_block_types=["DownEncoderBlock2D"] * 2,
            up_block_types=["UpDecoderBlock2D"] * 2,
            latent_channels=4,
        )
    )
