"""A recorded run of the released ConsistI2V code, and the same run through our interface."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from typing import Any, Literal

import torch
from golden_case import GoldenCase
from PIL import Image
from torch import Tensor

from epa_core.awakening import (
    CallSettings,
    Draw,
    EPASettings,
    animate_latents,
    decode_latents,
    distill_latents,
)
from epa_core.cards import load_model
from epa_core.distill import VSDSState
from epa_core.families import Family, family_of
from epa_core.runner import Batch, Runner, runner_of

PathName = Literal["real", "proxy"]


class _Enough(Exception):
    """Ends a call after the step that was asked for."""


class ConsistI2VCase(GoldenCase):
    """Everything a check needs, computed once."""

    kept = ("tensors", "pipeline")

    @cached_property
    def pipeline(self) -> Any:
        return load_model("consisti2v", source=str(self.folder / "checkpoint"), dtype="float32")

    @cached_property
    def family(self) -> Family:
        return family_of(self.pipeline)

    @property
    def scalars(self) -> Mapping[str, Any]:
        return self.facts["scalars"]

    @cached_property
    def images(self) -> dict[PathName, Image.Image]:
        """The files; the proxy is stretched to the painting's own size, as in the paper's code."""
        real, proxy = (Image.open(self.file(name)) for name in ("image.png", "proxy.png"))
        proxy = proxy.convert("RGB").resize(real.size, Image.Resampling.BICUBIC)
        return {"real": real.convert("RGB"), "proxy": proxy}

    def file(self, name: str) -> Any:
        path = self.folder / name
        assert path.is_file(), f"{path} is missing"
        return path

    @cached_property
    def options(self) -> dict[str, Any]:
        """Arguments of the default call, but for size and frames."""
        facts, start = self.facts, self.facts["frameinit"]
        return {
            "negative_prompt": facts["negative_prompt"],
            "image_guidance_scale": facts["guidance_scale_img"],
            "guidance_rescale": facts["guidance_rescale"],
            "frame_stride": facts["frame_stride"],
            "eta": facts["ddim_eta"],
            "noise": facts["noise_sampling_method"],
            "noise_alpha": facts["noise_alpha"],
            "frame_init_timestep": start["noise_level"],
            "frame_init_filter": start["method"],
            "frame_init_spatial": start["d_s"],
            "frame_init_temporal": start["d_t"],
        }

    def call(self, **options: Any) -> CallSettings:
        facts = self.facts
        return CallSettings(
            facts["height"],
            facts["width"],
            facts["n_frames"],
            facts["guidance_scale_txt"],
            {**self.options, **options},
        )

    def animate(
        self, *, seed: int | None = None, stop_after: int | None = None, **options: Any
    ) -> list[Tensor]:
        """The pipeline's own call: latents after each step, and then the whole clip.

        ``stop_after`` says how many steps to make; then there is no clip.
        """
        states: list[Tensor] = []

        def keep(_: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            states.append(tensors["latents"].clone())
            if len(states) == stop_after:
                raise _Enough
            return {}

        facts = self.facts
        given: dict[str, Any] = {
            "height": facts["height"],
            "width": facts["width"],
            "num_frames": facts["n_frames"],
            "num_inference_steps": facts["num_inference_steps"],
            "guidance_scale": facts["guidance_scale_txt"],
            "generator": torch.Generator().manual_seed(facts["seed"] if seed is None else seed),
            "callback_on_step_end": keep,
            "output_type": "latent",
        }
        with suppress(_Enough):
            output = self.pipeline(
                self.images["real"], facts["prompt"], **{**given, **self.options, **options}
            )
            states.append(output.frames)
        return states

    @cached_property
    def drawn(self) -> list[Tensor]:
        """The default run, all of it from the seed."""
        return self.animate(sample_posterior=True)

    def first_frame(self, path: PathName) -> Tensor:
        """The recorded clean latent of a path's picture [1, C, 1, h, w]."""
        name = {"real": "vae.first_frame_latents", "proxy": "proxy.latents"}[path]
        return self.tensors[name].unsqueeze(2)

    def settings(self, **more: Any) -> EPASettings:
        epa = self.facts["epa"]
        steps = epa["num_inference_steps"]
        return EPASettings(num_inference_steps=steps, p=epa["p"], **more)

    def path_call(self, path: PathName, **options: Any) -> CallSettings:
        """The call of a path, on its own picture."""
        guidance = self.facts["epa"]["guidance_scale_txt"]
        call = self.call(first_frame_latents=self.first_frame(path), **options)
        return replace(call, guidance_scale=guidance)

    def runner(self) -> Runner:
        steps = self.facts["epa"]["num_inference_steps"]
        return runner_of(self.pipeline, self.path_call("real"), steps)

    def batch(self, path: PathName = "real") -> Batch:
        draw = Draw(self.facts["epa"]["seeds"][path], 0)
        return Batch([self.images[path]], [self.facts["prompt"]], [draw])

    def distill(
        self, path: PathName, *, resume: VSDSState | None = None, updates: int | None = None
    ) -> list[Tensor]:
        """z after each update [1, C, F - 1, h, w]; at most ``updates`` of them."""
        states: list[Tensor] = []

        def keep(_: int, state: VSDSState) -> None:
            states.append(state.z.clone())
            if len(states) == updates:
                raise _Enough

        batch = self.batch(path)
        with suppress(_Enough):
            distill_latents(
                self.pipeline,
                batch.images,
                batch.prompts,
                batch.seeds,
                self.settings(),
                self.path_call(path),
                resume=None if resume is None else {0: resume},
                on_update=keep,
            )
        return states

    def refined(self, path: PathName) -> Tensor:
        """The recorded refined clip [C, F, h, w] of a path, its clean first frame in front."""
        rest = self.tensors[f"epa.{path}.vsds_out"]
        return torch.cat([self.first_frame(path), rest], dim=2)[0]

    def awakened(self, real: Tensor, proxy: Tensor, **settings: Any) -> Tensor:
        """Final latents [1, C, F, h, w] from the refined clips."""
        [latents] = animate_latents(
            self.pipeline,
            [self.images["real"]],
            [self.facts["prompt"]],
            [Draw(self.facts["epa"]["seeds"]["renoise"], 0)],
            [real],
            [proxy],
            self.settings(**settings),
            self.path_call("real"),
        )
        return latents[None]

    def frames(self, latents: Tensor) -> Tensor:
        """uint8 frames [1, 3, F, H, W] of latents [1, C, F, h, w]."""
        [frames] = decode_latents(self.pipeline, list(latents), self.call())
        return torch.from_numpy(frames).permute(3, 0, 1, 2)[None]
