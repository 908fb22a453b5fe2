"""What the pipelines of this project have in common: texts in, a clip denoised, frames out.

symbol       meaning                                             shape
B, L         paintings of a call; frames of a clip
h, w         size of a latent frame, an eighth of the painting's
latents      what is denoised of a clip: all of its frames, or all but the painting's own
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias, TypeVar

import torch
from diffusers import DiffusionPipeline, ModelMixin, SchedulerMixin
from diffusers.utils import BaseOutput
from diffusers.video_processor import VideoProcessor
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from epa_core.models.call_inputs import Generators, each

DECODED_FRAMES = 4  # decoded together where the VAE does not slice

Item = TypeVar("Item")
OneOrMany: TypeAlias = Item | Sequence[Item]
StepCallback: TypeAlias = Callable[..., dict[str, Any]]
#: (number of the step, timestep, latents) -> the guided prediction.
Predict: TypeAlias = Callable[[int, Tensor, Tensor], Tensor]


@dataclass
class ClipOutput(BaseOutput):
    """``frames``: latents [B, 4, L, h, w], array [B, L, H, W, 3] in [0, 1], or lists of images."""

    frames: Any


class TextAndFrames(DiffusionPipeline):
    """A pipeline with a CLIP text encoder, an image VAE and a UNet over clips [B, 4, L, h, w].

    Latents are float32 outside the UNet, whatever it computes in.
    """

    model_cpu_offload_seq = "text_encoder->unet->vae"
    _callback_tensor_inputs: ClassVar[list[str]] = ["latents"]

    def __init__(
        self,
        vae: ModelMixin,
        text_encoder: CLIPTextModel,
        tokenizer: CLIPTokenizer,
        unet: ModelMixin,
        scheduler: SchedulerMixin,
    ):
        super().__init__()
        self.register_modules(
            vae=vae, text_encoder=text_encoder, tokenizer=tokenizer, unet=unet, scheduler=scheduler
        )
        self.vae_scale_factor = 2 ** (len(vae.config.block_out_channels) - 1)
        self.video_processor = VideoProcessor(vae_scale_factor=self.vae_scale_factor)
        self.interrupt = False

    @property
    def prompt_tokens(self) -> int:
        """Tokens of a text that are read, the special ones included."""
        positions = self.text_encoder.config.max_position_embeddings
        return int(min(positions, self.tokenizer.model_max_length))

    @torch.no_grad()
    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Embeddings [B, tokens, D] of texts, each distinct one encoded once and on its own."""
        device = self._execution_device
        known: dict[str, Tensor] = {}
        for text in dict.fromkeys(texts):
            tokens = self.tokenizer(
                text,
                padding="max_length",
                max_length=self.prompt_tokens,
                truncation=True,
                return_tensors="pt",
            )
            known[text] = self.text_encoder(tokens.input_ids.to(device))[0]
        return torch.cat([known[text] for text in texts])

    def embeddings(
        self, name: str, texts: OneOrMany[str] | None, embeddings: Tensor | None, count: int
    ) -> Tensor:
        """Embeddings [B, tokens, D] as given, or of texts; ``name`` is the argument's."""
        if embeddings is None:
            if texts is None:
                raise ValueError(f"{name} is missing; give it or {name}_embeds.")
            return self.encode_texts(each(name, texts, count))
        if len(embeddings) not in (1, count):
            raise ValueError(f"{name}_embeds are {len(embeddings)} for {count} paintings.")
        return embeddings.expand(count, -1, -1)

    def text_condition(
        self,
        prompt: OneOrMany[str] | None,
        negative_prompt: OneOrMany[str | None] | None,
        prompt_embeds: Tensor | None,
        negative_prompt_embeds: Tensor | None,
        count: int,
        parts: int,
    ) -> Tensor:
        """The texts of ``parts`` predictions [parts B, tokens, D] as the UNet takes them.

        The negative ones come first and the prompt's last; for one part it is the prompt's alone.
        """
        text = self.embeddings("prompt", prompt, prompt_embeds, count)
        if parts > 1:
            negatives = [text or "" for text in each("negative_prompt", negative_prompt, count)]
            negative = self.embeddings("negative_prompt", negatives, negative_prompt_embeds, count)
            text = torch.cat([negative] * (parts - 1) + [text])
        return text.to(self._execution_device, self.unet.dtype)

    def predictions(
        self, latents: Tensor, t: Tensor, conditions: dict[str, Any], image_condition: str
    ) -> tuple[Tensor, ...]:
        """What the UNet predicts at ``t``, float32, once for each part of its conditions.

        ``conditions`` are the UNet's arguments, for all parts one after the other;
        ``image_condition`` names the one of them that is latents.
        """
        condition = conditions[image_condition]
        # Its dtype is the UNet's; asking the UNet itself walks all its modules, at every step.
        clips = self.scheduler.scale_model_input(latents, t).to(condition.dtype)
        parts = len(condition) // len(clips)
        clips = clips.repeat(parts, 1, 1, 1, 1)
        # Always [b] in float32, whatever the scheduler counts in: a compiled UNet would be
        # compiled anew for every number and every dtype.
        timesteps = t.to(clips.device, torch.float32).repeat(len(clips))
        output = self.unet(clips, timesteps, **conditions, return_dict=False)[0].float()
        return output.chunk(parts)

    def denoised(
        self,
        latents: Tensor,
        predict: Predict,
        generator: Generators,
        callback: StepCallback | None,
        shown: Sequence[str],
        **more: Any,
    ) -> tuple[Tensor, int]:
        """The latents after the scheduler's steps, and how many were made.

        ``callback`` sees the latents under the names in ``shown`` after each step and may return
        others; ``interrupt`` set to True ends the steps. The generator and ``more`` reach
        schedulers whose step takes them.
        """
        takes = inspect.signature(self.scheduler.step).parameters
        more = {k: v for k, v in {**more, "generator": generator}.items() if k in takes}
        self.interrupt, done = False, 0
        for step, t in enumerate(self.progress_bar(self.scheduler.timesteps)):
            output = predict(step, t, latents)
            latents = self.scheduler.step(output, t, latents, **more, return_dict=False)[0]
            if callback is not None:
                tensors = dict.fromkeys(shown, latents)
                latents = callback(self, step, t, tensors).pop("latents", latents)
            done = step + 1
            if self.interrupt:
                break
        return latents, done

    @torch.no_grad()
    def decode_latents(self, latents: Tensor) -> Tensor:
        """Video [B, 3, L, H, W] in [-1, 1], float32, of latents [B, 4, L, h, w].

        A few frames of one clip at a time, or one by one where the VAE slices.
        """
        together = 1 if self.vae.use_slicing else DECODED_FRAMES
        clips = []
        for clip in latents.to(self._execution_device) / self.vae.config.scaling_factor:
            parts = clip.transpose(0, 1).to(self.vae.dtype).split(together)
            frames = [self.vae.decode(part, return_dict=False)[0].float() for part in parts]
            clips.append(torch.cat(frames).transpose(0, 1))
        return torch.stack(clips)

    def finished(
        self, clips: Tensor, output_type: str, return_dict: bool, **decoding: Any
    ) -> ClipOutput | tuple[Any]:
        """What a call returns for its clips [B, 4, L, h, w]; ``decoding`` is for the decoder."""
        frames: Any = clips
        if output_type != "latent":
            video = self.decode_latents(clips, **decoding)
            frames = self.video_processor.postprocess_video(video, output_type=output_type)
        self.maybe_free_model_hooks()
        return ClipOutput(frames=frames) if return_dict else (frames,)

    def check_call(self, num_frames: int, output_type: str, shown: Sequence[str]) -> None:
        """ValueError for what no call of such a pipeline takes."""
        if num_frames < 2:
            raise ValueError(f"num_frames is {num_frames}; at least 2 are needed.")
        if output_type not in ("latent", "np", "pt", "pil"):
            raise ValueError(f"output_type is {output_type!r}; use latent, np, pt or pil.")
        if set(shown) - set(self._callback_tensor_inputs):
            raise ValueError(f"callbacks are shown the latents only, not {', '.join(shown)}.")


def by_text(predicted: Sequence[Tensor], scale: float) -> Tensor:
    """One prediction, of the prompt's alone or of [without it, with it]."""
    if len(predicted) == 1:
        return predicted[0]
    without, both = predicted
    return without + scale * (both - without)
