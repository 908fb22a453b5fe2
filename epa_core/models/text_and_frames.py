"""What pipelines with a CLIP text encoder and an image VAE have in common: texts in, frames out."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, TypeVar

import torch
from diffusers import DiffusionPipeline
from torch import Tensor

from epa_core.models.animate_anything_inputs import each

DECODED_FRAMES = 4  # decoded together where the VAE does not slice

Item = TypeVar("Item")
OneOrMany: TypeAlias = Item | Sequence[Item]
Generators: TypeAlias = torch.Generator | list[torch.Generator] | None
StepCallback: TypeAlias = Callable[..., dict[str, Any]]


class TextAndFrames(DiffusionPipeline):
    """A pipeline with ``vae``, ``text_encoder`` and ``tokenizer`` over clips [B, 4, L, h, w]."""

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

    def guided(
        self,
        latents: Tensor,
        t: Tensor,
        conditions: dict[str, Any],
        guidance_scale: float,
        image_condition: str,
    ) -> Tensor:
        """The guided prediction at ``t``, float32, shaped as ``latents``.

        ``conditions`` are the UNet's arguments for both ways one after the other, the
        unconditional one first, or for one at a scale of 1; ``image_condition`` names the one of
        them that is latents.
        """
        condition = conditions[image_condition]
        # Its dtype is the UNet's; asking the UNet itself walks all its modules, at every step.
        clips = self.scheduler.scale_model_input(latents, t).to(condition.dtype)
        batch = len(condition)
        clips = clips.repeat(batch // len(clips), 1, 1, 1, 1)
        # Always [b] in float32, whatever the scheduler counts in: a compiled UNet would be
        # compiled anew for every number and every dtype.
        timesteps = t.to(clips.device, torch.float32).repeat(batch)
        output = self.unet(clips, timesteps, **conditions, return_dict=False)[0].float()
        if guidance_scale == 1:
            return output
        unconditional, conditional = output.chunk(2)
        return unconditional + guidance_scale * (conditional - unconditional)
