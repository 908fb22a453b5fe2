"""ConsistI2V (arXiv 2402.04324): image-to-video that holds on to its first frame.

    symbol       meaning                                                  shape
    B, F         paintings of a call; frames of a clip, the painting's included
    h, w         size of a latent frame, an eighth of the painting's
    first        clean latent of the painting: frame 0, never denoised    [B, 4, 1, h, w]
    latents      frames 1 .. F-1, which are                               [B, 4, F - 1, h, w]

Latents are float32 outside the UNet, whatever it computes in.
"""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import rescale_noise_cfg
from PIL import Image
from torch import Tensor

from epa_core.media.images import fit
from epa_core.model_cards.paper_options import CONSISTI2V, Filter, FrameInit, Noise
from epa_core.models.call_inputs import Generators, clip_size, drawn, each, per_painting
from epa_core.models.consisti2v_inputs import clip_noise, low_pass, mix_low, prepared
from epa_core.models.text_and_frames import (
    ClipOutput,
    OneOrMany,
    StepCallback,
    TextAndFrames,
    by_text,
)


@dataclass(frozen=True)
class Start:
    """How the noise that a call begins with is made; fields are the call's arguments."""

    noise: Noise
    noise_alpha: float
    frame_init: FrameInit
    frame_init_timestep: int
    frame_init_filter: Filter
    frame_init_spatial: float
    frame_init_temporal: float
    frame_init_order: int


