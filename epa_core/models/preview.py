"""The preview model: image-to-video diffusion in closed form, with no weights.

Its data distribution is z_0 ~ N(mu(painting, prompt), tau^2) for every latent on its own, mu being
the painting moved along the motion its prompt names (``motion``, ``warp``). For a Gaussian the
denoiser that training would find is a formula, so the whole method runs honestly on it:

    symbol   meaning                                           shape
    z_t      a z_0 + s eps, noised latents                     [B, C, F, h, w]
    a, s     sqrt(alphabar_t), sqrt(1 - alphabar_t)            scalars
    eps      s (z_t - a mu) / (a^2 tau^2 + s^2), exact         [B, C, F, h, w]

It shows the line at work; it is not the quality of a neural model.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from diffusers import DDIMScheduler, DiffusionPipeline
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from diffusers.utils import BaseOutput
from diffusers.utils.torch_utils import randn_tensor
from diffusers.video_processor import VideoProcessor
from PIL import Image

from epa_core.card_data import PREVIEW_VERSION as VERSION
from epa_core.models.codec import PatchCodec
from epa_core.models.ddim import LeanDDIMScheduler
from epa_core.models.warp import move_painting

__all__ = ["VERSION", "GaussianDenoiser", "PreviewOutput", "PreviewPipeline", "build_preview"]

# Betas of Stable Diffusion; with trailing spacing the first step has noise-to-signal 14.6.
BETAS: dict[str, Any] = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
MU_CACHE_BYTES = 64 * 2**20

Generators: TypeAlias = torch.Generator | list[torch.Generator] | None


class GaussianDenoiser(ModelMixin, ConfigMixin):
    """The exact noise prediction for latents distributed as N(mu, tau^2)."""

    @register_to_config
    def __init__(
        self,
        tau: float = 0.004,
        beta_start: float = 0.00085,
        beta_end: float = 0.012,
        num_train_timesteps: int = 1000,
    ):
        super().__init__()
        # A module without weights has no device or dtype; this one number carries them.
        self.register_buffer("placement", torch.zeros(1))
        betas = np.linspace(beta_start**0.5, beta_end**0.5, num_train_timesteps) ** 2
        self.alphas_cumprod: list[float] = np.cumprod(1.0 - betas).tolist()

    def forward(
        self, sample: torch.Tensor, timestep: float | torch.Tensor, mu: torch.Tensor
    ) -> torch.Tensor:
        """Return eps(z_t, t), shape and dtype of ``sample``; ``mu`` has the same shape.

        Only plain products and differences: every element is rounded alike wherever it stands,
        so that a painting's result does not depend on its batch.
        """
        alpha_bar = self.alphas_cumprod[round(float(timestep))]
        variance = alpha_bar * self.config["tau"] ** 2 + 1.0 - alpha_bar
        eps = mu * -(alpha_bar**0.5)
        eps += sample
        eps *= (1.0 - alpha_bar) ** 0.5 / variance
        return eps.to(sample.dtype)


@dataclass
class PreviewOutput(BaseOutput):
    """``frames``: latents [B, C, F, h, w], array [B, F, H, W, 3] in [0, 1], or lists of images."""

    frames: Any


class PreviewPipeline(DiffusionPipeline):
    """Animate paintings as their prompts say, by diffusion with the closed-form denoiser."""

    model_cpu_offload_seq = "denoiser->vae"

    def __init__(self, denoiser: GaussianDenoiser, scheduler: DDIMScheduler, vae: PatchCodec):
        super().__init__()
        self.register_modules(denoiser=denoiser, scheduler=scheduler, vae=vae)
        self.patch = int(vae.config["patch"])
        self.video_processor = VideoProcessor(vae_scale_factor=self.patch)
        self._means: OrderedDict[bytes, torch.Tensor] = OrderedDict()

    @torch.no_grad()
    def __call__(
        self,
        image: Image.Image | Sequence[Image.Image],
        prompt: str | Sequence[str],
        height: int | None = None,
        width: int | None = None,
        num_frames: int = 16,
        num_inference_steps: int = 25,
        guidance_scale: float = 1.0,
        generator: Generators = None,
        latents: torch.Tensor | None = None,
        output_type: str = "np",
        return_dict: bool = True,
    ) -> PreviewOutput | tuple[Any]:
        """Return ``num_frames`` frames per painting; sizes in pixels, multiples of the patch (8).

        ``height`` and ``width`` default to the first image's, rounded down. ``guidance_scale``
        is accepted and unused: a closed form has no unconditional branch. ``latents``
        [B, 3 p p, F, H/p, W/p] are scaled by the scheduler's ``init_noise_sigma``. ValueError for
        sizes, counts or an ``output_type`` that do not fit.
        """
        images = [image] if isinstance(image, Image.Image) else list(image)
        prompts = [prompt] * len(images) if isinstance(prompt, str) else list(prompt)
        height = height or images[0].height // self.patch * self.patch
        width = width or images[0].width // self.patch * self.patch
        self._check(images, prompts, height, width, num_frames, output_type)
        device = self._execution_device
        self.scheduler.set_timesteps(num_inference_steps, device=device)
        mu = self._mean(images, prompts, (width, height), num_frames).to(device)
        latents = self._prepare_latents(latents, mu, generator)
        with self.progress_bar(total=len(self.scheduler.timesteps)) as bar:
            for t in self.scheduler.timesteps:
                model_input = self.scheduler.scale_model_input(latents, t)
                eps = self.denoiser(model_input, t, mu)
                latents = self.scheduler.step(eps, t, latents, return_dict=False)[0]
                bar.update()
        frames: Any = latents
        if output_type != "latent":
            pixels = self.vae.decode(latents).sample
            frames = self.video_processor.postprocess_video(pixels, output_type=output_type)
        self.maybe_free_model_hooks()
        return PreviewOutput(frames=frames) if return_dict else (frames,)

    def _check(
        self,
        images: list[Image.Image],
        prompts: list[str],
        height: int,
        width: int,
        num_frames: int,
        output_type: str,
    ) -> None:
        if len(images) != len(prompts):
            raise ValueError(f"{len(images)} images were given with {len(prompts)} prompts.")
        if height <= 0 or width <= 0 or height % self.patch or width % self.patch:
            raise ValueError(
                f"The size {width}x{height} is not a positive multiple of {self.patch}."
            )
        if num_frames < 1:
            raise ValueError(f"num_frames is {num_frames}; at least 1 is needed.")
        if output_type not in ("latent", "np", "pt", "pil"):
            raise ValueError(f"output_type is {output_type!r}; use latent, np, pt or pil.")

    def _prepare_latents(
        self, latents: torch.Tensor | None, mu: torch.Tensor, generator: Generators
    ) -> torch.Tensor:
        if latents is None:
            latents = randn_tensor(
                mu.shape, generator=generator, device=mu.device, dtype=torch.float32
            )
        elif latents.shape != mu.shape:
            raise ValueError(f"latents are {tuple(latents.shape)}, not {tuple(mu.shape)}.")
        return latents.to(mu.device) * self.scheduler.init_noise_sigma

    def _mean(
        self,
        images: list[Image.Image],
        prompts: list[str],
        size: tuple[int, int],
        num_frames: int,
    ) -> torch.Tensor:
        """Latent mean mu [B, C, F, h, w], each item computed on its own."""
        means = [
            self._mean_of_one(image, prompt, size, num_frames)
            for image, prompt in zip(images, prompts, strict=True)
        ]
        return means[0] if len(means) == 1 else torch.cat(means)

    def _mean_of_one(
        self, image: Image.Image, prompt: str, size: tuple[int, int], num_frames: int
    ) -> torch.Tensor:
        # The method calls the pipeline three times on one painting: remember its last means.
        image = image.convert("RGB")
        key = hashlib.blake2b(image.tobytes(), digest_size=16)
        key.update(repr((image.size, prompt, size, num_frames)).encode())
        mean = self._means.pop(key.digest(), None)
        if mean is None:
            if image.size != size:
                image = image.resize(size, Image.Resampling.LANCZOS)
            frames = move_painting(np.asarray(image), prompt, num_frames)
            pixels = torch.from_numpy(frames).permute(3, 0, 1, 2)[None]
            mean = self.vae.encode(pixels / 127.5 - 1.0).latent_dist.mode()
        self._means[key.digest()] = mean
        while len(self._means) > 1 and (
            sum(kept.nbytes for kept in self._means.values()) > MU_CACHE_BYTES
        ):
            self._means.popitem(last=False)
        return mean


def build_preview(tau: float = 0.004) -> PreviewPipeline:
    """Return the preview model; ``tau`` is the latents' spread in units of the [-1, 1] range."""
    scheduler = LeanDDIMScheduler(
        **BETAS, prediction_type="epsilon", clip_sample=False, timestep_spacing="trailing"
    )
    pipeline = PreviewPipeline(
        denoiser=GaussianDenoiser(tau=tau), scheduler=scheduler, vae=PatchCodec()
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
