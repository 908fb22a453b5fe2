"""AnimateAnything, whose pipeline is this project's own (``epa_core.models.animate_anything``)."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from torch import Tensor

from epa_core.card_data import MODELS
from epa_core.families.base import CallSettings
from epa_core.families.stock import UNetVideo
from epa_core.model_cards.paper_options import ANIMATE_ANYTHING
from epa_core.models.animate_anything_inputs import check_mask, check_motion

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline


class AnimateAnything(UNetVideo):
    """B C L h w, float32; the painting is a frame of its own in front, mask and motion per work."""

    batches = True
    casts_latents = True
    per_painting = MappingProxyType(
        {"mask_image": None, "motion_strength": None, "negative_prompt": ""}
    )

    def size_multiple(self, pipeline: "DiffusionPipeline") -> int:
        """The VAE's factor: the UNet takes latents of any size."""
        return int(pipeline.vae_scale_factor)

    def area(self, pipeline: "DiffusionPipeline") -> int:
        """As it was trained, whatever the painting's aspect."""
        return MODELS["animate-anything"].area

    def least_frames(self, pipeline: "DiffusionPipeline") -> int:
        """Else there is nothing to move."""
        return 2

    def check_options(self, pipeline: "DiffusionPipeline", options: Mapping[str, Any]) -> None:
        """The mask and the motion strength, also by what the weights were trained with."""
        config = pipeline.unet.config
        ANIMATE_ANYTHING.check(options)
        check_mask(options.get("mask_image"), config.motion_mask)
        check_motion(options.get("motion_strength"), config.motion_strength)

    def encode(
        self, pipeline: "DiffusionPipeline", image: Image.Image, call: CallSettings
    ) -> Tensor:
        """The condition of the pipeline itself, once per frame."""
        latent = pipeline.encode_images([image], (call.width, call.height))
        return latent.repeat(1, 1, call.num_frames, 1, 1)

    def decode(self, pipeline: "DiffusionPipeline", clip: Tensor, call: CallSettings) -> Tensor:
        """A few frames at a time."""
        return pipeline.decode_latents(clip)

    def to_bytes(self, unit: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
        """Cut to whole levels, not rounded.

        The released code does, and half of all values would be another, by one, if these were not.
        """
        return (unit * 255).astype(np.uint8)

    def prompt_tokens(self, pipeline: "DiffusionPipeline") -> int:
        """Where the pipeline cuts."""
        return int(pipeline.prompt_tokens)