class ConsistI2VPipeline(TextAndFrames):
    """Animate paintings: frame 0 is the painting itself, the others are denoised beside it.

    ``vae`` is an AutoencoderKL, ``unet`` a ConsistI2VUNet.
    """

    @torch.no_grad()
    def __call__(
        self,
        image: OneOrMany[Image.Image],
        prompt: OneOrMany[str] | None = None,
        negative_prompt: OneOrMany[str | None] | None = None,
        height: int | None = None,
        width: int | None = None,
        num_frames: int = 16,
        num_inference_steps: int = 50,
        guidance_scale: float = 7.5,
        image_guidance_scale: float = 1.0,
        guidance_rescale: float = 0.0,
        frame_stride: OneOrMany[int] = 3,
        eta: float = 0.0,
        noise: Noise = "pyoco_mixed",
        noise_alpha: float = 1.0,
        frame_init: FrameInit = "still",
        frame_init_timestep: int = 850,
        frame_init_filter: Filter = "gaussian",
        frame_init_spatial: float = 0.25,
        frame_init_temporal: float = 0.25,
        frame_init_order: int = 4,
        sample_posterior: bool = False,
        generator: Generators = None,
        latents: Tensor | None = None,
        first_frame_latents: Tensor | None = None,
        prompt_embeds: Tensor | None = None,
        negative_prompt_embeds: Tensor | None = None,
        output_type: str = "np",
        return_dict: bool = True,
        callback_on_step_end: StepCallback | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
    ) -> ClipOutput | tuple[Any]:
        """Return ``num_frames`` (at least 2) frames per painting, all of one size, frame 0 its own.

        Single values serve all paintings, lists give each its own. ``height`` and ``width`` in
        pixels, multiples of 8, default to the painting's aspect at 512x512 px.

        An ``image_guidance_scale`` above 1 makes guidance three-way (nothing, the image, image and
        text), where the part without the image sees its noisy frame 0; a ``guidance_scale`` of 1
        or less leaves the unconditional half out otherwise. ``guidance_rescale`` is for text alone.

        Without ``latents`` [B, 4, F - 1, h, w] the clip starts from ``noise`` ("pyoco_mixed":
        ``noise_alpha`` says how much of it all frames share) which, unless ``frame_init`` is "off",
        has the low frequencies of the standing painting at ``frame_init_timestep``; the limits of
        what is low are shares of the spectrum. "fused" is "still" here, and says to EPA that its
        fused clip is renoised in this way too. Given ``latents`` are multiplied by the scheduler's
        ``init_noise_sigma``.

        Each painting draws from its own generator: the posterior of the VAE if
        ``sample_posterior`` (else its mode is taken), then noise, as far as it is needed.
        ``first_frame_latents`` [B or 1, 4, 1, h, w], clean and scaled, and embeddings [B or 1,
        tokens, D] replace paintings and prompts. ValueError for what does not fit.
        ``callback_on_step_end(pipeline, step, timestep, {"latents": ...})`` may return other
        latents; ``interrupt`` set to True ends the steps.
        """
        given = locals()
        images = [image] if isinstance(image, Image.Image) else list(image)
        count = len(images)
        strides = each("frame_stride", frame_stride, count)
        for stride in strides:
            CONSISTI2V.check({**given, "frame_stride": stride, "negative_prompt": None})
        size = clip_size(images, height, width, self.vae_scale_factor)
        if height is None:  # the aspect is kept, so nothing need be cut away
            images = [fit(one.convert("RGB"), size) for one in images]
        self.check_call(num_frames, output_type, callback_on_step_end_tensor_inputs)
        generators = per_painting(generator, count)
        parts = 3 if image_guidance_scale > 1 else 2 if guidance_scale > 1 else 1
        self.scheduler.set_timesteps(num_inference_steps, device=self._execution_device)
        text = self.text_condition(
            prompt, negative_prompt, prompt_embeds, negative_prompt_embeds, count, parts
        )
        first = first_frame_latents
        if first is None:
            first = self.encode_images(images, size, generators if sample_posterior else None)
        first = self._fitting("first_frame_latents", first, count, 1, size)
        noisy = first  # of use to three-way guidance alone
        if latents is None or parts == 3:
            whole = self.initial_latents(first, num_frames, generators, self.start(given))
            noisy, own = whole[:, :, :1], whole[:, :, 1:]
            latents = own if latents is None else latents
        latents = self._fitting("latents", latents, count, num_frames - 1, size)
        latents = latents * self.scheduler.init_noise_sigma
        seen = [noisy if parts == 3 else first, first, first][:parts]
        stride = torch.tensor(strides, dtype=torch.float32).repeat(parts)
        conditions = {
            "encoder_hidden_states": text,
            "first_frame_latents": torch.cat(seen).to(self.unet.dtype),
            "frame_stride": stride.to(first.device),
        }
        scales = (guidance_scale, image_guidance_scale, guidance_rescale)

        def predict(step: int, t: Tensor, z: Tensor) -> Tensor:
            return guided(self.predictions(z, t, conditions, "first_frame_latents"), *scales)

        latents, _ = self.denoised(
            latents, predict, generator, callback_on_step_end,
            callback_on_step_end_tensor_inputs, eta=eta,
        )  # fmt: skip
        return self.finished(torch.cat([first, latents], dim=2), output_type, return_dict)

    @torch.no_grad()
    def encode_images(
        self,
        images: Sequence[Image.Image],
        size: tuple[int, int],
        generators: Sequence[torch.Generator | None] | None = None,
    ) -> Tensor:
        """Clean, scaled latents [B, 4, 1, h, w], float32, of paintings at ``size`` (width, height).

        The mode of the posterior, or with ``generators`` a sample of it, each painting by itself.
        """
        device, dtype = self._execution_device, self.vae.dtype
        encoded = []
        for index, image in enumerate(images):
            pixels = prepared(image, size[1], size[0]).to(device, dtype)
            posterior = self.vae.encode(pixels).latent_dist
            latent = posterior.mode().float()
            if generators is not None:
                noise = drawn(latent.shape[1:], [generators[index]]).to(device)
                latent = latent + posterior.std.float() * noise
            encoded.append(latent * self.vae.config.scaling_factor)
        return torch.cat(encoded).unsqueeze(2)

    def start(self, options: Mapping[str, Any]) -> Start:
        """What a call's arguments, and its defaults for others, say of its start."""
        defaults = inspect.signature(type(self).__call__).parameters
        names = Start.__dataclass_fields__
        return Start(**{name: options.get(name, defaults[name].default) for name in names})

    def initial_latents(
        self,
        first: Tensor,
        num_frames: int,
        generators: Sequence[torch.Generator | None],
        start: Start,
    ) -> Tensor:
        """What clips [B, 4, F, h, w] are denoised from, frame 0 included, one draw a painting."""
        shape = (first.shape[1], num_frames, *first.shape[3:])
        draws = [clip_noise(start.noise, start.noise_alpha, shape, one) for one in generators]
        noise = torch.cat(draws).to(first.device)
        if start.frame_init == "off":
            return noise
        return self.frame_init(first.repeat(1, 1, num_frames, 1, 1), noise, start)

    def frame_init(self, video: Tensor, noise: Tensor, start: Start) -> Tensor:
        """``noise`` with the low frequencies of a clean ``video``, both [B, 4, F, h, w]."""
        low = low_pass(
            start.frame_init_filter,
            start.frame_init_order,
            start.frame_init_spatial,
            start.frame_init_temporal,
            *video.shape[2:],
        )
        level = self.scheduler.alphas_cumprod[start.frame_init_timestep]
        return mix_low(video, noise, level, low)

    def _fitting(
        self, name: str, given: Tensor, count: int, frames: int, size: tuple[int, int]
    ) -> Tensor:
        width, height = (side // self.vae_scale_factor for side in size)
        shape = (count, self.vae.config.latent_channels, frames, height, width)
        if given.shape[1:] != shape[1:] or len(given) not in (1, count):
            raise ValueError(f"{name} are {tuple(given.shape)}, not {shape}.")
        return given.to(self._execution_device, torch.float32).expand(shape)


def guided(
    predicted: Sequence[Tensor], text_scale: float, image_scale: float, rescale: float
) -> Tensor:
    """One prediction from [both], [nothing but the image, both] or [nothing, the image, both]."""
    if len(predicted) == 3:
        nothing, image, both = predicted
        return nothing + image_scale * (image - nothing) + text_scale * (both - image)
    mixed = by_text(predicted, text_scale)
    return rescale_noise_cfg(mixed, predicted[-1], rescale) if rescale else mixed
