"""The stages of the method, each on its own (``epa_core.awakening`` runs them in a row).

Latents between the stages are float32, on the CPU, one clip per painting without a batch axis
(layout: ``epa_core.families``), so each stage can be stored and redone on its own. Whatever is
random derives from a painting's own seed: its result does not depend on what it was batched with,
and the caller's global random state is left alone.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from epa_core.distill import VSDSState, alphas, check_levels, distill
from epa_core.errors import UnsupportedError
from epa_core.families import CallSettings, family_of
from epa_core.fuse import Interpolation
from epa_core.levers import step_caches
from epa_core.levers.placement import offloaded_after
from epa_core.model_cards.card import MAX_NATIVE_KAPPA, PAPER_KAPPA0
from epa_core.noise_levels import NoiseLevel, nearest, paper_kappas, prediction_type, update_count
from epa_core.runner import Batch, Runner, Seed, runner_of
from epa_core.seam import Window, WindowedScheduler, exchange, using
from epa_core.settings import EPASettings

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

Frames = np.ndarray[Any, Any]


def _starts_with_signal(schedule: Sequence[NoiseLevel]) -> bool:
    return schedule[0].kappa <= MAX_NATIVE_KAPPA


@torch.no_grad()
def static_latents(
    pipeline: "DiffusionPipeline", images: Sequence[Image.Image], call: CallSettings
) -> list[Tensor]:
    """The clip in which each painting stands still, before any distillation."""
    family = family_of(pipeline)
    family.check(pipeline, call)
    call = family.native(pipeline, call)
    with offloaded_after(pipeline):
        return [family.encode(pipeline, image, call)[0].float().cpu() for image in images]


@torch.no_grad()
def distill_latents(
    pipeline: "DiffusionPipeline",
    images: Sequence[Image.Image],
    prompts: Sequence[str],
    seeds: Sequence[Seed],
    settings: EPASettings,
    call: CallSettings,
    *,
    extras: Sequence[Mapping[str, Any]] | None = None,
    resume: Mapping[int, VSDSState] | None = None,
    on_update: Callable[[int, VSDSState], None] | None = None,
) -> list[Tensor]:
    """One refined clip per entry: an image (a painting or a proxy), its prompt and its seed.

    ``extras`` are each entry's own arguments of the pipeline's call (``Family.per_painting``).
    Entries go through one call together where the family batches. ``on_update`` gets the index of
    a call's first entry and its state after each update; handed back as ``resume`` under that
    index, with the same entries, the run goes on from there bit for bit (or, where a state is not
    complete, from the start, with the same result; not with a step cache in this stage, which would
    start empty: UnsupportedError).
    """
    if not images:
        return []
    if resume and step_caches.cache_of(pipeline, "distill") is not None:
        raise UnsupportedError(
            "a distillation with a step_cache cannot be taken up in its middle; start it anew, or "
            "leave distill out of step_cache.stages."
        )
    runner = runner_of(pipeline, call, settings.num_inference_steps)
    everything = Batch(images, prompts, seeds, extras or ())
    updates = _planned_updates(runner, everything, settings)
    clips: list[Tensor] = []
    for part in runner.parts(len(images), "distill"):
        report = None if on_update is None else partial(on_update, part.start)
        state = (resume or {}).get(part.start)
        clips.extend(_distil_together(runner, everything.part(part), updates, state, report))
    return clips


@dataclass(frozen=True)
class _Updates:
    """The VSDS updates to make: noise level and alpha of each; kappas where they are matched."""

    schedule: Sequence[NoiseLevel]
    alphas: Sequence[float]
    kappas: Sequence[float] | None


def _planned_updates(runner: Runner, batch: Batch, settings: EPASettings) -> _Updates:
    planned = runner.plan(batch)
    schedule, kappas = planned.native(), None
    without_signal = not _starts_with_signal(schedule)
    if settings.levels == "matched" or (settings.levels == "auto" and without_signal):
        kappas = paper_kappas(settings.p)
        schedule = planned.matched(kappas) if kappas else ()
    else:
        schedule = schedule[: update_count(len(schedule), settings.p)]
    check_levels(prediction_type(runner.pipeline.scheduler), schedule)
    curve, first, last = settings.alpha_curve, settings.alpha_first, settings.alpha_last
    return _Updates(schedule, alphas(curve, len(schedule), first, last), kappas)


def _distil_together(
    runner: Runner,
    batch: Batch,
    updates: _Updates,
    state: VSDSState | None,
    on_update: Callable[[VSDSState], None] | None,
) -> list[Tensor]:
    static = torch.stack(static_latents(runner.pipeline, batch.images, runner.call))
    if state is None or not state.complete:
        eps = runner.noise(static, batch.seeds, "vsds")
        state = VSDSState(runner.family.to_step(static), eps)
    state = distill(
        runner.pipeline,
        lambda x: runner.run(batch, runner.pack(x, static), "distill"),
        state,
        updates.schedule,
        updates.alphas,
        kappas=updates.kappas,
        on_update=on_update,
    )
    return list(runner.family.from_step(state.z.float().cpu(), static))


def proxy_extras(
    pipeline: "DiffusionPipeline",
    paintings: Sequence[Image.Image],
    extras: Sequence[Mapping[str, Any]],
    call: CallSettings,
) -> list[Mapping[str, Any]]:
    """Each proxy's own arguments: those of its painting, and what its path needs beside them."""
    family = family_of(pipeline)
    own = extras or [{}] * len(paintings)
    return [
        {**one, **family.proxy_arguments(painting, call)}
        for painting, one in zip(paintings, own, strict=True)
    ]


