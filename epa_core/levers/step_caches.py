"""Step caches: what a denoiser computed at one step, taken over by the next ones.

A cache lives for one call of the pipeline: its hooks are set before and taken off after it, also
when it fails. So nothing passes from one stage, batch or painting to another.
"""

import functools
import inspect
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from torch import nn

from epa_core.errors import UnsupportedError
from epa_core.levers import CachedCalls, StepCache
from epa_core.levers.placement import denoisers_of

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

_caches: WeakKeyDictionary["DiffusionPipeline", StepCache] = WeakKeyDictionary()


def attach(pipeline: "DiffusionPipeline", cache: StepCache) -> None:
    """Let ``pipeline``'s calls of the cache's stages use it.

    UnsupportedError where it cannot work or would do nothing, found out by setting its hooks and
    counting them, and by reading how the pipeline's call announces its passes.
    """
    cache, networks = cache.resolved(), denoisers_of(pipeline)
    for network in networks:
        if not hasattr(network, "enable_cache"):
            raise UnsupportedError(
                f"diffusers has no step caches for {type(network).__name__}; to save time take "
                "compile, or fewer animate.num_inference_steps."
            )
    _check_call(pipeline, cache)
    for network in networks:
        with _hooked(pipeline, network, cache, steps=2, window=slice(None)):
            pass
    _caches[pipeline] = cache


def cache_of(pipeline: "DiffusionPipeline", stage: CachedCalls | None) -> StepCache | None:
    """The cache that calls of ``stage`` use; None where they are computed in full."""
    cache = _caches.get(pipeline)
    return cache if cache is not None and stage in cache.stages else None


def one_at_a_time(pipeline: "DiffusionPipeline", stage: CachedCalls | None) -> bool:
    """Whether what a batch holds decides what is skipped, so that each painting needs its call."""
    cache = cache_of(pipeline, stage)
    return cache is not None and cache.name == "first-block"


def check_guidance(pipeline: "DiffusionPipeline", guidance_scale: float | None) -> None:
    """UnsupportedError where the attached cache needs a guided call, and this one is not."""
    cache = _caches.get(pipeline)
    if cache is None or cache.name != "faster":
        return
    from epa_core.families import family_of
    from epa_core.families.base import call_default

    argument = family_of(pipeline).guidance_argument
    scale = call_default(pipeline, argument) if guidance_scale is None else guidance_scale
    if scale is not None and scale <= 1:
        raise UnsupportedError(
            f"step_cache 'faster' halves the pass of a guided call, and {argument} {scale:g} means "
            "no guidance; take 'pab', or a scale above 1."
        )


@contextmanager
def cached(pipeline: "DiffusionPipeline", stage: CachedCalls | None, steps: int) -> Iterator[None]:
    """Run one call of ``pipeline`` with the stage's cache, if it has one.

    ``steps`` are those of the whole schedule; a window that the scheduler is cut to is taken into
    account.
    """
    cache = cache_of(pipeline, stage)
    if cache is None:
        yield
        return
    window = getattr(pipeline.scheduler, "epa_window", None)
    part = slice(None) if window is None else slice(window.first, window.last)
    with ExitStack() as hooks:
        for network in denoisers_of(pipeline):
            hooks.enter_context(_hooked(pipeline, network, cache, steps, part))
        yield


@contextmanager
def _hooked(
    pipeline: Any, network: Any, cache: StepCache, steps: int, window: slice
) -> Iterator[None]:
    before = _hooks(network)
    config = _configuration(pipeline, network, cache, steps, window)
    try:
        network.enable_cache(config)
    except (ValueError, IndexError, AttributeError, TypeError) as error:
        _clean(network, config)
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        if isinstance(error, IndexError):
            reason = "it needs a list of two blocks or more"
        raise UnsupportedError(
            f"diffusers cannot set step_cache {cache.name!r} on {type(network).__name__}: {reason}."
        ) from error
    try:
        _check_hooked(network, cache, {name for name, _ in _hooks(network) - before})
        yield
    finally:
        network.disable_cache()


def _clean(network: Any, config: Any) -> None:
    """Take off the hooks that an attempt which failed has left."""
    network._cache_config = config
    network.disable_cache()


