"""One pipeline and the calls the method makes of it: batches, seeds, layouts."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias
from weakref import WeakKeyDictionary

import torch
from PIL import Image
from torch import Tensor

from epa_core.families import CallSettings, Family, family_of
from epa_core.families.base import dtype_kept
from epa_core.levers import CachedCalls, step_caches
from epa_core.levers.placement import offloaded_after
from epa_core.seam import Plan, plan
from epa_core.settings import EPASettings

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline


_MOST_PLANS = 64
# Pipeline -> call -> the scheduler that was asked, and its plan.
_plans: WeakKeyDictionary["DiffusionPipeline", dict[tuple[Any, ...], tuple[Any, Plan]]]
_plans = WeakKeyDictionary()


@dataclass(frozen=True)
class Draw:
    """Noise number ``index`` of the one random stream that starts at ``seed``.

    The released code of the paper seeds once per painting and then draws the noise of the real
    path, of the proxy path and of re-noising one after the other, as far as the variant needs them.
    """

    seed: int
    index: int


#: A plain seed stands for streams of its own, one per purpose.
Seed: TypeAlias = int | Draw


def _number(seed: Seed) -> int:
    return seed.seed if isinstance(seed, Draw) else seed


@dataclass(frozen=True)
class Batch:
    """Paintings that share one call of the pipeline; ``extras`` are each one's own arguments."""

    images: Sequence[Image.Image]
    prompts: Sequence[str]
    seeds: Sequence[Seed]
    extras: Sequence[Mapping[str, Any]] = ()

    def __post_init__(self) -> None:
        if not len(self.images) == len(self.prompts) == len(self.seeds):
            raise ValueError(
                f"{len(self.images)} images were given with {len(self.prompts)} prompts "
                f"and {len(self.seeds)} seeds."
            )
        if self.extras and len(self.extras) != len(self.images):
            raise ValueError(
                f"{len(self.images)} images were given with {len(self.extras)} extras."
            )

    def part(self, chosen: slice) -> "Batch":
        """Some of them."""
        return Batch(
            self.images[chosen], self.prompts[chosen], self.seeds[chosen], self.extras[chosen]
        )


