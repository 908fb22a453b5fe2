"""The scheduler as the seam between the method and an unmodified diffusers pipeline.

Every image-to-video pipeline calls ``scheduler.step(guided_output, t, sample)`` once per step,
after guidance, masks and expert switching. Exchanging the scheduler therefore runs other
arithmetic on the pipeline's own evaluations, and no pipeline has to be copied. Exchanged
schedulers subclass the pipeline's own class, so that its config, signatures and isinstance checks
stay valid. One thread per pipeline.
"""

import copy
import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from epa_core.errors import UnsupportedError
from epa_core.noise_levels import NoiseLevel, at_kappas, has_sigmas, levels, prediction_type

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline, SchedulerMixin


@dataclass(frozen=True)
class Window:
    """The part of a schedule to run: entries [first, last), or the levels ``kappas`` instead.

    ``expected`` are the noise levels the run was planned for; another schedule is refused.
    """

    first: int = 0
    last: int | None = None
    kappas: Sequence[float] | None = None
    expected: Sequence[NoiseLevel] | None = None


class WindowedScheduler:
    """Mixin: the pipeline's scheduler on a ``Window`` of its schedule, ``latents=`` as they are.

    Stock stepping, so on its own it denoises an already noised sample from step ``first`` on.
    """

    timesteps: Tensor
    sigmas: Tensor
    epa_window: Window

    @property
    def init_noise_sigma(self) -> float:
        """Always 1: pipelines multiply ``latents=`` by it, and ours carry their noise already."""
        return 1.0

    @init_noise_sigma.setter
    def init_noise_sigma(self, value: float) -> None:
        """Ignored; schedulers assign it."""

    def epa_timesteps_set(self) -> None:
        """Cut the schedule ``set_timesteps`` has just made; RuntimeError if it is unplanned."""
        window = self.epa_window
        if window.kappas is not None:
            self.timesteps, sigmas = at_kappas(self, window.kappas)
            if sigmas is not None:
                self.sigmas = sigmas
        else:
            keeps_sigmas = has_sigmas(self)
            self.timesteps = self.timesteps[window.first : window.last]
            if keeps_sigmas:
                # One sigma more than timesteps: the level that the last step arrives at.
                self.sigmas = self.sigmas[window.first : window.first + len(self.timesteps) + 1]
        if window.expected is not None and levels(self) != tuple(window.expected):
            raise RuntimeError(
                "the schedule differs from the planned one: "
                "size, frames, steps or scheduler changed between two calls"
            )


class SteppingScheduler(WindowedScheduler):
    """Mixin: ``epa_step`` in place of the scheduler's own ``step``.

    ``epa_copied``: the pipeline has made a copy to step something else (LTX-2 does, for its sound).
    """

    epa_copied = False

    def epa_step(self, output: Tensor, sample: Tensor) -> Tensor:
        """The next sample, from the guided network output at ``sample`` (shapes alike)."""
        raise NotImplementedError

    def epa_beside(self, copied: Any, sample: Tensor) -> Tensor:
        """What the copy arrives at, where its own stock ``step`` arrived at ``sample``."""
        return sample

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        """The stock scheduler on the same window, which tells this one what it steps."""
        base: Any = type(self).__bases__[1]
        kept = {name: value for name, value in vars(self).items() if not name.startswith("epa_")}
        stock = base.__new__(base)
        stock.__dict__.update(copy.deepcopy(kept, memo))
        self.epa_copied = True
        return exchange(stock, _CopiedScheduler, self.epa_window, epa_owner=self)


class _CopiedScheduler(WindowedScheduler):
    """Mixin: stock stepping of what the ``SteppingScheduler`` was copied for."""

    epa_owner: SteppingScheduler


@dataclass
class _StepOutput:
    prev_sample: Tensor
    pred_original_sample: Tensor


def _step_in_place_of(base: type) -> Callable[..., Any]:
    """A ``step`` with the signature and the kinds of answer of ``base``'s, running ``epa_step``."""
    signature = inspect.signature(base.step)  # type: ignore[attr-defined] # a scheduler class

    @functools.wraps(base.step)  # type: ignore[attr-defined] # a scheduler class
    def step(self: Any, *args: Any, **kwargs: Any) -> Any:
        given = signature.bind(self, *args, **kwargs).arguments
        if getattr(self, "_step_index", None) is not None:
            self._step_index += 1  # Euler-type schedulers scale the next model input by it.
        following = self.epa_step(given["model_output"], given["sample"])
        following = following.to(given["sample"].dtype)
        if given.get("return_dict", True):
            return _StepOutput(following, following)
        return following, following

    return step


