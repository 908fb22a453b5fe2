"""Video score distillation sampling (VSDS): pull a static latent clip towards the model's motion.

With one fixed noise eps per path, for each noise level in turn (EPA, "video score distillation"):

    z_t = a z + s eps
    z  <- z - alpha_i w(t) (eps_theta(z_t, c, t) - eps),    w = s^2 / (a^2 + s^2)

eps_theta is the guided prediction. VSDS runs as a *scheduler* in the pipeline's own call (see
``epa_core.seam``). State is float32 whatever the network's dtype.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from torch import Tensor

from epa_core.errors import UnsupportedError
from epa_core.noise_levels import NoiseLevel, Prediction, prediction_type
from epa_core.seam import SteppingScheduler, Window, exchange, using

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

AlphaCurve = Literal[
    "stepwise-decreasing", "stepwise-increasing", "linear-decreasing", "linear-increasing"
]

_MAX_EPSILON_KAPPA = 1000.0


@dataclass(frozen=True)
class VSDSState:
    """All that a path needs to go on: ``z`` after ``update`` updates, and its noise ``eps``.

    Both float32, in the layout the pipeline hands to its scheduler. ``beside`` is what the call has
    stepped beside the video by then (the sound of LTX-2), ``complete`` whether that is all: not
    where a solver that remembers its steps, or draws noise, steps it.
    """

    z: Tensor
    eps: Tensor
    update: int = 0
    beside: Tensor | None = None
    complete: bool = True


def alphas(
    curve: AlphaCurve, count: int, first: float = 10.0, last: float = 1.0
) -> tuple[float, ...]:
    """Step sizes alpha_i of ``count`` updates.

    Decreasing curves run linearly from ``first`` to ``last``: over all updates, or (stepwise) over
    the first ``count // 2``, staying at ``last`` for the rest. Increasing curves are their reverse.
    """
    if curve not in get_args(AlphaCurve):
        raise UnsupportedError(
            f"alpha_curve is {curve!r}; allowed are {', '.join(get_args(AlphaCurve))}."
        )
    ramp = count // 2 if curve.startswith("stepwise") else count
    values = [*np.linspace(first, last, ramp).tolist(), *[last] * (count - ramp)]
    return tuple(reversed(values)) if curve.endswith("increasing") else tuple(values)


def clip_alpha(alpha: float, level: NoiseLevel) -> float:
    """``alpha``, at most (1 + kappa^2) / kappa.

    An update moves z by g = alpha kappa / (1 + kappa^2) of the way to the model's estimate of the
    clean clip; beyond g = 1 it would overshoot.
    """
    if level.a == 0 or level.s == 0:
        return alpha
    return min(alpha, (1 + level.kappa**2) / level.kappa)


def residual(kind: Prediction, output: Tensor, z: Tensor, eps: Tensor, level: NoiseLevel) -> Tensor:
    """eps_theta - eps at ``z_t = a z + s eps``, from the raw guided ``output``.

    Written as the output minus its own training target, times a factor: nothing is divided by a
    (zero at the top of flow schedules) and nothing cancels in half precision. Sample prediction
    needs s > 0; ``check_levels`` says where epsilon prediction has no meaning.
    """
    a, s = level.a, level.s
    if kind == "epsilon":
        return output - eps
    if kind == "v_prediction":  # VP, and EDM in unit-variance coordinates
        norm = math.hypot(a, s)
        return (a / norm) * (output - ((a / norm) * eps - (s / norm) * z))
    if kind == "flow":
        return a * (output - (eps - z))
    return (a / s) * (z - output)


def vsds(
    kind: Prediction, output: Tensor, z: Tensor, eps: Tensor, level: NoiseLevel, alpha: float
) -> Tensor:
    """One VSDS update of the clean latent ``z``; alpha is clipped to the stable range.

    Without noise (s = 0) the weight is 0 and z stays, where a residual may be undefined.
    """
    if level.s == 0:
        return z
    update = residual(kind, output, z, eps, level)
    update *= clip_alpha(alpha, level) * level.weight
    return z - update


def check_levels(kind: Prediction, schedule: Sequence[NoiseLevel]) -> None:
    """UnsupportedError where the network's prediction says nothing about the clip.

    Without signal (a = 0) every other prediction makes the update exactly zero. Noise predicted
    from pure noise however differs from eps by the network's error alone, which would move z at
    full weight. Some schedulers keep a trace of signal (kappa 4096) in place of none.
    """
    if kind == "epsilon" and any(level.kappa > _MAX_EPSILON_KAPPA for level in schedule):
        raise UnsupportedError(
            "levels is 'native', but the schedule starts without signal, where a network that "
            "predicts noise (epsilon) cannot be distilled; use 'auto' or 'matched'."
        )


def noised(z: Tensor, eps: Tensor, level: NoiseLevel) -> Tensor:
    """``z_t = a z + s eps``."""
    x = level.s * eps
    x += level.a * z
    return x


@dataclass
class _Run:
    """What a VSDS scheduler carries through one pipeline call.

    ``done`` counts updates, from -1 where one step is spent to bring ``beside`` back.
    """

    state: VSDSState
    schedule: Sequence[NoiseLevel]
    alphas: Sequence[float]
    on_update: Callable[[VSDSState], None] | None
    done: int = 0
    beside: Tensor | None = None

    def report(self) -> None:
        """Show the state to whoever keeps it."""
        if self.on_update is not None:
            self.on_update(self.state)


class VSDSScheduler(SteppingScheduler):
    """Mixin: each step updates the clean latent and returns the next noised evaluation point."""

    epa_run: _Run

    def epa_step(self, output: Tensor, sample: Tensor) -> Tensor:
        """Update the clean latent by the guided ``output`` at the current noise level."""
        run, state = self.epa_run, self.epa_run.state
        if sample.shape != state.z.shape:
            raise UnsupportedError(
                f"the pipeline steps samples of shape {tuple(sample.shape)}, but its family "
                f"promises {tuple(state.z.shape)}; register a family that fits."
            )
        z, eps = state.z.to(sample.device), state.eps.to(sample.device)
        if run.done >= 0:
            level, alpha = run.schedule[run.done], run.alphas[run.done]
            z = vsds(prediction_type(self), output.float(), z, eps, level, alpha)
            run.state = VSDSState(z, eps, state.update + 1)
            if not self.epa_copied:
                run.report()
        run.done += 1
        done = run.done == len(run.schedule)
        return z if done else noised(z, eps, run.schedule[run.done])

    def epa_beside(self, copied: Any, sample: Tensor) -> Tensor:
        """Keep what is stepped beside the video, or bring back what was kept of it."""
        run = self.epa_run
        if run.beside is not None:
            kept, run.beside = run.beside.to(sample), None
            return kept
        recalls = hasattr(copied, "model_outputs") or copied.config.get("stochastic_sampling")
        run.state = replace(run.state, beside=sample, complete=not recalls)
        run.report()
        return sample


def distill(
    pipeline: "DiffusionPipeline",
    call: Callable[[Tensor], object],
    state: VSDSState,
    schedule: Sequence[NoiseLevel],
    step_sizes: Sequence[float],
    *,
    kappas: Sequence[float] | None = None,
    on_update: Callable[[VSDSState], None] | None = None,
) -> VSDSState:
    """Run the VSDS updates that ``state`` still lacks, in one call of the pipeline.

    ``call(x)`` runs ``pipeline`` from the noised sample x. ``schedule`` holds the planned level of
    each update and ``step_sizes`` its alpha; both cover updates already done. ``kappas`` are the
    matched levels (None: the first entries of the native schedule). ``on_update`` sees each new
    state; handing one back later continues bit for bit, if it is complete.
    """
    first, last = state.update, len(step_sizes)
    if first >= last:
        return state
    # What is stepped beside the video has no argument that would take it bit for bit. So the step
    # before is made once more, and what it arrives at exchanged for what was kept.
    start = first if state.beside is None else first - 1
    window = Window(start, last, kappas and kappas[start:last], schedule[start:last])
    run = _Run(state, schedule[first:last], step_sizes[first:last], on_update, start - first)
    run.beside = state.beside
    scheduler = exchange(pipeline.scheduler, VSDSScheduler, window, epa_run=run)
    with using(pipeline, scheduler):
        call(noised(state.z, state.eps, schedule[start]))
    if run.done != last - first:
        raise UnsupportedError(
            f"{type(pipeline).__name__} made {run.done} of {last - first} scheduler steps; "
            "pipelines must call scheduler.step once per timestep."
        )
    return run.state