@dataclass(frozen=True)
class Runner:
    """One pipeline with all that its calls have in common."""

    pipeline: "DiffusionPipeline"
    family: Family
    call: CallSettings
    steps: int

    def run(
        self, batch: Batch, latents: Tensor | None = None, stage: CachedCalls | None = None
    ) -> Tensor:
        """The stock call, from ``latents`` (packed) or from its own noise; clip layout.

        ``stage`` is whose call it is, for a step cache that works in some only.
        """
        for own in batch.extras:
            self.family.check_own(self.pipeline, own)
        seeds = [_number(seed) for seed in batch.seeds]
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        given = self.family.arguments(batch.images, batch.prompts, self.call, batch.extras)
        given |= {
            "num_inference_steps": self.steps,
            "generator": generators[0] if len(generators) == 1 else generators,
            "output_type": "latent",
            **({} if latents is None else {"latents": latents}),
        }
        # A call that fails while SVD encodes in float32 would leave its VAE in float32, and one
        # that fails anywhere its modules on the accelerator.
        with (
            offloaded_after(self.pipeline),
            _global_seed(self.pipeline, seeds[0]),
            dtype_kept(self.pipeline.vae),
            step_caches.cached(self.pipeline, stage, self.steps),
        ):
            output = self.family.run(self.pipeline, given)
        return self.family.unpack(self.pipeline, output, self.call)

    def plan(self, batch: Batch) -> Plan:
        """The schedule of the call; it is the same for any batch, so it is asked for once.

        Asking runs the pipeline's text and image encoders. A run compares its schedule with the
        plan, so a pipeline that changes its mind between calls is found out.
        """
        known = _plans.setdefault(self.pipeline, {})
        call, scheduler = self.call, self.pipeline.scheduler
        key = (call.height, call.width, call.num_frames, self.steps, repr(call.options))
        remembered = known.get(key)
        if remembered is None or remembered[0] is not scheduler:
            one = batch.part(slice(0, 1))
            if len(known) >= _MOST_PLANS:
                known.clear()
            known[key] = remembered = scheduler, plan(self.pipeline, lambda: self.run(one))
        return remembered[1]

    def pack(self, x: Tensor, clips: Tensor) -> Tensor:
        """A noised sample in step layout -> ``latents=``; ``clips`` are the clean ones."""
        return self.family.pack(self.pipeline, x.to(clips.device), clips)

    def parts(self, count: int, stage: CachedCalls) -> Iterator[slice]:
        """Which paintings go through a call together: all, or one at a time."""
        alone = not self.family.batches or step_caches.one_at_a_time(self.pipeline, stage)
        size = 1 if alone else max(count, 1)
        return (slice(first, first + size) for first in range(0, count, size))

    def noise(self, clips: Tensor, seeds: Sequence[Seed], purpose: str) -> Tensor:
        """One noise sample per clip from its own seed; step layout, float32, CPU."""
        shapes = [self.family.to_step(clip[None]).shape for clip in clips]
        drawn = [
            torch.randn(shape, generator=_generator(seed, purpose, shape))
            for shape, seed in zip(shapes, seeds, strict=True)
        ]
        return torch.cat(drawn)

    def renoising_noise(self, clips: Tensor, seeds: Sequence[Seed]) -> Tensor:
        """As ``noise``, shaped as the family re-noises; in one stream it comes after the paths'."""
        drawn = []
        for clip, seed in zip(clips, seeds, strict=True):
            generator = _generator(seed, "renoise", self.family.to_step(clip[None]).shape)
            drawn.append(self.family.renoising_noise(self.pipeline, clip, self.call, generator))
        return torch.cat(drawn)


def _generator(seed: Seed, purpose: str, before: torch.Size) -> torch.Generator:
    """Where a draw begins: at a seed of its own, or behind earlier ones of the shape ``before``."""
    if not isinstance(seed, Draw):
        return torch.Generator().manual_seed(derived_seed(seed, purpose))
    generator = torch.Generator().manual_seed(seed.seed)
    for _ in range(seed.index):
        torch.randn(before, generator=generator)
    return generator


def derived_seed(seed: int, purpose: str) -> int:
    """A seed of 63 bits for one ``purpose`` of a painting's ``seed``, unrelated to its others."""
    digest = hashlib.sha256(f"{seed}/{purpose}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


class PathSeeds(NamedTuple):
    """What one painting's noise is drawn from: per path, and for re-noising."""

    real: Seed
    proxy: Seed
    final: Seed


def path_seeds(seed: Seed, settings: EPASettings) -> PathSeeds:
    """The seeds of one painting's stages."""
    seed = _number(seed)
    if not settings.one_stream:
        return PathSeeds(derived_seed(seed, "real"), derived_seed(seed, "proxy"), seed)
    used = settings.distils + (settings.distils and settings.needs_proxy)
    return PathSeeds(Draw(seed, 0), Draw(seed, 1), Draw(seed, int(used)))


@contextmanager
def _global_seed(pipeline: "DiffusionPipeline", seed: int) -> Iterator[None]:
    # Some pipelines sample their condition from the global generator, whatever they are given.
    device = torch.device(pipeline._execution_device)
    cuda = device.type == "cuda"
    with torch.random.fork_rng(devices=[device] if cuda else []):
        torch.default_generator.manual_seed(seed)
        if cuda:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


def runner_of(pipeline: "DiffusionPipeline", call: CallSettings, steps: int) -> Runner:
    """The runner of ``pipeline``; UnsupportedError for an unknown class or an unfit size."""
    family = family_of(pipeline)
    family.check(pipeline, call)
    step_caches.check_guidance(pipeline, call.guidance_scale)
    call = family.native(pipeline, call)
    return Runner(pipeline, family, call, steps)