def _step_beside(base: type) -> Callable[..., Any]:
    """The ``step`` of ``base``, its answer shown to the scheduler it was copied from."""

    @functools.wraps(base.step)  # type: ignore[attr-defined] # a scheduler class
    def step(self: Any, *args: Any, **kwargs: Any) -> Any:
        answer = base.step(self, *args, **kwargs)  # type: ignore[attr-defined] # a scheduler class
        if isinstance(answer, tuple):
            return self.epa_owner.epa_beside(self, answer[0]), *answer[1:]
        answer.prev_sample = self.epa_owner.epa_beside(self, answer.prev_sample)
        return answer

    return step


def exchange(
    scheduler: "SchedulerMixin", mixin: type[WindowedScheduler], window: Window, **state: Any
) -> Any:
    """A copy of ``scheduler`` whose class gains ``mixin``; UnsupportedError if it cannot be driven.

    ``state`` becomes attributes of the copy.
    """
    base = type(scheduler)
    prediction_type(scheduler)
    if getattr(scheduler, "order", 1) != 1:
        raise UnsupportedError(
            f"{base.__name__} evaluates the model {scheduler.order} times per step (Heun type); "
            "use a scheduler of order 1, such as EulerDiscreteScheduler or UniPCMultistepScheduler."
        )

    # wraps: pipelines look for `sigmas` and `timesteps` in this signature.
    @functools.wraps(base.set_timesteps)
    def set_timesteps(self: Any, *args: Any, **kwargs: Any) -> None:
        base.set_timesteps(self, *args, **kwargs)
        self.epa_timesteps_set()

    members: dict[str, Any] = {"set_timesteps": set_timesteps}
    if issubclass(mixin, SteppingScheduler):
        members["step"] = _step_in_place_of(base)
    elif issubclass(mixin, _CopiedScheduler):
        members["step"] = _step_beside(base)
    exchanged = copy.deepcopy(scheduler)
    exchanged.__class__ = type(mixin.__name__ + base.__name__, (mixin, base), members)
    for name, value in {"epa_window": window, **state}.items():
        setattr(exchanged, name, value)
    return exchanged


@contextmanager
def using(pipeline: "DiffusionPipeline", scheduler: Any) -> Iterator[None]:
    """Run ``pipeline`` with another scheduler; its own one is put back whatever happens."""
    own = pipeline.scheduler
    pipeline.scheduler = scheduler
    try:
        yield
    finally:
        pipeline.scheduler = own


class _Planned(BaseException):
    """Ends a planning call. Not an Exception, so that no pipeline's own handler swallows it."""

    def __init__(self, scheduler: Any):
        super().__init__()
        self.scheduler = scheduler  # whose timesteps were set first; it may be a copy


class _Planner(WindowedScheduler):
    def epa_timesteps_set(self) -> None:
        raise _Planned(self)


@dataclass(frozen=True)
class Plan:
    """The schedule a call would use, held by a scheduler whose timesteps are set."""

    scheduler: Any

    def native(self) -> tuple[NoiseLevel, ...]:
        """The pipeline's own noise levels."""
        return levels(self.scheduler)

    def matched(self, kappas: Sequence[float]) -> tuple[NoiseLevel, ...]:
        """The pipeline's noise levels closest to these noise-to-signal ratios."""
        scheduler = copy.deepcopy(self.scheduler)
        scheduler.epa_window = Window(kappas=kappas)
        WindowedScheduler.epa_timesteps_set(scheduler)
        return levels(scheduler)


def plan(pipeline: "DiffusionPipeline", call: Callable[[], object]) -> Plan:
    """What ``call``, which runs ``pipeline``, does up to its first denoising step: its schedule.

    Dynamic shifting makes schedules depend on size and frames, so they are read off the very call,
    which is abandoned as soon as it has set its timesteps. UnsupportedError if it never does.
    """
    scheduler = exchange(pipeline.scheduler, _Planner, Window())
    with using(pipeline, scheduler):
        try:
            call()
        except _Planned as planned:
            return Plan(planned.scheduler)
    raise UnsupportedError(
        f"{type(pipeline).__name__} never calls its scheduler's set_timesteps, "
        "so its noise levels cannot be read."
    )
