"""A matrix of settings: one run, several recipes, and what they share done once.

`matrix: {variant: [V, S], distill.p: [0.4, 0.6]}` is every combination, in the order written; each
is a cell. The cells' works lie in one collection; equal stages have equal keys, so the cache serves
all cells, and cells that make the very same video of a painting are one work.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, get_origin

from pydantic import BaseModel, ValidationError

from tasks.base import sentence
from tasks.levers import StepCache
from tasks.presets import place

if TYPE_CHECKING:
    from tasks.config import Recipe, RunConfig

MOST_CELLS = 256
# A process holds one model and one proxy maker: which, in which weights, is the run's choice.
_ONE_TO_A_RUN = frozenset(
    [
        f"{section}.{name}"
        for section in ("model", "proxy")
        for name in ("name", "source", "revision", "dtype")
    ]
    + [f"model.{name}" for name in ("storage_dtype", "vae_tiling", "attention")]
    + [f"model.step_cache.{name}" for name in StepCache.model_fields]
)


@dataclass(frozen=True)
class Cell:
    """One combination of a run's matrix; ``label`` is None where the run has no matrix."""

    label: str | None
    recipe: Recipe


def cells_of(run: RunConfig) -> list[Cell]:
    """The cells of a run whose matrix is right; one without a label where it has none."""
    if not run.matrix:
        return [Cell(None, run.recipe())]
    names = list(run.matrix)
    return [Cell(_label(one, names), one.recipe()) for one in map(run_at(run), _combinations(run))]


def check_matrix(run: RunConfig) -> None:
    """See that every cell of the run's matrix is a valid run. Raises ValueError, one sentence."""
    matrix = run.matrix
    for name, values in matrix.items():
        _check_name(name, matrix)
        if not values:
            raise ValueError(f"matrix.{name} is empty; give at least one value")
    count = math.prod(map(len, matrix.values()))
    if count > MOST_CELLS:
        raise ValueError(f"matrix: {count:,} cells; at most {MOST_CELLS} are allowed")
    at = run_at(run)
    for name, values in matrix.items():
        seen: set[str] = set()
        for value in values:
            text = _label(_said("matrix", at, {name: value}), [name])
            if text in seen:
                raise ValueError(f"matrix: {text} is there twice")
            seen.add(text)
    for cell in _combinations(run):
        _said(f"matrix, cell {json.dumps(cell)}", at, cell)


def run_at(run: RunConfig) -> Callable[[Mapping[str, Any]], RunConfig]:
    """Gives the run with other values, by dotted name, and without its matrix."""

    def at(values: Mapping[str, Any]) -> RunConfig:
        tree = run.model_dump(exclude={"matrix", "preset"})
        for name, value in values.items():
            place(tree, name, value)
        return type(run).model_validate(tree)

    return at


def settings_of(kind: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted name and type of every setting below ``kind``."""
    for name, field in kind.model_fields.items():
        below = field.annotation
        if isinstance(below, type) and issubclass(below, BaseModel):
            yield from settings_of(below, f"{prefix}{name}.")
        else:
            yield prefix + name, below


def _combinations(run: RunConfig) -> Iterator[dict[str, Any]]:
    names = list(run.matrix)
    for values in itertools.product(*run.matrix.values()):
        yield dict(zip(names, values, strict=True))


def _check_name(name: str, matrix: Mapping[str, Any]) -> None:
    from tasks.config import Recipe  # which has this module check its matrix

    kinds = dict(settings_of(Recipe))
    may_vary = [known for known in kinds if known not in _ONE_TO_A_RUN]
    open_ended = [f"{known}." for known in may_vary if get_origin(kinds[known]) is dict]
    if name in _ONE_TO_A_RUN:
        raise ValueError(f"matrix.{name}: it is one to a run and cannot vary")
    if any(other.startswith(f"{name}.") for other in matrix):
        raise ValueError(f"matrix.{name}: another of its settings lies within this one")
    if name in may_vary or any(name.startswith(known) for known in open_ended):
        return
    group = [known for known in may_vary if known.startswith(f"{name}.")]
    if group:
        raise ValueError(f"matrix.{name} is a group of settings; name one: {', '.join(group)}")
    near = get_close_matches(name, may_vary, 1, 0.6)
    groups = ", ".join(dict.fromkeys(known.partition(".")[0] for known in may_vary))
    hint = f"did you mean {near[0]!r}?" if near else f"allowed: {groups}"
    raise ValueError(f"matrix.{name}: there is no such setting of a video; {hint}")


def _said(
    where: str, at: Callable[[Mapping[str, Any]], RunConfig], values: Mapping[str, Any]
) -> RunConfig:
    try:
        return at(values)
    except ValidationError as error:
        raise ValueError(f"{where}: {sentence(error)}") from None


def _label(run: RunConfig, names: Iterable[str]) -> str:
    """`variant=V, distill.p=0.4`: the values as the run understood them."""
    return ", ".join(f"{name}={_text(_value(run, name))}" for name in names)


def _value(run: RunConfig, name: str) -> Any:
    value: Any = run
    for part in name.split("."):
        value = value[part] if isinstance(value, Mapping) else getattr(value, part)
    return value


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False).removesuffix(".0")
