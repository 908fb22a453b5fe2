"""The SDXL refiner as proxy maker: image-to-image, what the paper draws its proxies with.

The pipeline of diffusers does the sampling. The VAE is run here, around it: most of SDXL's
overflow in float16 (their config says ``force_upcast``), and the pipeline would cast them to
float32 and back in every call, with a log line each time, or decode in bfloat16 as they are. Here
such a VAE stays in float32, 0.17 GB more.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from epa_core import weights
from epa_core.errors import UnsupportedError
from epa_core.proxies.neural import Array, NeuralProxy


class SDXLRefinerProxy(NeuralProxy):
    """Redraws paintings with StableDiffusionXLImg2ImgPipeline; deterministic, as far as torch is.

    Two draws per painting and call, in this order: the VAE's posterior, the noise.
    """

    def __init__(self, pipeline: Any, settings: Mapping[str, Any]):
        super().__init__(pipeline, pipeline.tokenizer_2, settings)
        if pipeline.vae.config.force_upcast:
            pipeline.vae.float()

    def _sample(
        self, images: list[Image.Image], prompts: list[str], generators: list[torch.Generator]
    ) -> Array:
        encoded = self._encode(images, generators)
        latents = self._call(prompts, image=encoded, generator=generators, output_type="latent")
        return self._decode(latents)

    def _encode(self, images: list[Image.Image], generators: list[torch.Generator]) -> torch.Tensor:
        """Latents [N, 4, h/8, w/8], float32, scaled; the pipeline takes them for what they are."""
        vae = self.pipeline.vae
        pixels = self.pipeline.image_processor.preprocess(images).to(vae.device, vae.dtype)
        sampled = [
            vae.encode(pixels[i : i + 1]).latent_dist.sample(generator)
            for i, generator in enumerate(generators)
        ]
        return torch.cat(sampled).float() * vae.config.scaling_factor

    def _decode(self, latents: torch.Tensor) -> Array:
        vae = self.pipeline.vae
        pixels = vae.decode(latents.to(vae.dtype) / vae.config.scaling_factor).sample
        pictures = self.pipeline.image_processor.postprocess(pixels, output_type="np")
        return np.asarray(pictures, dtype=np.float32)


def load_sdxl_refiner(
    card: weights.Card,
    where: Path | str,
    revision: str | None,
    dtype: str,
    device: str,
    settings: Mapping[str, Any],
) -> SDXLRefinerProxy:
    """Return the maker on ``device``; ``where`` is a folder or a hub id, ``settings`` are whole.

    UnsupportedError for weights that cannot be had, or that are SDXL but not its refiner.
    """
    if isinstance(where, Path):
        _check_refiner(weights.model_index(where), where)  # before gigabytes are read
    # Marked proxies would put the mark into the video; it belongs on the finished files alone.
    pipeline = weights.from_pretrained("proxy", card, where, revision, dtype, add_watermarker=False)
    _check_refiner(pipeline.config, where)
    pipeline.set_progress_bar_config(disable=True)
    return SDXLRefinerProxy(weights.moved(pipeline, device), settings)


def _check_refiner(index: Mapping[str, Any], where: Path | str) -> None:
    """Refuse SDXL base: it has the same classes but takes no aesthetic scores."""
    if not index.get("requires_aesthetics_score") or (index.get("text_encoder") or [None])[0]:
        raise UnsupportedError(
            f"The weights at {where} are no SDXL refiner (text_encoder must be null and "
            "requires_aesthetics_score true in model_index.json); SDXL base looks like that."
        )
