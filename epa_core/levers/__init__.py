"""What a loaded model can trade for memory or time, and what of it changes results.

``Levers`` says which; ``epa_core.loading.place`` pulls them. What each saves, changes and refuses:
docs/memory.md. Importing this module imports neither torch nor diffusers.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal, get_args

from epa_core.errors import UnsupportedError

Offload = Literal["none", "model", "sequential", "block", "leaf"]
Compile = bool | Literal["blocks"]
StorageDtype = Literal["float8_e4m3fn", "float8_e5m2"]
# The names are diffusers'. Those that fetch their kernels from the hub as they are asked for run
# code that nobody pinned, so they are not among them; nor is flex, which outside of a compiled
# graph holds all scores in memory.
ExactAttention = Literal[
    "native",
    "_native_math",
    "_native_efficient",
    "_native_flash",
    "_native_cudnn",
    "flash",
    "_flash_3",
    "xformers",
]
QuantisedAttention = Literal["sage"]
CacheName = Literal["pab", "first-block", "mag", "faster", "taylorseer"]
CachedCalls = Literal["distill", "animate"]

# What each cache reads beside its name, and the values that stand for "as usual".
CACHE_SETTINGS: Mapping[str, Mapping[str, object]] = MappingProxyType(
    {
        "pab": {"interval": 2},
        "first-block": {"threshold": 0.05},
        "mag": {"threshold": 0.06, "ratios": ()},
        "faster": {"interval": 2},
        "taylorseer": {"interval": 5, "modules": ()},
    }
)


@dataclass(frozen=True)
class StepCache:
    """A step cache of diffusers: parts of a step taken over from the one before.

    ``stages`` are the calls it works in. ``interval``: anew every so many steps (pab, faster,
    taylorseer). ``threshold``: how much may change (first-block, mag). ``ratios`` of the model's
    residuals from step to step (mag; a calibration gives them). ``modules``: patterns for whole
    names of modules (taylorseer; empty: the attentions of the blocks).
    """

    name: CacheName
    stages: tuple[CachedCalls, ...] = ("animate",)
    interval: int | None = None
    threshold: float | None = None
    ratios: tuple[float, ...] = ()
    modules: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.name not in get_args(CacheName):
            allowed = ", ".join(get_args(CacheName))
            raise UnsupportedError(f"step_cache.name {self.name!r} is not one of {allowed}.")
        usual = CACHE_SETTINGS[self.name]
        for setting in ("interval", "threshold", "ratios", "modules"):
            if getattr(self, setting) not in (None, ()) and setting not in usual:
                raise UnsupportedError(
                    f"step_cache {self.name!r} reads no {setting}; it reads {', '.join(usual)}."
                )
        for pattern in self.modules:
            try:
                re.compile(pattern)
            except re.error as error:
                raise UnsupportedError(
                    f"step_cache.modules {pattern!r} is no pattern ({error}); allowed are regular "
                    "expressions for whole names, like transformer_blocks\\.\\d+\\.attn1."
                ) from error
        if not self.stages:
            raise UnsupportedError("step_cache.stages is empty; name distill, animate or both.")
        if self.name == "mag" and not self.ratios:
            raise UnsupportedError(
                "step_cache 'mag' needs ratios, which differ from model to model: those that "
                "diffusers' MagCacheConfig(calibrate=True) prints."
            )
        if self.name == "mag" and "distill" in self.stages:
            raise UnsupportedError(
                "step_cache 'mag' knows the steps of the model's own schedule, not the levels of "
                "the distillation; its stages can be animate alone."
            )

    def resolved(self) -> "StepCache":
        """The same cache with its usual values filled in."""
        missing = {
            setting: value
            for setting, value in CACHE_SETTINGS[self.name].items()
            if getattr(self, setting) is None
        }
        return replace(self, **missing)  # type: ignore[arg-type] # each has its field's type


@dataclass(frozen=True)
class Levers:
    """How a model is placed and tuned; the defaults change nothing.

    ``offload``: none keeps all on the device; model moves one module at a time there, sequential
    one layer, block ``offload_blocks`` blocks, leaf one layer (the last two by diffusers' group
    offloading, ahead of need with ``offload_stream``). ``vae_slicing`` decodes picture by picture,
    ``channels_last`` changes how 2-D convolutions lie in memory, ``compile`` runs the denoiser
    through torch.compile, whole or its repeated "blocks", ``attention`` chooses who computes it.
    These differ by rounding at most. What the others do shows: ``storage_dtype`` keeps the
    denoiser's weights in 8 bits between uses, ``vae_tiling`` takes the VAE's pictures in tiles,
    ``quantised_attention`` computes in 8 bits, ``step_cache`` skips.
    """

    offload: Offload = "none"
    offload_blocks: int = 1
    offload_stream: bool = False
    vae_slicing: bool = False
    channels_last: bool = False
    compile: Compile = False
    attention: ExactAttention = "native"
    storage_dtype: StorageDtype | None = None
    vae_tiling: bool = False
    quantised_attention: QuantisedAttention | None = None
    step_cache: StepCache | None = None

    def __post_init__(self) -> None:
        if self.offload not in get_args(Offload):
            allowed = ", ".join(get_args(Offload))
            raise UnsupportedError(f"offload {self.offload!r} is not one of {allowed}.")
        for message, wrong in _impossible(self):
            if wrong:
                raise UnsupportedError(message)


# Backends whose kernels on a GPU take half precision only.
HALF_ONLY: tuple[ExactAttention, ...] = ("flash", "_flash_3", "_native_flash", "_native_cudnn")


def _impossible(levers: Levers) -> list[tuple[str, bool]]:
    """What cannot go together whatever the model, each with the sentence that says so."""
    offload, cached = levers.offload, levers.step_cache is not None
    by_group, by_layer = offload in ("block", "leaf"), offload in ("sequential", "leaf")
    faster = levers.step_cache is not None and levers.step_cache.name == "faster"
    return [
        (
            f"offload {offload!r} takes layers apart that compile puts together; take offload "
            "'model', or leave compile out.",
            bool(levers.compile) and (by_group or by_layer),
        ),
        (
            f"offload_stream fetches groups ahead of need, and offload {offload!r} has none; take "
            "offload 'block' or 'leaf'.",
            levers.offload_stream and not by_group,
        ),
        (
            "offload_stream keeps one block to a group; leave offload_blocks at 1.",
            levers.offload_stream and levers.offload_blocks != 1,
        ),
        (
            f"offload_blocks counts the blocks of offload 'block', and offload is {offload!r}.",
            levers.offload_blocks != 1 and offload != "block",
        ),
        (
            "offload_stream learns the order of layers from the first pass, which vae_tiling and "
            "step_cache change from pass to pass; leave offload_stream out.",
            levers.offload_stream and (levers.vae_tiling or cached),
        ),
        (
            "offload 'sequential' takes weights away that storage_dtype casts; take offload "
            "'model', 'block' or 'leaf'.",
            offload == "sequential" and levers.storage_dtype is not None,
        ),
        (
            f"step_cache 'faster' and offload {offload!r} wrap the same calls; take offload "
            "'block' or 'leaf'.",
            faster and offload == "model",
        ),
        (
            "offload 'sequential' and step_cache wrap the same layers; take offload 'model', "
            "'block' or 'leaf'.",
            cached and offload == "sequential",
        ),
        (
            "compile traces what a step computes, and step_cache changes that from step to step; "
            "leave one of them out.",
            bool(levers.compile) and cached,
        ),
        (
            "compile would trace the casts of storage_dtype at every layer; leave one of them out.",
            bool(levers.compile) and levers.storage_dtype is not None,
        ),
        (
            f"attention {levers.attention!r} and the quantised attention "
            f"{levers.quantised_attention!r} exclude each other; leave one of them out.",
            levers.attention != "native" and levers.quantised_attention is not None,
        ),
    ]
