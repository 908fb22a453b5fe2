"""The GPU's share of the second pass: one call per stage for all works of a batch that need it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from catalogs.choice import Choice
from epa_core.errors import ItemError
from epa_core.media.images import fit
from tasks import animate, distill, models
from tasks.failures import out_of_memory
from tasks.levers import in_float32
from tasks.models import free_memory
from tasks.proxy_pass import draw_proxies
from tasks.shard import Job, Shard, Source, keep_proxy, painting_to_redraw, shared_time

if TYPE_CHECKING:
    import PIL.Image
    import torch
    from diffusers import DiffusionPipeline

    from epa_core.awakening import CallSettings, EPASettings, Seed
    from epa_core.cards import ModelCard
    from epa_core.metrics.quality import Quality


@dataclass
class Awakening:
    """One work on its way to a video; ``latents`` holds what is already computed, by stage.

    Where several seeds are tried, each candidate is one of these by itself for as long.
    """

    job: Job
    source: Source
    latents: dict[str, torch.Tensor]
    own: dict[str, Any] = field(default_factory=dict)  # arguments of the call for this work only
    seconds: dict[str, float] = field(default_factory=dict)
    proxy: PIL.Image.Image | None = None
    proxy_cut: str = ""  # what the proxy maker did not read of its prompt
    proxy_strict: bool = False  # half precision could not draw it
    prompt_cut: str = ""  # what the model did not read
    batch_size: int = 1
    peak_memory: int | None = None  # bytes on the GPU, at most, while its batches ran
    candidate: int = 0  # which of the work's seeds the final animation has
    choice: Choice | None = None  # of several candidates, once it was made
    quality: Quality | None = None  # of the frames, where it was asked for before they are encoded
    frames: np.ndarray | None = None
    fresh: dict[str, torch.Tensor] = field(default_factory=dict)  # as the cache has them


def compute_batch(shard: Shard, entries: list[Awakening]) -> list[Awakening]:
    """Frames of every entry (all of one size), computing only what its ``latents`` lack."""
    from epa_core.awakening import decode_latents, unread

    model = model_for(shard, entries[0].source.painting.size)
    for entry in entries:
        entry.batch_size = len(entries)
    make_paths(shard, entries)
    with shared_time(entries, "t_animate"), _peak_noted(entries):
        _animate_missing(shard, entries, model)
        frames = decode_latents(model.pipeline, [e.latents["animate"] for e in entries], model.call)
    for entry, clip in zip(entries, frames, strict=True):
        check_frames(
            clip, entry.source.painting, shard.recipe.card
        )  # before any latents go: a failure is tried again
    for entry, clip in zip(entries, frames, strict=True):
        entry.frames = clip
        entry.prompt_cut = unread(model.pipeline, entry.job.prompt)
        entry.latents = {}  # let go of the memory while the entry waits to be encoded
    return entries


def make_paths(shard: Shard, entries: list[Awakening]) -> list[Awakening]:
    """What the final animation of every entry (all of one size) starts from, where it is missing.

    Several candidates of a work must not come here before their work has: it is made once.
    """
    with _peak_noted(entries):
        _draw_missing(shard, entries)
    with shared_time(entries, "t_distill"), _peak_noted(entries):
        _distill_missing(shard, entries, model_for(shard, entries[0].source.painting.size))
    return entries


#: One path of a work: its stage, and the picture that motion is distilled into.
Path: TypeAlias = tuple[Awakening, str, "PIL.Image.Image"]


@contextmanager
def _peak_noted(entries: list[Awakening]) -> Iterator[None]:
    """Note in every entry what tensors held on the GPU at most while the block ran."""
    models.forget_peak()
    yield
    peak = models.memory_of_gpu("max_memory_allocated")
    if peak is not None:
        for entry in entries:
            entry.peak_memory = max(peak, entry.peak_memory or 0)


@dataclass(frozen=True)
class Model:
    """The pipeline and how it is called for paintings of one size."""

    pipeline: DiffusionPipeline
    settings: EPASettings
    call: CallSettings


def check_model(shard: Shard) -> None:
    """Load the recipe's model and see that it takes the recipe's call.

    Raises UnsupportedError for weights, a device or call options that cannot be used.
    """
    from epa_core.awakening import check_call
    from epa_core.levers.step_caches import check_guidance

    recipe, choice = shard.recipe, shard.recipe.model
    models.check_call(choice)  # before gigabytes are read
    pipeline = _pipeline(shard)
    multiple = recipe.prepare.multiple or recipe.card.multiple
    check_call(pipeline, choice.options, choice.frames, multiple)
    check_guidance(pipeline, choice.guidance_scale)


def _pipeline(shard: Shard) -> DiffusionPipeline:
    """The recipe's pipeline, loaded once per process."""
    choice, execution = shard.recipe.model, shard.execution
    if shard.strict:
        choice, execution = in_float32(choice, execution)
    return models.model(choice, execution)


