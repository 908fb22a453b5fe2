"""Further diffusion transformers of diffusers: SANA-Video, Kandinsky 5, Motif-Video."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torch import Tensor

from epa_core.errors import UnsupportedError
from epa_core.families.base import CallSettings, Family
from epa_core.families.hunyuan import Guided
from epa_core.families.stock import NEGATIVE_PROMPT

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline


class MotifVideo(Guided):
    """Motif-Video: image latents and a mask as channels. No batches: it takes one picture."""

    casts_latents = True


class CleanFirstFrame(Family):
    """Frame 0 is the clean condition and never stepped."""

    per_painting = NEGATIVE_PROMPT

    def to_step(self, clips: Tensor) -> Tensor:
        """All frames but the first."""
        return clips[:, :, 1:]

    def from_step(self, x: Tensor, clips: Tensor) -> Tensor:
        """The clean first frame, then ``x``."""
        return torch.cat([clips[:, :, :1], x], dim=2)


class SanaVideo(CleanFirstFrame):
    """SANA-Video, at any size: it would move ours to one of its list and crop the video.

    No batches: the call encodes all pictures once per generator.
    """

    frames_argument = "frames"

    def size_multiple(self, pipeline: "DiffusionPipeline") -> int:
        """As its call demands."""
        return 32

    def num_frames(self, pipeline: "DiffusionPipeline") -> int:
        """81, under the name that its call has for it."""
        return 81

    def arguments(
        self,
        images: Sequence[Image.Image],
        prompts: Sequence[str],
        call: CallSettings,
        extras: Sequence[Mapping[str, Any]] = (),
    ) -> dict[str, Any]:
        """No list of sizes."""
        given = super().arguments(images, prompts, call, extras)
        return given | {"use_resolution_binning": False}


class Kandinsky5(CleanFirstFrame):
    """Kandinsky 5: channels last in the call; condition channels come with ``latents=``.

    Its call evens out the first four latent frames at the end, from those that follow.
    """

    def size_multiple(self, pipeline: "DiffusionPipeline") -> int:
        """As its call demands."""
        return 16

    def check(self, pipeline: "DiffusionPipeline", call: CallSettings) -> None:
        """Also that there are latent frames beyond the first four."""
        super().check(pipeline, call)
        least = 4 * pipeline.vae_scale_factor_temporal + 1
        if call.num_frames < least:
            raise UnsupportedError(
                f"num_frames is {call.num_frames}; Kandinsky 5 takes {least} or more, since it "
                "evens out the first four latent frames by those that follow."
            )

    def to_step(self, clips: Tensor) -> Tensor:
        """All frames but the first, channels last."""
        return super().to_step(clips).movedim(1, -1)

    def from_step(self, x: Tensor, clips: Tensor) -> Tensor:
        """The clean first frame, then ``x``; channels second."""
        return super().from_step(x.movedim(-1, 1), clips)

    def pack(self, pipeline: "DiffusionPipeline", x: Tensor, clips: Tensor) -> Tensor:
        """[B, F, h, w, C], and where the weights expect them zeros and a mask of frame 0."""
        packed = self.from_step(x, clips).movedim(1, -1)
        if not pipeline.transformer.config.visual_cond:
            return packed
        mask = torch.zeros_like(packed[..., :1])
        mask[:, :1] = 1
        return torch.cat([packed, torch.zeros_like(packed), mask], dim=-1)

    def unpack(self, pipeline: "DiffusionPipeline", latents: Tensor, call: CallSettings) -> Tensor:
        """Channels second."""
        return latents.movedim(-1, 1)

    def unread(self, pipeline: "DiffusionPipeline", prompt: str) -> str:
        """By the tokenizer within its processor of text and pictures."""
        processor = pipeline.tokenizer
        if processor is None:
            return ""
        from epa_core.text import cut_off

        return cut_off(processor.tokenizer, prompt, self.prompt_tokens(pipeline))
