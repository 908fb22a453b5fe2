"""Options of a model's call (`model.options`): what each may be, checked before any weights."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, TypeAlias

from epa_core.errors import UnsupportedError
from epa_core.ranges import Range

#: A range of numbers, some names, bool (a switch) or str (a text).
Allowed: TypeAlias = Range | tuple[str, ...] | type[bool] | type[str]


@dataclass(frozen=True)
class Option:
    """One argument of the call: its ``default``, what it may be, and what it does.

    ``null``: None is taken too, for the default that the call then has.
    """

    default: bool | float | str | None
    allowed: Allowed
    meaning: str
    null: bool = False

    def takes(self, value: Any) -> bool:
        """Whether ``value`` is allowed."""
        if value is None:
            return self.null
        if isinstance(self.allowed, Range):
            return self.allowed.read(value) is not None
        if isinstance(self.allowed, tuple):
            return isinstance(value, str) and value in self.allowed
        return isinstance(value, self.allowed)

    @property
    def words(self) -> str:
        """What is allowed."""
        if isinstance(self.allowed, Range):
            return str(self.allowed)
        if isinstance(self.allowed, tuple):
            return ", ".join(self.allowed)
        return "true or false" if self.allowed is bool else "a text"


Together: TypeAlias = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True)
class CallOptions:
    """All options of a model's call; ``together`` refuses values that exclude each other."""

    known: Mapping[str, Option]
    together: Together | None = None

    def check_names(self, model: str, given: Mapping[str, Any]) -> None:
        """UnsupportedError for an option that ``model`` does not have."""
        check_names(model, given, self.known)

    def check(self, given: Mapping[str, Any]) -> None:
        """UnsupportedError for a value that is not allowed; other arguments are passed over."""
        values = {name: value for name, value in given.items() if name in self.known}
        for name, value in values.items():
            option = self.known[name]
            if not option.takes(value):
                raise UnsupportedError(f"{name} is {value!r:.80}; use {option.words}.")
        if self.together is not None:
            self.together({name: option.default for name, option in self.known.items()} | values)


def check_names(model: str, given: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    """UnsupportedError, with the nearest name, for one that is not ``known``."""
    for name in given:
        if name in known:
            continue
        if name in ELSEWHERE:
            raise UnsupportedError(f"{name!r} is none of {model}'s options; set {ELSEWHERE[name]}.")
        near = get_close_matches(name, known, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"it takes {', '.join(known)}."
        raise UnsupportedError(f"{model} takes no {name!r}; {hint}")


#: Arguments of calls that other settings decide, and which.
ELSEWHERE: Mapping[str, str] = {
    **dict.fromkeys(("height", "width"), "prepare.area"),
    **dict.fromkeys(("num_frames", "frames"), "model.num_frames"),
    "num_inference_steps": "distill.num_inference_steps and animate.num_inference_steps",
    "guidance_scale": "model.guidance_scale",
    "generator": "seed",
    "prompt": "prompts, or the catalog's prompt",
    "mask_image": "the catalog's mask_uri",
    **dict.fromkeys(("image", "conditioning_frames"), "the catalog's image_uri"),
}
