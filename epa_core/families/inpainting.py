"""Pipelines that fill in a video under a mask: the painting is its first frame, the rest is made.

Neither batches: Wan VACE takes one prompt, EasyAnimate one generator.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from PIL import Image

from epa_core.errors import UnsupportedError
from epa_core.families.base import CallSettings, Family
from epa_core.families.stock import NEGATIVE_PROMPT

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

_GREY = (128, 128, 128)
# EasyAnimate's text encoder reads so many tokens; its call has no argument for it.
_EASYANIMATE_TOKENS = 256


class WanVACE(Family):
    """Wan VACE: grey frames after the painting, and a mask that is white where they are."""

    per_painting = NEGATIVE_PROMPT
    image_argument = "video"

    def arguments(
        self,
        images: Sequence[Image.Image],
        prompts: Sequence[str],
        call: CallSettings,
        extras: Sequence[Mapping[str, Any]] = (),
    ) -> dict[str, Any]:
        """The painting and grey frames, as the pipeline's documentation builds them."""
        given = super().arguments(images, prompts, call, extras)
        size, rest = (call.width, call.height), call.num_frames - 1
        keep, make = (Image.new("L", size, level) for level in (0, 255))
        given["video"] = [images[0], *[Image.new("RGB", size, _GREY)] * rest]
        return {**given, "mask": [keep, *[make] * rest]}


class EasyAnimate(Family):
    """EasyAnimate InP: the painting's latents, with a little noise of the call's, and its mask."""

    per_painting = NEGATIVE_PROMPT
    casts_latents = False
    image_argument = "video"

    def size_multiple(self, pipeline: "DiffusionPipeline") -> int:
        """As its call demands."""
        return 16

    def frame_multiple(self, pipeline: "DiffusionPipeline") -> int:
        """The VAE's factor in time."""
        return int(pipeline.vae_temporal_compression_ratio)

    def check_weights(self, pipeline: "DiffusionPipeline") -> None:
        """That the VAE's configuration has what the call reads, which its class leaves out."""
        direct = pipeline.transformer.config.resize_inpaint_mask_directly
        if direct and "cache_mag_vae" not in pipeline.vae.config:
            raise UnsupportedError(
                "the VAE's configuration lacks cache_mag_vae, without which the call of "
                'EasyAnimateInpaintPipeline fails; add "cache_mag_vae": true to vae/config.json.'
            )

    def arguments(
        self,
        images: Sequence[Image.Image],
        prompts: Sequence[str],
        call: CallSettings,
        extras: Sequence[Mapping[str, Any]] = (),
    ) -> dict[str, Any]:
        """The video and mask that diffusers' own helper makes of a first frame.

        With an empty negative prompt where there is none: its call fails without one.
        """
        from diffusers.pipelines.easyanimate import pipeline_easyanimate_inpaint as stock

        given = super().arguments(images, prompts, call, extras)
        if given.get("negative_prompt_embeds") is None:
            given.setdefault("negative_prompt", "")
        size = (call.height, call.width)
        video, mask = stock.get_image_to_video_latent(list(images), None, call.num_frames, size)
        return {**given, "video": video, "mask_video": mask}

    def prompt_tokens(self, pipeline: "DiffusionPipeline") -> int:
        """Less those of the chat that the prompt is put into, up to the prompt."""
        place = "\N{WHITE SQUARE}"
        content = [{"type": "text", "text": place}]
        chat = pipeline.tokenizer.apply_chat_template(
            [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
        )
        before = pipeline.tokenizer(chat.partition(place)[0], add_special_tokens=False)
        return _EASYANIMATE_TOKENS - len(before["input_ids"])
