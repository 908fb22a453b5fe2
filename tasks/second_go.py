"""A second go, in float32, at the works that half precision turned into no video."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from catalogs.codes import kind
from epa_core.errors import ItemError, UnsupportedError
from tasks.commit import commit_failure
from tasks.failures import out_of_memory
from tasks.models import release
from tasks.shard import Failure, Shard

Go = Callable[[Shard], list[Failure]]


def wants_float32(shard: Shard, failure: Failure) -> bool:
    """Whether half precision may be to blame: overflow or rounding, in model or proxy maker."""
    of = shard.recipe.proxy if failure.error.stage == "proxy" else shard.recipe.model
    return kind(failure.error.code) == "numeric" and not shard.strict and of.dtype != "float32"


def second_go(
    held: Iterable[tuple[Shard, list[Failure]]], go: Go, load: Callable[[Shard], object]
) -> None:
    """``go`` again in float32 at what the first one handed back, for all cells of a shard at once.

    ``load`` gets the float32 model ready. Where it cannot be had or does not fit, the failures are
    recorded as they are: they must not end the run, which would meet them again and again.
    """
    todo = [(shard, failures) for shard, failures in held if failures]
    if not todo:
        return
    release()  # the same weights twice would not fit on most GPUs
    for shard, failures in todo:
        strict = replace(shard, jobs=[failure.job for failure in failures], strict=True)
        try:
            load(strict)
        except Exception as error:
            if not (isinstance(error, UnsupportedError) or out_of_memory(error)):
                raise
            reason = "too large" if out_of_memory(error) else "not to be had"
            _give_up(shard, failures, f"the model in float32 is {reason}")
        else:
            go(strict)
    release()


def _give_up(shard: Shard, failures: list[Failure], reason: str) -> None:
    for failure in failures:
        first = failure.error
        error = ItemError(first.code, f"{first.message}; {reason}", stage=first.stage)
        commit_failure(shard, Failure(failure.job, error, failure.seconds))
