"""LTX-Video and LTX-2: packed tokens and a clean first frame."""

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from epa_core.families.base import CallSettings
from epa_core.families.first_frame import CleanFirstFrame
from epa_core.families.normalising import normalise
from epa_core.families.stock import NEGATIVE_PROMPT

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline


class LTX(CleanFirstFrame):
    """Packed tokens; frame 0 is the clean condition, never stepped, and comes with ``latents=``."""

    batches = True
    per_painting = NEGATIVE_PROMPT

    def size_multiple(self, pipeline: "DiffusionPipeline") -> int:
        """The VAE's factor."""
        return int(pipeline.vae_spatial_compression_ratio)

    def frame_multiple(self, pipeline: "DiffusionPipeline") -> int:
        """The VAE's factor in time."""
        return int(pipeline.vae_temporal_compression_ratio)

    def _patches(self, pipeline: "DiffusionPipeline") -> tuple[int, int]:
        return pipeline.transformer_spatial_patch_size, pipeline.transformer_temporal_patch_size

    def pack(self, pipeline: "DiffusionPipeline", x: Tensor, clips: Tensor) -> Tensor:
        """Tokens [B, S, C]."""
        return pipeline._pack_latents(self.from_step(x, clips), *self._patches(pipeline))

    def unpack(self, pipeline: "DiffusionPipeline", latents: Tensor, call: CallSettings) -> Tensor:
        """Tokens back to [B, C, F, h, w]."""
        ratio = pipeline.vae_spatial_compression_ratio
        frames = (call.num_frames - 1) // pipeline.vae_temporal_compression_ratio + 1
        size = (frames, call.height // ratio, call.width // ratio)
        return pipeline._unpack_latents(latents, *size, *self._patches(pipeline))

    def decode(self, pipeline: "DiffusionPipeline", clip: Tensor, call: CallSettings) -> Tensor:
        """At the decoder's own noise level, if it has one; all clips get the same noise."""
        vae = pipeline.vae
        z = pipeline._denormalize_latents(
            clip.to(pipeline._execution_device),
            vae.latents_mean,
            vae.latents_std,
            vae.config.scaling_factor,
        ).to(vae.dtype)
        if not vae.config.timestep_conditioning:
            return vae.decode(z, None, return_dict=False)[0]
        time = float(call.options.get("decode_timestep", 0.0))
        scale = call.options.get("decode_noise_scale")
        scale = time if scale is None else float(scale)
        noise = torch.randn(z.shape, generator=torch.Generator().manual_seed(0)).to(z)
        timestep = torch.tensor([time], device=z.device, dtype=z.dtype)
        return vae.decode((1 - scale) * z + scale * noise, timestep, return_dict=False)[0]


class LTX2(LTX):
    """LTX-2 and 2.5, whose sound is stepped beside the video and left alone.

    Latents go in and come out without normalisation, and with ``latents=`` it does not look at the
    picture: frame 0 brings the condition.
    """

    def num_frames(self, pipeline: "DiffusionPipeline") -> int:
        """121; the call would ask a duration head, if there is one."""
        return 121

    def pixels(
        self, pipeline: "DiffusionPipeline", image: Image.Image, call: CallSettings
    ) -> Tensor:
        """Recompressed as the pipeline does, which was trained on frames of videos."""
        image = _recompressed(pipeline, image, call.options.get("image_crf"))
        return super().pixels(pipeline, image, call)

    def prepared(self, pipeline: "DiffusionPipeline", given: dict[str, Any]) -> dict[str, Any]:
        """Several pictures recompressed beforehand: the call does that to one alone."""
        images = given["image"]
        if not isinstance(images, list) or given.get("latents") is not None:
            return given
        size, processor = (
            {name: given[name] for name in ("height", "width")},
            pipeline.video_processor,
        )
        seen = [_recompressed(pipeline, image, given.get("image_crf")) for image in images]
        pixels = torch.cat([processor.preprocess(image, **size) for image in seen])
        return given | {"image": processor.denormalize(pixels), "image_crf": 0}

    def pack(self, pipeline: "DiffusionPipeline", x: Tensor, clips: Tensor) -> Tensor:
        """[B, C, F, h, w], which the call normalises and packs itself."""
        vae = pipeline.vae
        return pipeline._denormalize_latents(
            self.from_step(x, clips), vae.latents_mean, vae.latents_std, vae.config.scaling_factor
        )

    def unpack(self, pipeline: "DiffusionPipeline", latents: Tensor, call: CallSettings) -> Tensor:
        """Normalised again."""
        return normalise(pipeline.vae, latents)


def _recompressed(
    pipeline: "DiffusionPipeline", image: Image.Image, crf: int | None
) -> Image.Image:
    """``image`` through H.264 at that quality (None: the model's own, 0: left alone)."""
    from diffusers.pipelines.ltx2 import utils

    if crf is None:
        crf = utils.resolve_default_image_crf(pipeline.text_encoder)
    if not crf:
        return image
    pixels = np.array(image.convert("RGB"))
    return Image.fromarray(utils.apply_image_conditioning_crf(pixels, crf))