def _hooks(network: Any) -> set[tuple[str, str]]:
    """(module, hook) of all hooks inside of ``network`` that a pass would meet.

    A list of modules is never called, so a hook on one does nothing.
    """
    return {
        (name, hook)
        for name, module in network.named_modules()
        if name and hasattr(module, "_diffusers_hook")
        if type(module).forward is not nn.Module.forward
        for hook in module._diffusers_hook.hooks
    }


def _check_hooked(network: Any, cache: StepCache, hooked: set[str]) -> None:
    """UnsupportedError where no module, or none that a pattern names, got a hook."""
    kind = type(network).__name__
    for pattern in cache.modules:
        if not any(re.fullmatch(pattern, name) for name in hooked):
            some = ", ".join(_attentions(network)[:2]) or "none"
            raise UnsupportedError(
                f"step_cache.modules {pattern}: no module of {kind} that computes has such a name, "
                f"so nothing would be taken over; name others (its attentions: {some} ...) or "
                "leave modules out."
            )
    if not hooked:
        raise UnsupportedError(
            f"step_cache {cache.name!r} finds nothing in {kind} to take over, so it would do "
            "nothing; leave it out, or take another."
        )


def _configuration(pipeline: Any, network: Any, cache: StepCache, steps: int, window: slice) -> Any:
    import diffusers

    now = functools.partial(_timestep, pipeline)
    if cache.name == "pab":
        return diffusers.PyramidAttentionBroadcastConfig(
            spatial_attention_block_skip_range=cache.interval, current_timestep_callback=now
        )
    if cache.name == "faster":
        from epa_core.families import family_of

        return diffusers.FasterCacheConfig(
            spatial_attention_block_skip_range=cache.interval,
            attention_weight_callback=_half,
            tensor_format="BCFHW" if family_of(pipeline).frame_axis == 1 else "BFCHW",
            current_timestep_callback=now,
        )
    if cache.name == "first-block":
        return diffusers.FirstBlockCacheConfig(threshold=cache.threshold)
    if cache.name == "taylorseer":
        # diffusers' own patterns name no attention of most video models (attn1, attn2).
        named = [re.escape(name) for name in _attentions(network)]
        return diffusers.TaylorSeerCacheConfig(
            cache_interval=cache.interval,
            taylor_factors_dtype=network.dtype,
            cache_identifiers=list(cache.modules) or named or ["(?!)"],
        )
    config = diffusers.MagCacheConfig(
        threshold=cache.threshold, num_inference_steps=steps, mag_ratios=list(cache.ratios)
    )
    config.mag_ratios = config.mag_ratios[window]  # it counts from the first step of the call
    config.num_inference_steps = len(config.mag_ratios)
    return config


def _timestep(pipeline: Any) -> Any:
    return pipeline.current_timestep


def _half(module: Any) -> float:
    return 0.5


def _attentions(network: Any) -> list[str]:
    """Names of the attentions inside of the network's blocks."""
    from diffusers.hooks._common import _ATTENTION_CLASSES

    return [
        name
        for name, module in network.named_modules()
        if isinstance(module, _ATTENTION_CLASSES) and re.match(r"[^.]*blocks\.", name)
    ]


def _check_call(pipeline: Any, cache: StepCache) -> None:
    """UnsupportedError where the pipeline's call does not tell a cache what it needs to know."""
    name = type(pipeline).__name__
    try:
        code = inspect.getsource(type(pipeline).__call__)
    except (OSError, TypeError):
        code = ""
    passes = set(re.findall(r"\bcache_context\(([^)]*)\)", code))
    if not passes:
        raise UnsupportedError(
            f"the call of {name} names its passes by no cache_context, so step_cache "
            f"{cache.name!r} could not tell them apart; to save time take compile."
        )
    together = len(passes) == 1 and next(iter(passes))[:1] in "\"'"
    if cache.name in ("pab", "faster") and not together:
        raise UnsupportedError(
            f"{name} makes the guided and the unguided pass of a step apart, and step_cache "
            f"{cache.name!r} would hand the results of one to the other; take 'first-block' or "
            "'taylorseer'."
        )
    if cache.name == "faster" and hasattr(pipeline, "_pack_latents"):
        raise UnsupportedError(
            f"step_cache 'faster' takes frames, and {name} packs them into tokens; take 'pab' or "
            "'first-block'."
        )
    if cache.name == "mag" and len(denoisers_of(pipeline)) > 1:
        raise UnsupportedError(
            f"step_cache 'mag' counts the steps of one network, and {name} has two; take "
            "'first-block' or 'taylorseer'."
        )
