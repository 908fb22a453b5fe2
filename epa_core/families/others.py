"""Further diffusion transformers of diffusers: SANA-Video, Kandinsky 5 and 6, Motif-Video."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torch import Tensor

from epa_core.errors import UnsupportedError
from epa_core.families.base import CallSettings, Family
from epa_core.families.first_frame import CleanFirstFrame
from epa_core.families.hunyuan import Guided
from epa_core.families.stock import NEGATIVE_PROMPT

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline


class MotifVideo(Guided):
    """Motif-Video: image latents and a mask as channels. No batches: it takes one picture."""

    casts_latents = True


class SanaVideo(CleanFirstFrame):
    """SANA-Video, at any size: it would move ours to one of its list and crop the video.

    No batches: the call encodes all pictures once per generator.
    """

    per_painting = NEGATIVE_PROMPT
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


class _ReadByAProcessor(Family):
    """The tokenizer lies within a processor of text and pictures."""

    def unread(self, pipeline: "DiffusionPipeline", prompt: str) -> str:
        """As usual, by that tokenizer."""
        if pipeline.tokenizer is None:
            return ""
        from epa_core.text import cut_off

        return cut_off(pipeline.tokenizer.tokenizer, prompt, self.prompt_tokens(pipeline))


class Kandinsky5(_ReadByAProcessor, CleanFirstFrame):
    """Kandinsky 5: channels last in the call; condition channels come with ``latents=``.

    Its call evens out the first four latent frames at the end, from those that follow. No batches:
    it does that by the mean of all videos, and pads prompts of different lengths without a mask.
    """

    per_painting = NEGATIVE_PROMPT

    def size_multiple(self, pipeline: "DiffusionPipeline") -> int:
        """As its call demands."""
        return 16

    def least_frames(self, pipeline: "DiffusionPipeline") -> int:
        """Its call evens out the first four latent frames by those that follow."""
        return int(4 * pipeline.vae_scale_factor_temporal + 1)

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


class Kandinsky6(_ReadByAProcessor):
    """Kandinsky 6, whose sound is stepped beside the video; ``sample_audio`` False leaves it out.

    What is stepped has channels last and one frame more at its end: the clean painting, which the
    call puts there anew before each evaluation.
    """

    batches = True
    per_painting = NEGATIVE_PROMPT

    def check_weights(self, pipeline: "DiffusionPipeline") -> None:
        """That the network predicts one velocity, not a policy of several."""
        if any(base.__name__ == "PiflowScheduler" for base in type(pipeline.scheduler).__mro__):
            raise UnsupportedError(
                "this Kandinsky 6 is distilled to few steps (PiflowScheduler), each of which "
                "predicts several at once; take the weights that are not distilled."
            )

    def pixels(
        self, pipeline: "DiffusionPipeline", image: Image.Image, call: CallSettings
    ) -> Tensor:
        """Centre-cropped, as the pipeline does."""
        size = {"height": call.height, "width": call.width}
        return pipeline.video_processor.preprocess(image, **size, resize_mode="crop")

    def to_step(self, clips: Tensor) -> Tensor:
        """Channels last, the first frame once more at the end."""
        return torch.cat([clips, clips[:, :, :1]], dim=2).movedim(1, -1)

    def from_step(self, x: Tensor, clips: Tensor) -> Tensor:
        """Channels second, without the last frame."""
        return x.movedim(-1, 1)[:, :, :-1]
