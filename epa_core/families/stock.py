"""The pipelines that diffusers ships, and the embedded preview."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torch import Tensor

from epa_core.card_data import MODELS
from epa_core.errors import UnsupportedError
from epa_core.families.base import CallSettings, Family, call_default, dtype_kept

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

NEGATIVE_PROMPT: Mapping[str, Any] = MappingProxyType({"negative_prompt": ""})


class Preview(Family):
    """The embedded closed-form model."""

    batches = True

    def size_multiple(self, pipeline: "DiffusionPipeline") -> int:
        """One patch of the codec."""
        return int(pipeline.patch)

    def frame_multiple(self, pipeline: "DiffusionPipeline") -> int:
        """Any number of frames."""
        return 1

    def area(self, pipeline: "DiffusionPipeline") -> int:
        """It would take any size; this one shows well and takes seconds."""
        return MODELS["preview"].area


class SkyReels(Family):
    """SkyReels-V2 in the layout of Wan 2.1. No batches, for the same reason."""

    per_painting = NEGATIVE_PROMPT


class Wan(Family):
    """Wan 2.1 and 2.2 A14B. No batches: the call repeats a list of images once too often."""

    per_painting = NEGATIVE_PROMPT

    def variant(self, pipeline: "DiffusionPipeline") -> Family:
        """2.2 TI2V-5B keeps a clean first frame."""
        return WanFirstFrame() if pipeline.config.expand_timesteps else self


class WanFirstFrame(Wan):
    """Wan 2.2 TI2V-5B: every frame is stepped, but the clean condition overwrites frame 0."""

    def from_step(self, x: Tensor, clips: Tensor) -> Tensor:
        """The clean first frame, then the rest of ``x``."""
        return torch.cat([clips[:, :, :1], x[:, :, 1:]], dim=2)


class UNetVideo(Family):
    """UNets over latents of an image VAE, which knows nothing of time."""

    video_vae = False
    casts_latents = False

    def size_multiple(self, pipeline: "DiffusionPipeline") -> int:
        """The VAE's factor times the UNet's."""
        halvings = len(pipeline.unet.config.block_out_channels) - 1
        return int(pipeline.vae_scale_factor * 2**halvings)

    def frame_multiple(self, pipeline: "DiffusionPipeline") -> int:
        """Any number of frames."""
        return 1


class StableVideoDiffusion(UNetVideo):
    """B F C h w, temporal decoder, no text."""

    frame_axis = 0
    batches = True
    takes_prompt = False
    guidance_argument = "max_guidance_scale"

    def num_frames(self, pipeline: "DiffusionPipeline") -> int:
        """14 or 25, as the UNet was trained."""
        return int(pipeline.unet.config.num_frames)

    def encode(
        self, pipeline: "DiffusionPipeline", image: Image.Image, call: CallSettings
    ) -> Tensor:
        """As usual, but in float32 where the VAE overflows in half precision."""
        vae = pipeline.vae
        with dtype_kept(vae):
            if vae.dtype == torch.float16 and vae.config.force_upcast:
                vae.to(dtype=torch.float32)
            return super().encode(pipeline, image, call)

    def decode(self, pipeline: "DiffusionPipeline", clip: Tensor, call: CallSettings) -> Tensor:
        """In the call's chunks: the decoder looks at neighbouring frames."""
        chunk = call.options.get("decode_chunk_size") or call.num_frames
        z = clip.to(pipeline._execution_device, pipeline.vae.dtype)
        return pipeline.decode_latents(z, call.num_frames, chunk)


class AnimateDiff(UNetVideo):
    """Stable Diffusion with a motion module."""

    batches = True
    per_painting = NEGATIVE_PROMPT

    def area(self, pipeline: "DiffusionPipeline") -> int:
        """Of the UNet's sample size."""
        side = pipeline.unet.config.sample_size * pipeline.vae_scale_factor
        return int(side**2)

    def decode(self, pipeline: "DiffusionPipeline", clip: Tensor, call: CallSettings) -> Tensor:
        """All frames at once."""
        z = clip.to(pipeline._execution_device, pipeline.vae.dtype)
        return pipeline.decode_latents(z)


