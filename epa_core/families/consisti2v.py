"""ConsistI2V, whose pipeline is this project's own (``epa_core.models.consisti2v``)."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from epa_core.card_data import MODELS
from epa_core.distill import noised
from epa_core.families.base import CallSettings
from epa_core.families.first_frame import CleanFirstFrame
from epa_core.families.stock import UNetVideo
from epa_core.model_cards.paper_options import CONSISTI2V
from epa_core.models.consisti2v_inputs import clip_noise, prepared
from epa_core.noise_levels import NoiseLevel

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline


class ConsistI2V(CleanFirstFrame, UNetVideo):
    """B C F h w, float32; frame 0 is the clean painting, which is never stepped.

    A clip is fused with its own first frame in front and re-noised whole, its first frame's noise
    thrown away, as the released code of the paper does with a model that steps all frames.
    """

    batches = True
    casts_latents = True
    per_painting = MappingProxyType({"negative_prompt": ""})

    def size_multiple(self, pipeline: "DiffusionPipeline") -> int:
        """The VAE's factor: the UNet takes latents of any size."""
        return int(pipeline.vae_scale_factor)

    def area(self, pipeline: "DiffusionPipeline") -> int:
        """The paper's, whatever the painting's aspect."""
        return MODELS["consisti2v"].area

    def least_frames(self, pipeline: "DiffusionPipeline") -> int:
        """Else there is nothing to move."""
        return 2

    def check_options(self, pipeline: "DiffusionPipeline", options: Mapping[str, Any]) -> None:
        """Frame stride, guidance by the image, noise and FrameInit."""
        CONSISTI2V.check(options)

    def pixels(
        self, pipeline: "DiffusionPipeline", image: Image.Image, call: CallSettings
    ) -> Tensor:
        """As the released script prepares it."""
        return prepared(image, call.height, call.width)

    def encode(
        self, pipeline: "DiffusionPipeline", image: Image.Image, call: CallSettings
    ) -> Tensor:
        """The first frame of the pipeline itself, once per frame."""
        latent = call.options.get("first_frame_latents")
        if latent is None:
            latent = pipeline.encode_images([image], (call.width, call.height))
        return latent.float().repeat(1, 1, call.num_frames, 1, 1)

    def pack(self, pipeline: "DiffusionPipeline", x: Tensor, clips: Tensor) -> Tensor:
        """Without the first frame: the pipeline has its own."""
        return x

    def renoising_noise(
        self,
        pipeline: "DiffusionPipeline",
        clip: Tensor,
        call: CallSettings,
        generator: torch.Generator,
    ) -> Tensor:
        """Of all frames; for "fused" of the kind, and in the order, that the call itself draws."""
        if not self._fuses(call):
            return torch.randn((1, *clip.shape), generator=generator)
        start = pipeline.start(call.options)
        return clip_noise(start.noise, start.noise_alpha, clip.shape, generator)

    def renoised(
        self,
        pipeline: "DiffusionPipeline",
        clips: Tensor,
        noise: Tensor,
        level: NoiseLevel,
        call: CallSettings,
    ) -> Tensor:
        """At ``level``, or as FrameInit makes its start, with the fused clip for the standing one.

        FrameInit's level is its own, whatever the first step's is.
        """
        if not self._fuses(call):
            return self.to_step(noised(clips, noise, level))
        return self.to_step(pipeline.frame_init(clips, noise, pipeline.start(call.options)))

    def _fuses(self, call: CallSettings) -> bool:
        return bool(call.options.get("frame_init") == "fused")

    def decode(self, pipeline: "DiffusionPipeline", clip: Tensor, call: CallSettings) -> Tensor:
        """A few frames at a time."""
        return pipeline.decode_latents(clip)

    def to_bytes(self, unit: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
        """Cut to whole levels, not rounded, as the released code does."""
        return (unit * 255).astype(np.uint8)

    def prompt_tokens(self, pipeline: "DiffusionPipeline") -> int:
        """Where the pipeline cuts."""
        return int(pipeline.prompt_tokens)
