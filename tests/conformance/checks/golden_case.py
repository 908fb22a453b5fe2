"""One recorded case: its facts, its tensors, and how far results may lie from them."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from safetensors.torch import load_file
from torch import Tensor


class Recorded(Mapping[str, Any]):
    """Recorded values by name; asking for one that is not there fails, and says which."""

    def __init__(self, values: Mapping[str, Any], where: str) -> None:
        self._values, self._where = values, where

    def __getitem__(self, name: str) -> Any:
        assert name in self._values, f"{self._where} holds no {name!r}"
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, name: object) -> bool:
        return name in self._values


@dataclass
class GoldenCase:
    """A folder KIND/CASE/ with case.json, tensors.safetensors and checkpoint/."""

    folder: Path
    facts: Mapping[str, Any]
    largest: dict[str, tuple[float, float]] = field(default_factory=dict, repr=False)

    #: What ``fresh`` keeps: what no check changes.
    kept: ClassVar = ("tensors",)

    @property
    def name(self) -> str:
        return f"{self.folder.parent.name}/{self.folder.name}"

    @cached_property
    def tensors(self) -> Recorded:
        path = self.folder / "tensors.safetensors"
        assert path.is_file(), f"{path} is missing"
        return Recorded(load_file(path), str(path))

    def fresh(self) -> Self:
        """The same case with nothing drawn or animated yet."""
        other = replace(self, largest={})
        vars(other).update({name: getattr(self, name) for name in self.kept})
        return other

    def close(self, name: str, got: Tensor, wanted: Tensor, allowed: float) -> None:
        """``got`` lies within ``allowed`` of ``wanted`` everywhere, and has its shape."""
        assert got.shape == wanted.shape, (
            f"{name} has shape {tuple(got.shape)}, recorded is {tuple(wanted.shape)}"
        )
        got, wanted = got.double(), wanted.double()
        assert got.isfinite().all(), f"{name} holds values that are not finite"
        self.at_most(name, float((got - wanted).abs().max()), allowed)

    def at_most(self, name: str, off: float, allowed: float) -> None:
        """``off`` is no larger than ``allowed``; the largest one seen is kept for the summary."""
        self.largest[name] = max((off, allowed), self.largest.get(name, (0.0, allowed)))
        assert off <= allowed, f"{name} is {off:.3g} off the recorded values; allowed: {allowed:g}"

    def close_to_scale(self, name: str, got: Tensor, wanted: Tensor, share: float) -> None:
        """As ``close``; allowed is ``share`` of the largest recorded value."""
        self.close(name, got, wanted, share * float(wanted.double().abs().max()))


def read_facts(folder: Path) -> Recorded:
    """case.json of a case; AssertionError if it is missing or no JSON object."""
    path = folder / "case.json"
    assert path.is_file(), f"{path} is missing"
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise AssertionError(f"{path} is not valid JSON: {error}") from error
    assert isinstance(facts, dict), f"{path} holds no object"
    return Recorded(facts, str(path))


def check_files(case: GoldenCase) -> None:
    """Every file that case.json lists is there and unchanged; not every kind lists them."""
    if "sha256" not in case.facts:
        return
    for name, wanted in case.facts["sha256"].items():
        path = case.folder / name
        assert path.is_file(), f"{path} is missing"
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        assert found == wanted, f"{path} is not the recorded file: its SHA-256 is {found}"


def check_names(tensors: Recorded, required: set[str], known: set[str]) -> None:
    """All required tensors are there, and none that no check would look at."""
    missing = sorted(required - set(tensors))
    assert not missing, f"missing tensors: {', '.join(missing)}"
    unknown = sorted(set(tensors) - required - known)
    assert not unknown, f"tensors that no check looks at: {', '.join(unknown)}"


def check_prefixes(case: GoldenCase, names: set[str]) -> None:
    """Every tensor belongs to one of the named cases."""
    unknown = sorted({name.partition("/")[0] for name in case.tensors} - names)
    assert not unknown, f"tensors of cases that case.json does not list: {', '.join(unknown)}"


def exact(name: str, got: Tensor, wanted: Tensor) -> None:
    """The same whole numbers."""
    assert torch.equal(got.long().cpu(), wanted.long()), f"{name}: {got} is not {wanted}"
