"""What the neural proxy makers share: checking what goes in and what comes out."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import torch
from diffusers.image_processor import VaeImageProcessor
from numpy.typing import NDArray
from PIL import Image

from epa_core.errors import ItemError
from epa_core.media.images import fit
from epa_core.text import cut_off
from epa_core.weights import quiet

Array = NDArray[np.float32]


class NeuralProxy(ABC):
    """Draws proxies with an image pipeline of diffusers.

    Every painting has a generator of its own on the CPU, so its draws depend neither on the device
    nor on the other paintings of a call. ``settings`` are arguments of the pipeline's call.
    """

    def __init__(self, pipeline: Any, tokenizer: Any, settings: Mapping[str, Any]):
        self.pipeline = pipeline
        self.tokenizer = tokenizer
        self.settings = dict(settings)
        pipeline.vae.enable_slicing()  # the VAE is the peak of memory, and gains nothing by batches

    def configured(self, settings: Mapping[str, Any]) -> Self:
        """Return a maker of the same weights with other settings (whole, as ``proxy_settings``)."""
        other = copy.copy(self)
        other.settings = dict(settings)
        return other

    def make(
        self, images: list[Image.Image], prompts: list[str], seeds: list[int]
    ) -> list[Image.Image]:
        """Return one RGB proxy per painting, of the same size; the paintings are all of one size.

        A side that the pipeline rounds down is enlarged back (Lanczos). ValueError for paintings
        of different sizes; ItemError ``numeric`` for output that is no picture.
        """
        if not images:
            return []
        drawn = VaeImageProcessor.numpy_to_pil(self.draw(images, prompts, seeds))
        return [fit(proxy, images[0].size) for proxy in drawn]

    @torch.no_grad()
    def draw(
        self, images: Sequence[Image.Image], prompts: Sequence[str], seeds: Sequence[int]
    ) -> Array:
        """Return what the pipeline draws, float32 [N, h, w, 3] in 0..1.

        h and w are the paintings' sides (px) rounded down to whole latents. Errors as of ``make``.
        """
        if not len(images) == len(prompts) == len(seeds):
            raise ValueError(
                f"Every painting needs a prompt and a seed: got {len(images)} paintings, "
                f"{len(prompts)} prompts, {len(seeds)} seeds."
            )
        generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
        with quiet():  # it would print the whole of a long prompt; `cut_off` tells what was cut
            drawn = self._sample(self._paintings(images), list(prompts), generators)
        _check_picture(drawn)
        return drawn

    def cut_off(self, prompt: str) -> str:
        """Return the tail of ``prompt`` beyond what the text encoder reads; "" if it reads all."""
        return cut_off(self.tokenizer, prompt)

    def _call(self, prompts: list[str], **arguments: Any) -> Any:
        """Images of the pipeline's call under the maker's settings."""
        settings = dict(self.settings)
        negative = [settings.pop("negative_prompt")] * len(prompts)  # one text fits no batch
        return self.pipeline(
            prompt=prompts, negative_prompt=negative, **arguments, **settings
        ).images

    @abstractmethod
    def _sample(
        self, images: list[Image.Image], prompts: list[str], generators: list[torch.Generator]
    ) -> Array:
        """Run the pipeline on RGB paintings of one size; float32 [N, h, w, 3] in 0..1."""

    def _paintings(self, images: Sequence[Image.Image]) -> list[Image.Image]:
        """RGB copies: pipelines would take four channels for latents, and stretch other sizes."""
        sizes = sorted({image.size for image in images})
        if len(sizes) > 1:
            listed = ", ".join(f"{width}x{height}" for width, height in sizes)
            raise ValueError(f"The paintings of one call must be of one size, got {listed}.")
        (width, height), least = sizes[0], self.pipeline.vae_scale_factor
        if min(width, height) < least:
            raise ItemError(
                "too_small",
                f"The painting has {width} x {height} pixels; each side needs {least}.",
                stage="proxy",
            )
        return [image.convert("RGB") for image in images]


def _check_picture(drawn: Array) -> None:
    """Half precision overflows to NaN, which becomes a black picture without a word."""
    for picture in drawn:
        if not np.isfinite(picture).all():
            raise ItemError("numeric", "the proxy holds values that are no numbers", stage="proxy")
        if picture.max() == 0:
            raise ItemError("numeric", "the proxy is black all over", stage="proxy")
