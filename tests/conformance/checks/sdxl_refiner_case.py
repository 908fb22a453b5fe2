"""A recorded run of the SDXL refiner's image-to-image pipeline, and the same run of our maker."""

import inspect
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from diffusers import StableDiffusionXLImg2ImgPipeline
from golden_case import GoldenCase, Recorded
from PIL import Image
from torch import Tensor
from watching import Call, watching

from epa_core.cards import load_proxy, proxy_card


@dataclass
class Drawn:
    """One call of the maker: what its parts were given and answered, and the pictures."""

    pictures: Tensor
    parts: dict[str, list[Call]]
    latents: list[Tensor]
    sigmas: Tensor


@dataclass
class RefinerCase(GoldenCase):
    """One entry of ``cases`` in a case.json; its tensors are those under its name."""

    checkpoint: str = field(kw_only=True)

    kept = ("tensors", "maker")

    @property
    def name(self) -> str:
        return f"{super().name}/{self.facts['name']}"

    @cached_property
    def tensors(self) -> Recorded:
        whole, prefix = super().tensors, f"{self.facts['name']}/"
        own = {name.removeprefix(prefix): whole[name] for name in whole if name.startswith(prefix)}
        return Recorded(own, f"{self.folder / 'tensors.safetensors'} under {prefix}")

    @cached_property
    def settings(self) -> dict[str, Any]:
        """Arguments of the pipeline's call: its own defaults where the record says nothing."""
        parameters = inspect.signature(StableDiffusionXLImg2ImgPipeline.__call__).parameters
        defaults = {name: parameters[name].default for name in proxy_card("sdxl-refiner").defaults}
        return defaults | dict(self.facts["call"])

    @property
    def guided(self) -> bool:
        return bool(self.settings["guidance_scale"] > 1)

    @cached_property
    def paintings(self) -> list[Image.Image]:
        pictures = [Image.fromarray(pixels.numpy()) for pixels in self.tensors["painting_u8"]]
        height, width = self.facts["painting_size_hw"]
        assert {p.size for p in pictures} == {(width, height)}, "painting_u8 has another size"
        return pictures

    @cached_property
    def maker(self) -> Any:
        """Our maker; it serves every painting of a call with one negative prompt."""
        negative = set(self.facts["negative_prompts"] or [""])
        assert len(negative) == 1, f"one call with several negative prompts: {sorted(negative)}"
        return load_proxy(
            "sdxl-refiner",
            source=str(self.folder / self.checkpoint),
            dtype="float32",
            settings=self.settings | {"negative_prompt": negative.pop()},
        )

    @cached_property
    def drawn(self) -> Drawn:
        """All paintings in one call."""
        pipeline, latents = self.maker.pipeline, []

        def keep(_: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            latents.append(tensors["latents"].clone())
            return {}

        modules = {
            "text_encoder": pipeline.text_encoder_2,
            "vae_encoder": pipeline.vae.encoder,
            "vae_moments": pipeline.vae.quant_conv or pipeline.vae.encoder,
            "unet": pipeline.unet,
            "vae_decoder": pipeline.vae.decoder,
        }
        own = self.maker.settings
        self.maker.settings = own | {"callback_on_step_end": keep}
        try:
            with ExitStack() as stack:
                parts = {
                    name: stack.enter_context(watching(module)) for name, module in modules.items()
                }
                pictures = self.draw(range(len(self.paintings)))
        finally:
            self.maker.settings = own
        return Drawn(pictures, parts, latents, pipeline.scheduler.sigmas.cpu())

    def draw(self, indices: "range | list[int]") -> Tensor:
        """Some of the paintings in one call, [N, H, W, 3] in 0..1."""
        pictures = self.maker.draw(*self.of(indices))
        return torch.from_numpy(np.asarray(pictures))

    def of(self, indices: "range | list[int]") -> tuple[list[Image.Image], list[str], list[int]]:
        """Paintings, prompts and seeds of some."""
        facts = self.facts
        return (
            [self.paintings[index] for index in indices],
            [facts["prompts"][index] for index in indices],
            [facts["seeds"][index] for index in indices],
        )
