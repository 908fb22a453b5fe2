"""A run file's levers of memory and time: those that change results, and all of them together.

Table of what each saves, changes and refuses: docs/memory.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from epa_core import levers
from epa_core.cards import model_card
from epa_core.errors import UnsupportedError
from epa_core.levers.early import check_card, check_device
from tasks.base import Params

if TYPE_CHECKING:
    from tasks.config import Execution, ModelChoice

# Of `model`: they enter keys only where they are used, so that without them all keys stay.
KEYED = frozenset({"storage_dtype", "vae_tiling", "attention", "step_cache"})
# Of `execution`: the same frames up to rounding.
RUNTIME = (
    *("offload", "offload_blocks", "offload_stream"),
    *("vae_slicing", "channels_last", "compile", "attention"),
)


class StepCache(Params):
    """Parts of a step taken over from the one before: faster, visibly other (docs/memory.md)."""

    name: levers.CacheName | None = Field(
        None,
        description="pab, first-block, mag, faster or taylorseer, for transformers; null: every "
        "step in full",
    )
    stages: tuple[levers.CachedCalls, ...] = Field(
        ("animate",), description="whose steps: distill, animate; only these get other keys"
    )
    interval: int | None = Field(
        None, ge=2, le=100, description="pab, faster (2), taylorseer (5): anew every so many steps"
    )
    threshold: float | None = Field(
        None,
        gt=0,
        le=10,
        description="first-block (0.05), mag (0.06): the most that is passed over",
    )
    ratios: tuple[float, ...] = Field(
        (), max_length=1000, description="mag: of this model, from diffusers' calibration"
    )
    modules: tuple[str, ...] = Field(
        (), max_length=100, description="taylorseer: patterns for names; the attentions if empty"
    )

    def lever(self) -> levers.StepCache | None:
        """The cache with its usual values, None where there is none. Raises UnsupportedError."""
        if self.name is None:
            return None
        given = self.model_dump(exclude={"stages"})
        return levers.StepCache(**given, stages=tuple(dict.fromkeys(self.stages))).resolved()


def levers_of(choice: ModelChoice, execution: Execution) -> levers.Levers:
    """All levers of a run. Raises UnsupportedError for what cannot go together."""
    return levers.Levers(
        **{name: getattr(execution, name) for name in RUNTIME},
        storage_dtype=choice.storage_dtype,
        vae_tiling=choice.vae_tiling,
        quantised_attention=choice.attention,
        step_cache=choice.step_cache.lever(),
    )


def check(choice: ModelChoice, execution: Execution) -> None:
    """UnsupportedError for levers of a run that exclude each other, or that its model or device has
    no use for, as far as that can be told before anything is loaded.
    """
    pulled = levers_of(choice, execution)
    check_card(model_card(choice.name), pulled)
    if execution.device != "auto":
        check_device(execution.device, pulled)
    cache, scale = pulled.step_cache, choice.guidance_scale
    if cache is not None and cache.name == "faster" and scale is not None and scale <= 1:
        raise UnsupportedError(
            f"step_cache 'faster' halves the pass of a guided call, and guidance_scale {scale:g} "
            "means no guidance; take 'pab', or a scale above 1."
        )


def keyed(choice: ModelChoice, stage: levers.CachedCalls | None = None) -> dict[str, Any]:
    """The levers of a model that change what ``stage`` makes (None: any); empty where none does."""
    plain = {"storage_dtype": choice.storage_dtype, "attention": choice.attention}
    used: dict[str, Any] = {name: value for name, value in plain.items() if value is not None}
    if choice.vae_tiling:
        used["vae_tiling"] = True
    cache = choice.step_cache.lever()
    if cache is not None and (stage is None or stage in cache.stages):
        read = {"name": cache.name} | {
            setting: getattr(cache, setting) for setting in levers.CACHE_SETTINGS[cache.name]
        }
        if stage is None:
            read["stages"] = sorted(cache.stages)
        used["step_cache"] = {k: list(v) if isinstance(v, tuple) else v for k, v in read.items()}
    return used


def in_float32(choice: ModelChoice, execution: Execution) -> tuple[ModelChoice, Execution]:
    """The same model without any lever that computes in, or keeps, fewer bits than float32 has."""
    whole = {"dtype": "float32", "storage_dtype": None, "attention": None}
    if execution.attention in levers.HALF_ONLY:
        execution = execution.model_copy(update={"attention": "native"})
    return choice.model_copy(update=whole), execution
