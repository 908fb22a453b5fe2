"""The exact denoiser of data N(mu, tau^2), planted in a real pipeline in place of its network.

It answers in the family's own output (epsilon, v, flow velocity) from nothing but what the network
receives, so VSDS through the pipeline has a closed-form result only if all of input scaling,
guidance, layouts, parameterisation and w(t) are right.
"""

import math
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from epa_core.distill import VSDSScheduler
from epa_core.noise_levels import NoiseLevel, levels, prediction_type

MU, TAU = 0.7, 0.4

# Axis and number of the channels that hold the noised sample, before the condition's.
_SAMPLE_CHANNELS = {
    "svd": (2, 4),
    "cogvideox": (2, 4),
    "wan21": (1, 16),
    "wan22": (1, 16),
    "pia": (1, 4),
}


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


def plant(name: str, pipeline: Any) -> None:
    """Replace the denoiser(s) of the tiny pipeline ``name``, told the noise by its timestep."""

    def forward(*args: Any, **kwargs: Any) -> Any:
        x = kwargs.get("hidden_states", args[0] if args else None)
        t = kwargs.get("timestep", args[1] if len(args) > 1 else None)
        a, s = _level(name, pipeline, float(torch.as_tensor(t).max()))
        if name == "cinemo":  # told the residual to an image, and that image
            x = x + a * kwargs["base_content"]
            return (exact_output("epsilon", x, a, s),)
        if name in _SAMPLE_CHANNELS:
            x = x.narrow(_SAMPLE_CHANNELS[name][0], 0, _SAMPLE_CHANNELS[name][1])
        if name == "svd":
            x = x * math.hypot(1, s)  # Euler schedulers feed x / sqrt(1 + sigma^2)
        if name in ("svd", "cogvideox", "i2vgenxl"):
            return (exact_output("v_prediction", x, a, s),)
        if name in ("sparsectrl", "pia"):
            return SimpleNamespace(sample=exact_output("epsilon", x, a, s))
        return (exact_output("flow", x, a, s),)

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


def _level(name: str, pipeline: Any, t: float) -> tuple[float, float]:
    scheduler = pipeline.scheduler
    if name == "svd":
        return 1.0, math.exp(4 * t)
    if name in ("cogvideox", "i2vgenxl", "sparsectrl", "pia", "cinemo"):
        alpha_bar = float(scheduler.alphas_cumprod[int(t)])
        return math.sqrt(alpha_bar), math.sqrt(1 - alpha_bar)
    if name.startswith("wan") and isinstance(scheduler, VSDSScheduler):
        # UniPC rounds the timesteps it tells the network; its sigmas are exact.
        t = 1000 * float(scheduler.sigmas[scheduler.epa_run.done])
    return 1 - t / 1000, t / 1000
