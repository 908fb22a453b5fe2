"""A recorded run of the released AnimateAnything code, and the same run through our interface."""

from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from golden_case import GoldenCase
from PIL import Image
from torch import Tensor
from watching import Call, watching

from epa_core.awakening import (
    CallSettings,
    Draw,
    EPASettings,
    animate_latents,
    awaken,
    decode_latents,
    distill_latents,
    static_latents,
)
from epa_core.cards import load_model
from epa_core.distill import VSDSState
from epa_core.families import Family, family_of
from epa_core.media.images import fit
from epa_core.runner import Batch, Runner, runner_of

PathName = Literal["real", "proxy"]

#: Our names of the variants; a suffix of the recorded name says how the fusion was computed.
VARIANTS = {"baseline": "baseline", "V": "V", "S": "S", "VU": "V+U", "VS": "V+S"}


class _Enough(Exception):
    """Ends a distillation after the update that was asked for."""


@dataclass
class Awakened:
    """What one call of ``awaken`` gave: latents after each step of its denoising, and frames."""

    states: list[Tensor]
    frames: np.ndarray[Any, Any]


class AnimateAnythingCase(GoldenCase):
    """Everything a check needs, computed once."""

    kept = ("tensors", "pipeline")

    @cached_property
    def pipeline(self) -> Any:
        return load_model(
            "animate-anything", source=str(self.folder / "checkpoint"), dtype="float32"
        )

    @cached_property
    def family(self) -> Family:
        return family_of(self.pipeline)

    @cached_property
    def call(self) -> CallSettings:
        facts = self.facts
        return CallSettings(
            facts["output_height"],
            facts["output_width"],
            facts["num_frames"],
            facts["guidance_scale"],
            self.own_arguments,
        )

    @property
    def own_arguments(self) -> dict[str, Any]:
        """What may differ from painting to painting."""
        facts = self.facts
        return {
            "motion_strength": float(facts["motion_strength"]),
            "negative_prompt": facts["negative_prompt"],
        }

    def settings(self, recorded: str = "VS_fp64") -> EPASettings:
        """The settings of a variant, named as in case.json."""
        name, _, how = recorded.partition("_")
        assert name in VARIANTS, f"case.json names an unknown variant: {recorded}"
        return EPASettings(
            variant=VARIANTS[name],  # type: ignore[arg-type] # one of them
            num_inference_steps=self.facts["num_inference_steps_T"],
            p=self.facts["p"],
            half_slerp=how == "half",
        )

    @cached_property
    def sources(self) -> dict[PathName, Image.Image]:
        """The image files as the released code reads them.

        Transparency is dropped, and the proxy is stretched to the painting's own size.
        """
        real, proxy = (
            Image.open(self.file(f"inputs/{name}.png")).convert("RGB") for name in ("real", "proxy")
        )
        return {"real": real, "proxy": proxy.resize(real.size, Image.Resampling.BICUBIC)}

    @cached_property
    def images(self) -> dict[PathName, Image.Image]:
        """Both at the size of the clip."""
        size = (self.call.width, self.call.height)
        return {name: fit(image, size) for name, image in self.sources.items()}

    def file(self, name: str) -> Any:
        path = self.folder / name
        assert path.is_file(), f"{path} is missing"
        return path

    def draw(self, noise: str) -> Draw:
        """The draw that a recorded noise is, by the order of draws in case.json."""
        order = [entry["tensor"] for entry in self.facts["random_draws_in_order"]]
        assert noise in order, f"case.json has no draw named {noise!r}"
        return Draw(self.facts["seed"], order.index(noise))

    def runner(self) -> Runner:
        return runner_of(self.pipeline, self.call, self.facts["num_inference_steps_T"])

    def batch(self, *paths: PathName) -> Batch:
        return Batch(
            [self.images[path] for path in paths],
            [self.facts["prompt"]] * len(paths),
            [self.draw(f"noise.vsds_{path}") for path in paths],
        )

    def distill(
        self,
        *paths: PathName,
        settings: EPASettings | None = None,
        resume: VSDSState | None = None,
        updates: int | None = None,
    ) -> list[Tensor]:
        """z after each update, [paths, C, L, h, w], from the image files; all in one call.

        ``resume`` is the state to start from, ``updates`` how many to make at most.
        """
        states: list[Tensor] = []

        def keep(_: int, state: VSDSState) -> None:
            states.append(state.z.clone())
            if len(states) == updates:
                raise _Enough

        batch = self.batch(*paths)
        # One painting's arguments as options of the call, several as each one's own.
        single = len(paths) == 1
        call = self.call if single else replace(self.call, options={})
        with suppress(_Enough):
            distill_latents(
                self.pipeline,
                batch.images,
                batch.prompts,
                batch.seeds,
                settings or self.settings(),
                call,
                extras=None if single else [self.own_arguments] * len(paths),
                resume=None if resume is None else {0: resume},
                on_update=keep,
            )
        return states

    @cached_property
    def distilled(self) -> dict[PathName, list[Tensor]]:
        """Each path in a call of its own."""
        return {"real": self.distill("real"), "proxy": self.distill("proxy")}

    @cached_property
    def static(self) -> dict[PathName, Tensor]:
        """Both pictures as clips [C, L, h, w] in which nothing moves."""
        paths: tuple[PathName, ...] = ("real", "proxy")
        images = [self.images[path] for path in paths]
        return dict(zip(paths, static_latents(self.pipeline, images, self.call), strict=True))

    def final_name(self, recorded: str) -> str:
        """The tensor that holds a variant's final latents."""
        name = f"variants.{recorded}.final_latents"
        return self.facts["aliases"].get(name, name)

    def final(self, recorded: str, real: Tensor | None, proxy: Tensor | None) -> Tensor:
        """Final latents [1, C, L, h, w] of a variant from the clips [C, L, h, w] of its paths."""
        noise = self.facts["variants_noise"][recorded]["renoise"]
        [latents] = animate_latents(
            self.pipeline,
            [self.images["real"]],
            [self.facts["prompt"]],
            [self.draw(noise)],
            None if real is None else [real],
            None if proxy is None else [proxy],
            self.settings(recorded),
            self.call,
        )
        return latents[None]

    @cached_property
    def awakened(self) -> Awakened:
        """The released code's run: half-precision fusion, one random stream, in one call."""
        states: list[Tensor] = []

        def keep(_: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            states.append(tensors["latents"].clone())
            return {}

        frames = awaken(
            self.pipeline,
            self.sources["real"],
            self.sources["proxy"],
            prompt=self.facts["prompt"],
            seed=self.facts["seed"],
            settings=replace(self.settings("VS_half"), one_stream=True),
            num_frames=self.call.num_frames,
            height=self.call.height,
            width=self.call.width,
            guidance_scale=self.call.guidance_scale,
            callback_on_step_end=keep,
            **self.own_arguments,
        )
        assert isinstance(frames, np.ndarray)
        return Awakened(states[-self.facts["num_inference_steps_T"] :], frames)

    @torch.no_grad()
    def video(self, latents: Tensor) -> Tensor:
        """Decoded video [1, 3, F, H, W] in [-1, 1] of latents [1, C, L, h, w]."""
        return self.family.decode(self.pipeline, latents, self.call).float()

    def decode(self, latents: Tensor) -> np.ndarray[Any, Any]:
        """uint8 frames [F, H, W, 3] of latents [1, C, L, h, w]."""
        [frames] = decode_latents(self.pipeline, list(latents), self.call)
        return frames

    @cached_property
    def first_call(self) -> tuple[list[Call], Call]:
        """The first update of the real path: calls of the text encoder, and the UNet's."""
        steps = self.facts["num_inference_steps_T"]
        settings = replace(self.settings(), p=0.5 / steps)
        with watching(self.pipeline.text_encoder) as texts, watching(self.pipeline.unet) as unet:
            states = self.distill("real", settings=settings)
        assert len(states) == len(unet) == 1, f"{len(unet)} UNet calls in {len(states)} updates"
        return texts, unet[0]
