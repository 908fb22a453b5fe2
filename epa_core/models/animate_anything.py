"""AnimateAnything (arXiv 2311.12886): image-to-video with a mask and a motion strength.

    symbol       meaning                                             shape
    B, L         paintings of a call; frames of a clip
    h, w         size of a latent frame, an eighth of the painting's
    condition    clean latent of the painting                        [B, 4, 1, h, w]
    mask         1 where the painting may move                       [B, 1, 1, h, w]
    motion       wanted motion strength                              [B]

Latents are float32 outside the UNet, whatever it computes in. Guidance acts on the text alone: the
condition, mask and motion are in both halves.
"""

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from epa_core.models.animate_anything_inputs import (
    DEFAULT_MOTION,
    mask_tensor,
    motion_tensor,
    still_noised,
)
from epa_core.models.call_inputs import Generators, clip_size, each, per_painting
from epa_core.models.text_and_frames import (
    ClipOutput,
    OneOrMany,
    StepCallback,
    TextAndFrames,
    by_text,
)


class AnimateAnythingPipeline(TextAndFrames):
    """Animate paintings: each begins with its painting and moves where its mask is white.

    ``vae`` is an AutoencoderKL, ``unet`` a MaskedMotionUNet3D.
    """

    @torch.no_grad()
    def __call__(
        self,
        image: OneOrMany[Image.Image],
        prompt: OneOrMany[str] | None = None,
        negative_prompt: OneOrMany[str | None] | None = None,
        mask_image: OneOrMany[Image.Image | None] | None = None,
        motion_strength: OneOrMany[float | None] | None = DEFAULT_MOTION,
        height: int | None = None,
        width: int | None = None,
        num_frames: int = 16,
        num_inference_steps: int = 25,
        guidance_scale: float = 9.0,
        generator: Generators = None,
        latents: Tensor | None = None,
        prompt_embeds: Tensor | None = None,
        negative_prompt_embeds: Tensor | None = None,
        output_type: str = "np",
        return_dict: bool = True,
        callback_on_step_end: StepCallback | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
    ) -> ClipOutput | tuple[Any]:
        """Return ``num_frames`` (at least 2) frames per painting, all of one size.

        Single values serve all paintings, lists give each its own; None in a list is the default:
        no negative prompt, a mask that is white all over, a motion strength of 8. A mask has its
        painting's size. ``height`` and ``width`` in pixels, multiples of 8, default to the
        painting's aspect at 512x512 px. Without ``latents`` [B, 4, L, h, w] the still painting is
        noised to the first timestep, by one draw from each painting's generator; given ones are
        multiplied by the scheduler's ``init_noise_sigma``. Embeddings [B or 1, tokens, D] replace
        prompts. A guidance scale of 1 leaves the unconditional half out. ValueError for what does
        not fit, also a mask or a motion strength that the weights were not trained with
        (``unet.config``). ``callback_on_step_end(pipeline, step, timestep, {"latents": ...})`` may
        return other latents; ``interrupt`` set to True ends the steps.
        """
        images = [image] if isinstance(image, Image.Image) else list(image)
        count, halves = len(images), 1 if guidance_scale == 1 else 2
        size = clip_size(images, height, width, self.vae_scale_factor)
        mask, motion = self._guides(images, mask_image, motion_strength, size)
        self.check_call(num_frames, output_type, callback_on_step_end_tensor_inputs)
        generators = per_painting(generator, count)
        self.scheduler.set_timesteps(num_inference_steps, device=self._execution_device)
        text = self.text_condition(
            prompt, negative_prompt, prompt_embeds, negative_prompt_embeds, count, halves
        )
        condition = self.encode_images(images, size)
        device, dtype = condition.device, self.unet.dtype
        if latents is None:
            latents = still_noised(condition, num_frames, generators, self.scheduler)
        else:
            latents = self._scaled(latents.to(device, torch.float32), condition, num_frames)
        conditions = {
            "encoder_hidden_states": text,
            "condition_latent": condition.repeat(halves, 1, 1, 1, 1).to(dtype),
            "mask": None if mask is None else mask.repeat(halves, 1, 1, 1, 1).to(device, dtype),
            "motion": None if motion is None else motion.repeat(halves).to(device),
        }

        def predict(step: int, t: Tensor, z: Tensor) -> Tensor:
            return by_text(self.predictions(z, t, conditions, "condition_latent"), guidance_scale)

        latents, _ = self.denoised(
            latents, predict, generator, callback_on_step_end, callback_on_step_end_tensor_inputs
        )
        return self.finished(latents, output_type, return_dict)

    @torch.no_grad()
    def encode_images(self, images: Sequence[Image.Image], size: tuple[int, int]) -> Tensor:
        """Clean, scaled latents [B, 4, 1, h, w], float32, of paintings at ``size`` (width, height).

        The mode of the posterior, each painting on its own: nothing is drawn, and no result
        depends on what is encoded beside it.
        """
        encoded = []
        device, dtype = self._execution_device, self.vae.dtype
        for image in images:
            # To RGB first: Lanczos knows no palettes.
            pixels = self.video_processor.preprocess(image.convert("RGB"), size[1], size[0])
            pixels = pixels.to(device, dtype)
            mode = self.vae.encode(pixels).latent_dist.mode()
            encoded.append(mode.float() * self.vae.config.scaling_factor)
        return torch.cat(encoded).unsqueeze(2)

    def _guides(
        self, images: Sequence[Image.Image], masks: Any, strengths: Any, size: tuple[int, int]
    ) -> tuple[Tensor | None, Tensor | None]:
        """Mask and motion, each None where the weights were trained without."""
        config, count = self.unet.config, len(images)
        latent_size = (size[1] // self.vae_scale_factor, size[0] // self.vae_scale_factor)
        mask = mask_tensor(
            images, each("mask_image", masks, count), latent_size, config.motion_mask
        )
        strengths = each("motion_strength", strengths, count)
        return mask, motion_tensor(strengths, config.motion_strength)

    def _scaled(self, latents: Tensor, condition: Tensor, num_frames: int) -> Tensor:
        batch, channels, _, *size = condition.shape
        if latents.shape != (batch, channels, num_frames, *size):
            raise ValueError(
                f"latents are {tuple(latents.shape)}, not {(batch, channels, num_frames, *size)}."
            )
        return latents * self.scheduler.init_noise_sigma