@torch.no_grad()
def animate_latents(
    pipeline: "DiffusionPipeline",
    paintings: Sequence[Image.Image],
    prompts: Sequence[str],
    seeds: Sequence[Seed],
    real: Sequence[Tensor] | None,
    proxy: Sequence[Tensor] | None,
    settings: EPASettings,
    call: CallSettings,
    *,
    extras: Sequence[Mapping[str, Any]] | None = None,
) -> list[Tensor]:
    """Final clean latents per painting, from the clips of its two paths.

    ``proxy`` is not needed for variant V. For the baseline neither is (``real`` None), and the
    pipeline's untouched call answers: the same bits as calling it with
    ``torch.Generator().manual_seed(seed)``.
    """
    if not paintings:
        return []
    runner = runner_of(pipeline, call, settings.num_inference_steps)
    everything = Batch(paintings, prompts, seeds, extras or ())
    fused = None if settings.variant == "baseline" else _fused(runner, real, proxy, settings)
    start, t0 = _starting_point(runner, everything, settings) if fused is not None else ((), 0)
    final: list[Tensor] = []
    for part in runner.parts(len(paintings), "animate"):
        batch = everything.part(part)
        if fused is None:
            latents = runner.run(batch, stage="animate")
        else:
            clips = torch.stack(fused[part])
            noise = runner.renoising_noise(clips, batch.seeds)
            x = runner.family.renoised(pipeline, clips, noise, start[0], call)
            window = Window(first=t0, expected=start)
            scheduler = exchange(pipeline.scheduler, WindowedScheduler, window)
            with using(pipeline, scheduler):
                latents = runner.run(batch, runner.pack(x, clips), "animate")
        final.extend(latents.float().cpu())
    return final


def _starting_point(
    runner: Runner, batch: Batch, settings: EPASettings
) -> tuple[tuple[NoiseLevel, ...], int]:
    """The native levels from t0 on, and the index of t0."""
    native = runner.plan(batch).native()
    if settings.kappa0 is not None:
        t0 = nearest(native, settings.kappa0)
    else:
        t0 = 0 if _starts_with_signal(native) else nearest(native, PAPER_KAPPA0)
    return native[t0:], t0


def _fused(
    runner: Runner,
    real: Sequence[Tensor] | None,
    proxy: Sequence[Tensor] | None,
    settings: EPASettings,
) -> list[Tensor]:
    if real is None or (proxy is None and settings.needs_proxy):
        missing = "real" if real is None else "proxy"
        raise UnsupportedError(
            f"variant {settings.variant!r} needs the latents of the {missing} path."
        )
    # Caches may keep latents in half precision.
    real = [clip.float() for clip in real]
    if proxy is None or not settings.needs_proxy:
        return real
    how: Interpolation = "lerp" if settings.variant == "V+U" else "slerp"
    return [
        runner.family.fuse(one, other.float(), how, settings.half_slerp, runner.call)
        for one, other in zip(real, proxy, strict=True)
    ]


@torch.no_grad()
def decode_latents(
    pipeline: "DiffusionPipeline", latents: Sequence[Tensor], call: CallSettings
) -> list[Frames]:
    """Final latents -> uint8 frames [F, H, W, 3], one clip at a time, as the pipeline decodes."""
    family = family_of(pipeline)
    with offloaded_after(pipeline):
        return [family.frames(pipeline, clip[None], call) for clip in latents]


def unread(pipeline: "DiffusionPipeline", prompt: str) -> str:
    """The tail of ``prompt`` that the pipeline's text encoder does not get; "" if it gets all."""
    return family_of(pipeline).unread(pipeline, prompt)


def check_call(
    pipeline: "DiffusionPipeline", options: Mapping[str, Any], num_frames: int, multiple: int
) -> None:
    """UnsupportedError for what the pipeline cannot take, whatever painting it gets.

    ``options`` are those of ``CallSettings``, ``multiple`` what the sides of sizes are multiples
    of. The message begins with the setting's name in a run file.
    """
    family = family_of(pipeline)
    family.check_weights(pipeline)
    try:
        family.check_options(pipeline, options)
    except UnsupportedError as error:
        raise UnsupportedError(f"model.options: {error}") from error
    try:
        family.check_frames(pipeline, num_frames)
    except UnsupportedError as error:
        raise UnsupportedError(f"model.{error}") from error
    sides = family.size_multiple(pipeline)
    if multiple % sides:
        raise UnsupportedError(
            f"prepare.multiple is {multiple}; {type(pipeline).__name__} takes multiples of {sides}."
        )
