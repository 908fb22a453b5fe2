"""A recorded run of the released Cinemo code, and the same run through our interface."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pytest
import torch
from golden_case import GoldenCase
from PIL import Image
from torch import Tensor

from epa_core.awakening import (
    CallSettings,
    EPASettings,
    animate_latents,
    decode_latents,
    distill_latents,
    proxy_extras,
    static_latents,
)
from epa_core.cards import load_model
from epa_core.distill import VSDSState
from epa_core.families import Family, family_of
from epa_core.models import cinemo as pipelines
from epa_core.models import cinemo_inputs as inputs
from epa_core.models.cinemo_checkpoint import load_cinemo
from epa_core.runner import Runner

PathName = Literal["real", "proxy"]
PATHS: Sequence[PathName] = ("real", "proxy")
RECORDED_IMAGE = {"real": "painting", "proxy": "proxy"}
RECORDED_LATENT = {"real": "image.x_r", "proxy": "image.x_s"}

#: Our names of the recorded ablations, and of the readings that were not chosen.
VARIANTS = {"epa": "V+S", "epa_slerp_only": "S", "epa_vsds_only": "V", "epa_uniform": "V+U"}
READINGS = {
    "epa_alt_L_incl_frame0": "all-frames",
    "epa_alt_residual_slerp": "residual",
    "epa_alt_naive": "doubled",
    "epa_alt_proxy_cond_real": "painting-base",
}


class CinemoCase(GoldenCase):
    """Everything a check needs, computed once."""

    kept = ("tensors", "pipeline")

    @cached_property
    def pipeline(self) -> Any:
        return load_model("cinemo", source=str(self.folder / "checkpoint"), dtype="float32")

    @cached_property
    def plain(self) -> Any:
        """The same with the plain VAE, which decodes frames singly."""
        pipeline = load_cinemo(self.folder / "checkpoint", temporal_decoder=False)
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    @cached_property
    def family(self) -> Family:
        return family_of(self.pipeline)

    def call(self, reading: str = "absolute") -> CallSettings:
        facts = self.facts
        options = {
            "motion_bucket_id": facts["motion_bucket_id"],
            "negative_prompt": facts["negative_prompt"],
            "image_latent": "sample",
            "decode_chunk_size": facts["decode_chunk_size"],
            "dct_percentage": facts["dct"]["percentage"],
            "dct_timestep": facts["dct"]["timestep"],
            "epa_reading": reading,
        }
        height, width = facts["image_size"]
        frames, scale = facts["output_frames"], facts["guidance_scale"]
        return CallSettings(height, width, frames, scale, options)

    @property
    def size(self) -> tuple[int, int]:
        height, width = self.facts["image_size"]
        return width, height

    def settings(self, variant: str = "V+S") -> EPASettings:
        """On the model's own first timesteps, denoised from the first one on."""
        alpha_bar = float(self.tensors["scheduler.alphas_cumprod"][self.facts["epa"]["t0"]])
        return EPASettings(
            variant=variant,  # type: ignore[arg-type] # one of them
            num_inference_steps=self.facts["num_inference_steps"],
            p=self.facts["epa"]["p"],
            levels="native",
            kappa0=math.sqrt((1 - alpha_bar) / alpha_bar),
        )

    @cached_property
    def images(self) -> dict[PathName, Image.Image]:
        """The image files; the proxy is brought to the painting's own size."""
        real, proxy = (
            Image.open(self.file(name)).convert("RGB") for name in ("painting.png", "proxy.png")
        )
        return {"real": real, "proxy": proxy.resize(real.size)}

    def file(self, name: str) -> Any:
        path = self.folder / name
        assert path.is_file(), f"{path} is missing"
        return path

    @contextmanager
    def recorded_noise(self, start: str = "dct.noise") -> Iterator[None]:
        """Every draw of the block is the recorded one: it came from the released code's stream."""

        def of_image(image: Image.Image, shape: torch.Size) -> Tensor:
            (path,) = (path for path in PATHS if self.images[path].tobytes() == image.tobytes())
            noise: Tensor = self.tensors[f"image.{RECORDED_IMAGE[path]}_encode_noise"]
            assert noise.shape == shape, f"noise of shape {tuple(noise.shape)} for {tuple(shape)}"
            return noise

        def renoise(runner: Runner, clips: Tensor, seeds: Any) -> Tensor:
            return self.tensors["epa.renoise"].clone()

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(inputs, "posterior_noise", of_image)
            patch.setattr(pipelines, "drawn", lambda *_: self.tensors[start].clone())
            patch.setattr(Runner, "renoising_noise", renoise)
            yield

    def static(self, reading: str = "absolute") -> dict[PathName, Tensor]:
        """The clips before any distillation, by path."""
        with self.recorded_noise():
            images = [self.images[path] for path in PATHS]
            clips = static_latents(self.pipeline, images, self.call(reading))
        return dict(zip(PATHS, clips, strict=True))

    def distill(self, path: PathName, reading: str = "absolute") -> tuple[list[Tensor], Tensor]:
        """z after each update [1, 4, L - 1, h, w], and the refined clip [4, L, h, w]."""
        states: list[Tensor] = []
        still = self.static(reading)[path][None]
        start = VSDSState(
            self.family.to_step(still).contiguous(), self.tensors[f"epa.noise_{path}"]
        )
        painting, call = [self.images["real"]], self.call(reading)
        extras = proxy_extras(self.pipeline, painting, (), call) if path == "proxy" else None
        with self.recorded_noise():
            (clip,) = distill_latents(
                self.pipeline,
                [self.images[path]],
                [self.facts["prompt"]],
                [0],
                self.settings(),
                call,
                extras=extras,
                resume={0: start},
                on_update=lambda _, state: states.append(state.z.clone()),
            )
        return states, clip

    @cached_property
    def refined(self) -> dict[PathName, Tensor]:
        return {path: self.distill(path)[1] for path in PATHS}

    def final(
        self, variant: str, clips: dict[PathName, Tensor], reading: str = "absolute"
    ) -> Tensor:
        """Final latents [4, L, h, w], the painting's own frame first."""
        with self.recorded_noise():
            (final,) = animate_latents(
                self.pipeline,
                [self.images["real"]],
                [self.facts["prompt"]],
                [0],
                [clips["real"]],
                [clips["proxy"]],
                self.settings(variant),
                self.call(reading),
            )
        return final

    def sampled(self, **given: Any) -> tuple[list[Tensor], Tensor]:
        """The pipeline's own call: z after each step, and the clean latents [1, 4, L, h, w]."""
        states: list[Tensor] = []

        def keep(_: Any, step: int, t: Any, tensors: dict[str, Tensor]) -> dict[str, Any]:
            states.append(tensors["latents"].clone())
            return {}

        call = self.call()
        with self.recorded_noise():
            latents = self.pipeline(
                self.images["real"],
                self.facts["prompt"],
                height=call.height,
                width=call.width,
                num_frames=call.num_frames,
                num_inference_steps=self.facts["num_inference_steps"],
                guidance_scale=call.guidance_scale,
                callback_on_step_end=keep,
                output_type="latent",
                **{**call.options, **given},
            ).frames
        return states, latents

    def decode(self, latents: Tensor, pipeline: Any = None) -> "np.ndarray[Any, Any]":
        """Frames of clean latents [4, L, h, w]."""
        return decode_latents(pipeline or self.pipeline, [latents], self.call())[0]

    def clean(self, residual: str) -> Tensor:
        """Recorded final residuals [1, 4, L - 1, h, w] of the painting as clean latents."""
        x = self.tensors["image.x_r"]
        return torch.cat([x, x + self.tensors[residual]], dim=2)[0]
