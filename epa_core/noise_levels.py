"""Noise levels of any diffusers scheduler, in one language.

Every forward marginal is ``x_t = a z + s eps``; the same symbols are used throughout ``epa_core``:

====================  =================================  ==================
process               a, s                               stored sample
====================  =================================  ==================
VP (DDPM, DDIM, ...)  sqrt(alpha_bar), sqrt(1-alpha_bar)  x_t
EDM / VE (Euler)      1, sigma                           x_t
rectified flow        1 - sigma, sigma                   x_t
====================  =================================  ==================

``kappa = s / a`` is the noise-to-signal ratio, and ``w = s^2 / (a^2 + s^2)`` equals
``1 - alpha_bar`` of the variance-preserving process of the same kappa.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from epa_core.errors import UnsupportedError

if TYPE_CHECKING:
    from diffusers import SchedulerMixin

Prediction = Literal["epsilon", "v_prediction", "flow", "sample"]

PAPER_STEPS = 25
PAPER_SHARE = 0.6

_PREDICTIONS: dict[str, Prediction] = {
    "epsilon": "epsilon",
    "v_prediction": "v_prediction",
    "flow_prediction": "flow",
    "sample": "sample",
}


@dataclass(frozen=True)
class NoiseLevel:
    """One point of a schedule: the timestep the network is told, and ``x_t = a z + s eps``."""

    timestep: float
    a: float
    s: float

    @property
    def kappa(self) -> float:
        """Noise-to-signal ratio ``s / a``; infinite where no signal is left."""
        return self.s / self.a if self.a > 0 else math.inf

    @property
    def weight(self) -> float:
        """The VSDS weight ``w(t) = s^2 / (a^2 + s^2)``, i.e. ``1 - alpha_bar``."""
        return self.s**2 / (self.a**2 + self.s**2)


def prediction_type(scheduler: "SchedulerMixin") -> Prediction:
    """What the network behind ``scheduler`` predicts; UnsupportedError for anything else."""
    name = type(scheduler).__name__
    if hasattr(scheduler, "precondition_outputs"):
        raise UnsupportedError(
            f"{name} preconditions the network by itself, which is not supported; "
            "use EulerDiscreteScheduler or another first-order scheduler."
        )
    kind = scheduler.config.get("prediction_type")
    if kind is None and any("FlowMatch" in base.__name__ for base in type(scheduler).__mro__):
        return "flow"
    if kind not in _PREDICTIONS:
        raise UnsupportedError(
            f"{name} has prediction type {kind!r}; supported are {', '.join(_PREDICTIONS)}."
        )
    return _PREDICTIONS[kind]


def has_sigmas(scheduler: "SchedulerMixin") -> bool:
    """Whether the schedule in use is stored as sigmas (one more than there are timesteps)."""
    sigmas = getattr(scheduler, "sigmas", None)
    return sigmas is not None and len(sigmas) > len(scheduler.timesteps)


def _is_flow(scheduler: "SchedulerMixin") -> bool:
    return prediction_type(scheduler) == "flow" or bool(scheduler.config.get("use_flow_sigmas"))


def _keeps_variance(scheduler: "SchedulerMixin") -> bool:
    # Solvers that keep x_t in VP form (DPM-Solver++, UniPC, DEIS, SA) split sigma with this method;
    # Euler-type schedulers keep x_t = z + sigma eps and have none.
    return hasattr(scheduler, "_sigma_to_alpha_sigma_t")


def _level(scheduler: "SchedulerMixin", index: int) -> NoiseLevel:
    timestep = float(scheduler.timesteps[index])
    if not has_sigmas(scheduler):
        alpha_bar = float(scheduler.alphas_cumprod[int(timestep)])
        return NoiseLevel(timestep, math.sqrt(alpha_bar), math.sqrt(1 - alpha_bar))
    sigma = float(scheduler.sigmas[index])
    if _is_flow(scheduler):
        return NoiseLevel(timestep, 1 - sigma, sigma)
    if _keeps_variance(scheduler):
        norm = math.hypot(1, sigma)
        return NoiseLevel(timestep, 1 / norm, sigma / norm)
    return NoiseLevel(timestep, 1.0, sigma)


def levels(scheduler: "SchedulerMixin") -> tuple[NoiseLevel, ...]:
    """The noise level of each timestep; ``set_timesteps`` must have been called."""
    return tuple(_level(scheduler, index) for index in range(len(scheduler.timesteps)))


def nearest(schedule: Sequence[NoiseLevel], kappa: float) -> int:
    """Index of the level whose noise-to-signal ratio is closest to ``kappa``, by logarithm."""

    def distance(level: NoiseLevel) -> float:
        return abs(math.log(max(level.s, 1e-9) / max(level.a, 1e-9) / kappa))

    return min(range(len(schedule)), key=lambda index: distance(schedule[index]))


def at_kappas(scheduler: "SchedulerMixin", kappas: Sequence[float]) -> tuple[Tensor, Tensor | None]:
    """Timesteps of ``scheduler`` at the wanted noise-to-signal ratios, and sigmas closed by 0.

    Exact for flow matching and for EDM's continuous timesteps; the nearest training timestep where
    the network knows only those. Sigmas are None for schedulers that store none. float32, on the
    device of ``scheduler.timesteps``; ``set_timesteps`` must have been called.
    """
    wanted = torch.tensor(kappas, dtype=torch.float64)
    if not has_sigmas(scheduler):
        index, _ = _nearest_training_steps(scheduler, wanted)
        return index.to(scheduler.timesteps.device), None
    if _is_flow(scheduler):
        sigmas = wanted / (1 + wanted)
        timesteps = sigmas * scheduler.config.num_train_timesteps
    elif scheduler.config.get("timestep_type") == "continuous":
        sigmas, timesteps = wanted, wanted.log() / 4
    else:
        timesteps, sigmas = _nearest_training_steps(scheduler, wanted)
    sigmas = torch.cat([sigmas, sigmas.new_zeros(1)])
    return (
        timesteps.to(scheduler.timesteps.device, torch.float32),
        sigmas.to(scheduler.sigmas.device, torch.float32),
    )


def _nearest_training_steps(scheduler: "SchedulerMixin", wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Training timesteps (int64) closest to the wanted kappas, and the kappas they really have."""
    alpha_bar = scheduler.alphas_cumprod.double().cpu()
    kappas = ((1 - alpha_bar) / alpha_bar.clamp_min(1e-30)).sqrt()
    log = kappas.clamp_min(1e-30).log()
    index = (log[None, :] - wanted.log()[:, None]).abs().argmin(dim=1)
    return index, kappas[index]


def update_count(steps: int, share: float) -> int:
    """Number of VSDS updates, ``int(T p) + 1`` and at most T; none when p = 0."""
    if not 0 <= share <= 1:
        raise UnsupportedError(f"p is {share}; allowed are numbers from 0 to 1.")
    # 1e-9: T p is meant exactly, not as the float that may lie just below an integer.
    return min(int(steps * share + 1e-9) + 1, steps) if share > 0 else 0


def paper_kappas(share: float = PAPER_SHARE) -> tuple[float, ...]:
    """The paper's own VSDS noise levels as noise-to-signal ratios, noisiest first.

    Stable Diffusion's betas on 25 evenly spaced steps; the default p = 0.6 gives 16 values from
    14.61 to 1.164.
    """
    root = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64)
    alpha_bar = torch.cumprod(1 - root**2, dim=0)
    grid = torch.linspace(0, 999, PAPER_STEPS + 1, dtype=torch.float64).round().long().flip(0)
    chosen = alpha_bar[grid[: update_count(PAPER_STEPS, share)]]
    return tuple(((1 - chosen) / chosen).sqrt().tolist())
