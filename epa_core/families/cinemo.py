"""Cinemo, whose pipeline is this project's own (``epa_core.models.cinemo``).

How the method is to be read for a model of residuals is not published. Five readings:

- ``absolute``: paths start at the painting's own latent (no motion) and are fused as latents, over
  the frames that are diffused: the first of them is the real path's;
- ``all-frames``: the same, but the painting's own frame counts as the first;
- ``residual``: residuals are fused, and nothing of the proxy's looks enters;
- ``doubled``: as residual, but paths start at the painting as its own residual;
- ``painting-base``: as absolute, but the proxy's path, too, is residuals to the painting.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from epa_core.card_data import MODELS
from epa_core.families.base import CallSettings, Family, call_default
from epa_core.families.first_frame import CleanFirstFrame
from epa_core.families.stock import UNetVideo
from epa_core.fuse import Interpolation, fuse
from epa_core.model_cards.paper_options import CINEMO
from epa_core.models import cinemo_inputs as inputs

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline


def _option(pipeline: "DiffusionPipeline", options: Mapping[str, Any], name: str) -> Any:
    return options.get(name, call_default(pipeline, name))


class Cinemo(CleanFirstFrame, UNetVideo):
    """B C L h w, float32; frame 0 is the painting's clean latent and is not stepped."""

    batches = True
    casts_latents = True
    per_painting = MappingProxyType(
        {"motion_strength": None, "negative_prompt": "", "base_image": None}
    )

    def variant(self, pipeline: "DiffusionPipeline") -> Family:
        """Frames of the temporal decoder are cut to whole levels, those of a plain VAE rounded."""
        temporal = type(pipeline.vae).__name__ == "AutoencoderKLTemporalDecoder"
        return self if temporal else CinemoByFrame()

    def size_multiple(self, pipeline: "DiffusionPipeline") -> int:
        """The VAE's factor: the UNet takes latents of any size."""
        return int(pipeline.vae_scale_factor)

    def area(self, pipeline: "DiffusionPipeline") -> int:
        """As it was trained, whatever the painting's aspect."""
        return MODELS["cinemo"].area

    def least_frames(self, pipeline: "DiffusionPipeline") -> int:
        """Else there is nothing to move."""
        return 2

    def check_options(self, pipeline: "DiffusionPipeline", options: Mapping[str, Any]) -> None:
        """Motion, DCTInit, how images are encoded and decoded, and the reading."""
        CINEMO.check(options)

    def pixels(
        self, pipeline: "DiffusionPipeline", image: Image.Image, call: CallSettings
    ) -> Tensor:
        """Cut to the size, not stretched."""
        return inputs.cropped(image, call.width, call.height)

    def encode(
        self, pipeline: "DiffusionPipeline", image: Image.Image, call: CallSettings
    ) -> Tensor:
        """The painting's latent in every frame: no residual."""
        how = _option(pipeline, call.options, "image_latent")
        x = pipeline.encode_images([image], (call.width, call.height), how)
        moved = x.repeat(1, 1, call.num_frames - 1, 1, 1)
        doubled = _option(pipeline, call.options, "epa_reading") == "doubled"
        return torch.cat([x, 2 * moved if doubled else moved], dim=2)

    def proxy_arguments(self, painting: Image.Image, call: CallSettings) -> Mapping[str, Any]:
        """The painting as the base of the proxy's residuals, where the reading says so."""
        if call.options.get("epa_reading") == "painting-base":
            return {"base_image": painting}
        return {}

    def pack(self, pipeline: "DiffusionPipeline", x: Tensor, clips: Tensor) -> Tensor:
        """As it is stepped: the call encodes the painting by itself."""
        return x

    def fuse(
        self, real: Tensor, proxy: Tensor, how: Interpolation, half: bool, call: CallSettings
    ) -> Tensor:
        """By the reading that the call's options name."""
        reading = call.options.get("epa_reading", "absolute")
        if reading == "all-frames":
            return super().fuse(real, proxy, how, half, call)
        (painting, one), (other_painting, other) = (
            clip.split([1, clip.shape[1] - 1], dim=1) for clip in (real, proxy)
        )
        if reading in ("absolute", "painting-base"):
            moved = fuse(one, other, self.frame_axis, how, half=half)
        else:
            residuals = (one - painting, other - other_painting)
            moved = painting + fuse(*residuals, self.frame_axis, how, half=half)
        return torch.cat([painting, moved], dim=1)

    def decode(self, pipeline: "DiffusionPipeline", clip: Tensor, call: CallSettings) -> Tensor:
        """In the call's chunks: the decoder looks at neighbouring frames."""
        return pipeline.decode_latents(clip, _option(pipeline, call.options, "decode_chunk_size"))

    def to_bytes(self, unit: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
        """Cut to whole levels, as the released code does for its temporal decoder."""
        return (unit * 255).astype(np.uint8)

    def prompt_tokens(self, pipeline: "DiffusionPipeline") -> int:
        """Where the pipeline cuts."""
        return int(pipeline.prompt_tokens)


class CinemoByFrame(Cinemo):
    """Cinemo with a VAE that knows nothing of time."""

    def to_bytes(self, unit: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
        """Rounded, as the released code does for this VAE."""
        return Family.to_bytes(self, unit)