def slice_vae(shard: Shard) -> bool:
    """Let the VAE take one frame at a time from now on; False if it does so or cannot."""
    from epa_core.levers.vae import can_slice

    pipeline = _pipeline(shard)
    if not can_slice(pipeline) or pipeline.vae.use_slicing:
        return False
    pipeline.vae.enable_slicing()
    return True


def check_frames(frames: np.ndarray, painting: PIL.Image.Image, card: ModelCard) -> None:
    """ItemError where frames [F, H, W, 3] are no video of the painting, though it has contrast.

    ``numeric`` for a black frame: that is how overflow in a VAE ends, values that are no numbers
    become 0. ``frozen_video`` where all frames of a neural model are the same bytes; the preview
    model may stand still, where nothing in the picture can move.
    """
    pixels = np.asarray(painting)
    darkest, brightest = min(int(frame.max()) for frame in frames), int(pixels.max())
    if darkest <= _BLACK < brightest - 2 * _BLACK:
        raise ItemError("numeric", "the model produced a black frame")
    plain = int(np.ptp(pixels, axis=(0, 1)).max()) <= 2 * _BLACK  # of one colour
    still = len(frames) > 1 and all(np.array_equal(frame, frames[0]) for frame in frames[1:])
    if card.weights and still and not plain:
        raise ItemError("frozen_video", f"all {len(frames)} frames of the model are the same")


_BLACK = 4  # levels of 255


def model_for(shard: Shard, size: tuple[int, int]) -> Model:
    """The recipe's model as it is called for paintings of ``size`` (width, height)."""
    from epa_core.awakening import CallSettings, EPASettings

    recipe, choice = shard.recipe, shard.recipe.model
    settings = EPASettings(
        variant=recipe.variant,
        kappa0=recipe.animate.kappa0,
        half_slerp=recipe.animate.half_slerp,
        one_stream=recipe.one_stream,
        **recipe.distill.model_dump(),
    )
    call = CallSettings(
        width=size[0],
        height=size[1],
        num_frames=choice.frames,
        guidance_scale=choice.guidance_scale,
        options=dict(choice.options),
    )
    return Model(_pipeline(shard), settings, call)


def _draw_missing(shard: Shard, entries: list[Awakening]) -> None:
    """Draw proxies that the first pass left (its cache is disposable)."""
    missing = [
        entry
        for entry in entries
        if "distill.proxy" in entry.job.work.keys
        and entry.proxy is None
        and not entry.latents.keys() & {"animate", "distill.proxy"}
    ]
    if not missing:
        return
    paintings = [(e.job, painting_to_redraw(shard, e.job, e.seconds)) for e in missing]
    with shared_time(missing, "t_proxy"):
        made = draw_proxies(shard, paintings)
    for entry, (image, cut) in zip(missing, made, strict=True):
        entry.proxy, entry.proxy_cut = fit(image, entry.source.painting.size), cut
        keep_proxy(shard, entry.job, image, entry.seconds, cut)


