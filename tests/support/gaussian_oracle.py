"""The exact denoiser of data N(mu, tau^2), planted in a real pipeline in place of its network.

It answers in the family's own output (epsilon, v, flow velocity) from nothing but what the network
receives, so VSDS through the pipeline has a closed-form result only if all of input scaling,
guidance, layouts, parameterisation and w(t) are right.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Literal

import torch
from diffusers import UniPCMultistepScheduler
from torch import Tensor

from epa_core.distill import VSDSScheduler
from epa_core.noise_levels import NoiseLevel, levels, prediction_type

MU, TAU = 0.7, 0.4

Output = Literal["epsilon", "v_prediction", "flow"]


@dataclass(frozen=True)
class Oracle:
    """What a network is given and has to answer.

    ``channels``: axis and number of those that hold the noised sample, before the condition's
    (None: all). ``told``: whether its timestep says the level by alpha_bar, sigma / 1000 or EDM's
    log sigma / 4. ``answer``: a tuple, an output with a ``sample``, or a tuple with sound.
    ``residual``: whether it is given the difference to an image, and that image beside it.
    """

    output: Output
    channels: tuple[int, int] | None = None
    told: Literal["usual", "edm"] = "usual"
    answer: Literal["tuple", "sample", "sound"] = "tuple"
    residual: bool = False


def posterior_mean(
    x: Tensor, a: float, s: float, mu: Tensor | float = MU, tau: float = TAU
) -> Tensor:
    """E[z | a z + s eps = x]."""
    return mu + a * tau**2 / (a**2 * tau**2 + s**2) * (x - a * mu)


def predicted(
    z: Tensor,
    eps: Tensor,
    schedule: Sequence[NoiseLevel],
    alphas: Sequence[float],
    mu: Tensor | float = MU,
    tau: float = TAU,
) -> Tensor:
    """What VSDS makes of ``z``: each goes g = alpha kappa / (1 + kappa^2) <= 1 of the way."""
    z, eps = z.double(), eps.double()
    for level, alpha in zip(schedule, alphas, strict=True):
        a, s = level.a, level.s
        g = min(1.0, alpha * a * s / (a**2 + s**2))
        z = z - g * (z - posterior_mean(a * z + s * eps, a, s, mu, tau))
    return z


def plant(oracle: Oracle, pipeline: Any) -> None:
    """Replace the denoiser(s) of a tiny pipeline, told the noise by its timestep."""

    def forward(*args: Any, **kwargs: Any) -> Any:
        x = kwargs.get("hidden_states", args[0] if args else None)
        t = kwargs.get("timestep", args[1] if len(args) > 1 else None)
        a, s = _level(oracle, pipeline, float(torch.as_tensor(t).max()))
        if oracle.residual:
            x = x + a * kwargs["base_content"]
        if oracle.channels is not None:
            axis, count = oracle.channels
            x = x.narrow(axis, 0, count)
        if oracle.told == "edm":
            x = x * math.hypot(1, s)  # Euler schedulers feed x / sqrt(1 + sigma^2)
        answer = exact_output(oracle.output, x, a, s)
        if oracle.answer == "sample":
            return SimpleNamespace(sample=answer)
        sound = kwargs.get("audio_hidden_states")
        return (answer, torch.zeros_like(sound)) if oracle.answer == "sound" else (answer,)

    for attribute in ("transformer", "transformer_2", "unet"):
        network = getattr(pipeline, attribute, None)
        if network is not None:
            network.forward = forward


def plant_for_any_scheduler(pipeline: Any) -> None:
    """Replace the UNet of an I2VGen-XL pipeline, told the noise by the scheduler's position."""

    def forward(x: Tensor, t: Tensor, **kwargs: Any) -> tuple[Tensor]:
        scheduler = pipeline.scheduler
        level = levels(scheduler)[scheduler.epa_run.done]
        kind = prediction_type(scheduler)
        if level.a == 1 and kind != "flow":
            x = x * math.hypot(1, level.s)
        return (exact_output(kind, x, level.a, level.s),)

    pipeline.unet.forward = forward


def exact_output(kind: str, x: Tensor, a: float, s: float) -> Tensor:
    """The ideal network's answer at the noised sample ``x``."""
    x = x.double()
    z = posterior_mean(x, a, s)
    eps = x / s - a / s * z
    answers = {
        "epsilon": eps,
        "v_prediction": (a * eps - s * z) / math.hypot(a, s),
        "flow": eps - z,
        "sample": z,
    }
    return answers[kind].float()


def _level(oracle: Oracle, pipeline: Any, t: float) -> tuple[float, float]:
    scheduler = pipeline.scheduler
    if oracle.told == "edm":
        return 1.0, math.exp(4 * t)
    if oracle.output != "flow":
        alpha_bar = float(scheduler.alphas_cumprod[int(t)])
        return math.sqrt(alpha_bar), math.sqrt(1 - alpha_bar)
    if isinstance(scheduler, VSDSScheduler) and isinstance(scheduler, UniPCMultistepScheduler):
        # It rounds the timesteps it tells the network; its sigmas are exact.
        t = 1000 * float(scheduler.sigmas[scheduler.epa_run.done])
    return 1 - t / 1000, t / 1000
