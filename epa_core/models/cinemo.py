"""Cinemo (arXiv 2407.15642): image-to-video by motion residuals.

    symbol       meaning                                             shape
    B, L         paintings of a call; frames of a clip, the painting's own included
    h, w         size of a latent frame, an eighth of the painting's
    x            clean latent of the painting                        [B, 4, 1, h, w]
    m            residuals of the later frames to x                  [B, 4, L - 1, h, w]
    z            their latents, x + m                                [B, 4, L - 1, h, w]

The network knows residuals alone. Outside of it, latents are absolute: z_t = m_t + a_t x has the
same noise, every linear solver steps both alike, and a start that stands still is x itself. Latents
are float32 outside the UNet, whatever it computes in. Guidance acts on the text alone.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from diffusers import AutoencoderKLTemporalDecoder
from PIL import Image
from torch import Tensor

from epa_core.model_cards.paper_options import CINEMO, ImageLatent, Reading
from epa_core.models import cinemo_inputs as inputs
from epa_core.models.call_inputs import Generators, drawn, each, per_painting
from epa_core.models.cinemo_inputs import DEFAULT_BUCKET
from epa_core.models.text_and_frames import (
    ClipOutput,
    OneOrMany,
    StepCallback,
    TextAndFrames,
    by_text,
)
from epa_core.noise_levels import NoiseLevel, has_sigmas, levels

DECODED_FRAMES = 14  # decoded together by the temporal decoder, as a clip of their own


class CinemoPipeline(TextAndFrames):
    """Animate paintings: the first frame is the painting, the others what is added to it.

    ``vae`` is an AutoencoderKLTemporalDecoder, or an AutoencoderKL; ``unet`` a MotionResidualUNet.
    """

    @torch.no_grad()
    def __call__(
        self,
        image: OneOrMany[Image.Image],
        prompt: OneOrMany[str] | None = None,
        negative_prompt: OneOrMany[str | None] | None = None,
        motion_bucket_id: OneOrMany[float] = DEFAULT_BUCKET,
        motion_strength: OneOrMany[float | None] | None = None,
        base_image: OneOrMany[Image.Image | None] | None = None,
        height: int = 320,
        width: int = 512,
        num_frames: int = 16,
        num_inference_steps: int = 50,
        guidance_scale: float = 7.5,
        dct_init: bool = True,
        dct_percentage: float = 0.23,
        dct_timestep: int = 975,
        image_latent: ImageLatent = "mode",
        decode_chunk_size: int = DECODED_FRAMES,
        epa_reading: Reading = "absolute",
        generator: Generators = None,
        latents: Tensor | None = None,
        prompt_embeds: Tensor | None = None,
        negative_prompt_embeds: Tensor | None = None,
        output_type: str = "np",
        return_dict: bool = True,
        callback_on_step_end: StepCallback | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
    ) -> ClipOutput | tuple[Any]:
        """Return ``num_frames`` (at least 2) frames per painting, all of one size; frame 0 is x.

        Single values serve all paintings, lists give each its own. A larger ``motion_bucket_id``
        is less motion; ``motion_strength`` (0..100, more is more) sets it to 100 minus the
        strength. ``base_image`` gives x in place of the painting. Sizes are multiples of the VAE's
        factor; paintings are cut to them. Without ``latents`` each painting's generator gives one
        draw, into which ``dct_init`` puts the lowest frequencies of the painting; given ones are
        noised z [B, 4, L - 1, h, w]. ``image_latent`` "sample" draws x from the VAE's posterior,
        by noise that the image itself decides. ``epa_reading`` is for the method alone
        (``epa_core.families.cinemo``). Embeddings [B or 1, tokens, D] replace prompts. ValueError
        for what does not fit. Latents that are returned are clean, x first.
        ``callback_on_step_end(pipeline, step, timestep, {"latents": z})`` may return other latents;
        ``interrupt`` set to True ends the steps.
        """
        images = [image] if isinstance(image, Image.Image) else list(image)
        count, halves = len(images), 1 if guidance_scale == 1 else 2
        self._check(count, (width, height))
        self.check_call(num_frames, output_type, callback_on_step_end_tensor_inputs)
        generators = per_painting(generator, count)
        CINEMO.check(
            {
                "dct_init": dct_init,
                "dct_percentage": dct_percentage,
                "dct_timestep": dct_timestep,
                "image_latent": image_latent,
                "decode_chunk_size": decode_chunk_size,
                "epa_reading": epa_reading,
            }
        )
        motion = inputs.bucket_tensor(
            each("motion_bucket_id", motion_bucket_id, count),
            each("motion_strength", motion_strength, count),
        )
        self.scheduler.set_timesteps(num_inference_steps, device=self._execution_device)
        text = self.text_condition(
            prompt, negative_prompt, prompt_embeds, negative_prompt_embeds, count, halves
        )
        bases = each("base_image", base_image, count)
        own = [base or image for base, image in zip(bases, images, strict=True)]
        x = self.encode_images(own, (width, height), image_latent)
        signals = [level.a for level in levels(self.scheduler)] + [_last_signal(self.scheduler)]
        shape = (x.shape[1], num_frames - 1, *x.shape[3:])
        if latents is None:
            m = drawn(shape, generators).to(x.device)
            if dct_init:
                m = inputs.dct_init(m, x, self._trained_level(dct_timestep), dct_percentage)
            latents = m * self.scheduler.init_noise_sigma + signals[0] * x
        elif latents.shape != (count, *shape):
            raise ValueError(f"latents are {tuple(latents.shape)}, not {(count, *shape)}.")
        else:
            latents = latents.to(x.device, torch.float32) * self.scheduler.init_noise_sigma
        conditions = {
            "encoder_hidden_states": text,
            "base_content": x.repeat(halves, 1, 1, 1, 1).to(self.unet.dtype),
            "motion": motion.repeat(halves).to(x.device),
        }

        def predict(step: int, t: Tensor, z: Tensor) -> Tensor:
            m = z - signals[step] * x
            return by_text(self.predictions(m, t, conditions, "base_content"), guidance_scale)

        latents, done = self.denoised(
            latents, predict, generator, callback_on_step_end, callback_on_step_end_tensor_inputs
        )
        # Some signal level below 1 is left at the end: z as it is decoded is x + m.
        clean = torch.cat([x, latents + (1 - signals[done]) * x], dim=2)
        return self.finished(clean, output_type, return_dict, decode_chunk_size=decode_chunk_size)

    @torch.no_grad()
    def encode_images(
        self, images: Sequence[Image.Image], size: tuple[int, int], image_latent: str = "mode"
    ) -> Tensor:
        """Clean, scaled latents x [B, 4, 1, h, w], float32, of paintings at ``size`` (w, h).

        Each painting on its own. In float32 where the VAE says that halves overflow.
        """
        vae, own = self.vae, self.vae.dtype
        upcast = own == torch.float16 and vae.config.force_upcast
        try:
            if upcast:
                vae.to(dtype=torch.float32)
            encoded = [self._encoded(image, size, image_latent) for image in images]
        finally:
            if upcast:
                vae.to(dtype=own)
        return (torch.cat(encoded) * vae.config.scaling_factor).unsqueeze(2)

    def _encoded(self, image: Image.Image, size: tuple[int, int], image_latent: str) -> Tensor:
        pixels = inputs.cropped(image, *size).to(self._execution_device, self.vae.dtype)
        posterior = self.vae.encode(pixels).latent_dist
        latent = posterior.mode().float()
        if image_latent == "sample":
            noise = inputs.posterior_noise(image, latent.shape).to(latent.device)
            latent = latent + posterior.std.float() * noise
        return latent

    @torch.no_grad()
    def decode_latents(self, latents: Tensor, decode_chunk_size: int = DECODED_FRAMES) -> Tensor:
        """Video [B, 3, L, H, W] in [-1, 1], float32, of clean latents [B, 4, L, h, w].

        The temporal decoder takes ``decode_chunk_size`` frames as a clip of its own. A VAE without
        one takes frames singly.
        """
        temporal = isinstance(self.vae, AutoencoderKLTemporalDecoder)
        chunk = decode_chunk_size if temporal else 1
        clips = []
        for clip in latents.to(self._execution_device) / self.vae.config.scaling_factor:
            frames = []
            for part in clip.transpose(0, 1).to(self.vae.dtype).split(chunk):
                told = {"num_frames": len(part)} if temporal else {}
                frames.append(self.vae.decode(part, return_dict=False, **told)[0].float())
            clips.append(torch.cat(frames).transpose(0, 1))
        return torch.stack(clips)

    def _trained_level(self, timestep: int) -> NoiseLevel:
        alpha_bar = float(self.scheduler.alphas_cumprod[timestep])
        return NoiseLevel(timestep, math.sqrt(alpha_bar), math.sqrt(1 - alpha_bar))

    def _check(self, count: int, size: tuple[int, int]) -> None:
        multiple = self.vae_scale_factor
        if not count:
            raise ValueError("image holds no painting.")
        if min(size) <= 0 or any(side % multiple for side in size):
            raise ValueError(
                f"the size {size[0]}x{size[1]} is not a positive multiple of {multiple}."
            )
        kind = self.scheduler.config.get("prediction_type")
        if kind != "epsilon" or self.scheduler.config.get("clip_sample"):
            raise ValueError(
                f"the scheduler has prediction_type {kind!r} and clip_sample "
                f"{self.scheduler.config.get('clip_sample')}; residuals need epsilon and False."
            )


def _last_signal(scheduler: Any) -> float:
    """What is left of z's factor after the last step."""
    if not has_sigmas(scheduler):
        return math.sqrt(float(getattr(scheduler, "final_alpha_cumprod", 1.0)))
    variance_kept = hasattr(scheduler, "_sigma_to_alpha_sigma_t")
    return 1 / math.hypot(1, float(scheduler.sigmas[-1])) if variance_kept else 1.0