def _distill_missing(shard: Shard, entries: list[Awakening], model: Model) -> None:
    """Both paths of every work that lacks them, all in one call.

    Where memory is too short for the two of a single work, one after the other.
    """
    paths: list[Path] = []
    for entry in entries:
        if "animate" in entry.latents:
            continue
        for stage, image in (
            ("distill.real", entry.source.painting),
            ("distill.proxy", entry.proxy),
        ):
            if stage in entry.job.work.keys and stage not in entry.latents and image is not None:
                paths.append((entry, stage, image))
    if not paths:
        return
    try:
        refined = _distilled(shard, paths, model)
    except Exception as error:
        # A batch of several works is halved by whoever called; the two paths of one are its last.
        if len(entries) > 1 or len(paths) < 2 or not out_of_memory(error):
            raise
        refined = None
    if refined is None:  # outside the handler: the error's traceback held the batch's tensors
        free_memory()
        refined = [latents for path in paths for latents in _distilled(shard, [path], model)]
    for (entry, stage, _), latents in zip(paths, refined, strict=True):
        _keep(shard, entry, stage, latents)


def _distilled(shard: Shard, paths: list[Path], model: Model) -> list[torch.Tensor]:
    return distill.run(
        model.pipeline,
        [image for _, _, image in paths],
        [entry.job.prompt for entry, _, _ in paths],
        [_seed(shard, entry, stage, model) for entry, stage, _ in paths],
        model.settings,
        model.call,
        [_own(entry, stage, model) for entry, stage, _ in paths],
    )


def _own(entry: Awakening, stage: str, model: Model) -> Mapping[str, Any]:
    """A path's own arguments of the call."""
    from epa_core.awakening import proxy_extras

    if stage != "distill.proxy":
        return entry.own
    painting = entry.source.painting
    return proxy_extras(model.pipeline, [painting], [entry.own], model.call)[0]


def _animate_missing(shard: Shard, entries: list[Awakening], model: Model) -> None:
    todo = [entry for entry in entries if "animate" not in entry.latents]
    if not todo:
        return

    def path(stage: str) -> list[torch.Tensor] | None:
        found = [entry.latents[stage] for entry in todo if stage in entry.latents]
        return found if len(found) == len(todo) else None

    steps = shard.recipe.animate.num_inference_steps
    final = animate.run(
        model.pipeline,
        [entry.source.painting for entry in todo],
        [entry.job.prompt for entry in todo],
        [_seed(shard, entry, "animate", model) for entry in todo],
        path("distill.real"),
        path("distill.proxy"),
        replace(model.settings, num_inference_steps=steps),
        model.call,
        [entry.own for entry in todo],
    )
    for entry, latents in zip(todo, final, strict=True):
        _keep(shard, entry, "animate", latents)


def _seed(shard: Shard, entry: Awakening, stage: str, model: Model) -> Seed:
    """What the stage's noise is drawn from: a seed of its own, or the work's one stream."""
    from epa_core.awakening import path_seeds

    seed = shard.seed_of(entry.job, stage, entry.candidate if stage == "animate" else 0)
    if not model.settings.one_stream:
        return seed
    stream = path_seeds(seed, model.settings)
    named = {"distill.real": stream.real, "distill.proxy": stream.proxy, "animate": stream.final}
    return named[stage]


def _keep(shard: Shard, entry: Awakening, stage: str, latents: torch.Tensor) -> None:
    """Round as the cache does, whether or not it keeps the stage; it is written while encoding."""
    import torch

    rounded = stored(shard, latents)
    entry.latents[stage] = rounded.to(torch.float32)
    if shard.keeps(stage):
        entry.fresh[stage] = rounded


def stored(shard: Shard, latents: torch.Tensor) -> torch.Tensor:
    """Latents as the cache has them."""
    import torch

    return latents.to(getattr(torch, shard.recipe.card.cache_dtype))