class SparseControl(AnimateDiff):
    """AnimateDiff with SparseCtrl, which takes the painting as its one conditioning frame.

    No batches: several pictures are conditioning frames of one video.
    """

    batches = False
    image_argument = "conditioning_frames"

    def arguments(
        self,
        images: Sequence[Image.Image],
        prompts: Sequence[str],
        call: CallSettings,
        extras: Sequence[Mapping[str, Any]] = (),
    ) -> dict[str, Any]:
        """One painting, in the list of conditioning frames."""
        given = super().arguments(images, prompts, call, extras)
        return {"controlnet_frame_indices": [0], **given, self.image_argument: list(images)}


class CogVideoX(Family):
    """CogVideoX 1.0 and 1.5; the latter pads its latent frames to whole temporal patches."""

    frame_axis = 0
    batches = True
    casts_latents = False
    per_painting = NEGATIVE_PROMPT

    def _padding(self, pipeline: "DiffusionPipeline", call: CallSettings) -> int:
        patch = pipeline.transformer.config.patch_size_t or 1
        frames = (call.num_frames - 1) // pipeline.vae_scale_factor_temporal + 1
        return int(-frames % patch)

    def area(self, pipeline: "DiffusionPipeline") -> int:
        """Of the sample size; in 1.5 that is only the largest with positions, so the card's."""
        if pipeline.transformer.config.patch_size_t:
            return MODELS["cogvideox1.5-5b-i2v"].area
        height, width = self._sample_size(pipeline)
        return height * width

    def _sample_size(self, pipeline: "DiffusionPipeline") -> tuple[int, int]:
        config, factor = pipeline.transformer.config, pipeline.vae_scale_factor_spatial
        return int(config.sample_height * factor), int(config.sample_width * factor)

    def native(self, pipeline: "DiffusionPipeline", call: CallSettings) -> CallSettings:
        """Learned positions (1.0) are for one size only: the painting is squeezed to it."""
        if not pipeline.transformer.config.use_learned_positional_embeddings:
            return call
        height, width = self._sample_size(pipeline)
        return replace(call, height=height, width=width)

    def check(self, pipeline: "DiffusionPipeline", call: CallSettings) -> None:
        """Also that the transformer has positions for that size (1.5)."""
        super().check(pipeline, call)
        height, width = self._sample_size(pipeline)
        limited = pipeline.transformer.config.patch_size_t
        if limited and (call.height > height or call.width > width):
            raise UnsupportedError(
                f"the size is {call.height}x{call.width}; this CogVideoX has positions for "
                f"{height}x{width} at most."
            )

    def encoded_frames(self, pipeline: "DiffusionPipeline", call: CallSettings) -> int:
        """The padding comes first in time."""
        return int(
            call.num_frames + self._padding(pipeline, call) * pipeline.vae_scale_factor_temporal
        )

    def decode(self, pipeline: "DiffusionPipeline", clip: Tensor, call: CallSettings) -> Tensor:
        """Without the padding."""
        z = clip.to(pipeline._execution_device, pipeline.vae.dtype)
        return pipeline.decode_latents(z[:, self._padding(pipeline, call) :])


class I2VGenXL(UNetVideo):
    """Folds frames into the batch around ``step``; its condition draws from the global RNG."""

    per_painting = NEGATIVE_PROMPT

    def pixels(
        self, pipeline: "DiffusionPipeline", image: Image.Image, call: CallSettings
    ) -> Tensor:
        """Centre-cropped, as the pipeline does."""
        from diffusers.pipelines.deprecated.i2vgen_xl import pipeline_i2vgen_xl

        cropped = pipeline_i2vgen_xl._center_crop_wide(image, (call.width, call.height))
        return pipeline.video_processor.preprocess(cropped)

    def to_step(self, clips: Tensor) -> Tensor:
        """(B F) C h w."""
        return clips.transpose(1, 2).flatten(0, 1)

    def from_step(self, x: Tensor, clips: Tensor) -> Tensor:
        """Back to B C F h w."""
        return x.unflatten(0, (clips.shape[0], -1)).transpose(1, 2)

    def decode(self, pipeline: "DiffusionPipeline", clip: Tensor, call: CallSettings) -> Tensor:
        """In the call's chunks of frames."""
        chunk = call.options.get("decode_chunk_size", call_default(pipeline, "decode_chunk_size"))
        z = clip.to(pipeline._execution_device, pipeline.vae.dtype)
        return pipeline.decode_latents(z, decode_chunk_size=chunk)
