"""Presets: settings of a run file under one name. What the user writes overrides each of them.

A preset is only a shorter way to write: its settings enter the keys as if they stood in the run
file, the name itself enters none.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, NamedTuple


class Given(NamedTuple):
    """A value of a preset, and where it is from."""

    value: Any
    source: str


_PAPER = "arXiv 2503.23736"
_CONFIG = "its released config.yaml"
_CODE = "its released code"

# *Every Painting Awakened*, arXiv 2503.23736, and what its authors released with it:
# AnimateAnything with the SDXL refiner's proxies. The weights are a local folder that only the
# user can name.
PAPER: Mapping[str, Given] = {
    "seed": Given(42, _CONFIG),
    "model.name": Given("animate-anything", _PAPER),
    "model.num_frames": Given(16, _CONFIG),
    "model.guidance_scale": Given(9.0, _CONFIG),
    "model.options.motion_strength": Given(8, _CONFIG),
    "prepare.area": Given(512 * 512, f"{_CONFIG}: 512x512, the painting's aspect kept"),
    "prepare.multiple": Given(8, _CODE),
    # The proxies were made by hand: which model is in the paper, its settings are nowhere.
    "proxy.name": Given("sdxl-refiner", _PAPER),
    "proxy.strength": Given(0.5, "diffusers' guide to this refiner"),
    "proxy.num_inference_steps": Given(50, "diffusers' default"),
    "proxy.guidance_scale": Given(5.0, "diffusers' default"),
    "distill.num_inference_steps": Given(25, _CONFIG),
    "distill.p": Given(0.6, _PAPER),
    "distill.alpha_curve": Given("stepwise-decreasing", _PAPER),
    "distill.alpha_first": Given(10.0, _CODE),
    "distill.alpha_last": Given(1.0, _CODE),
    "animate.num_inference_steps": Given(25, _CONFIG),
    "encode.fps": Given(8, _CODE),
    "encode.gif": Given(True, f"{_CODE}, which writes both"),
}

PRESETS: Mapping[str, Mapping[str, Given]] = {"paper": PAPER}

# What a preset says of its model, and of its proxy maker, is wrong for another one.
_OF = {"model": ("model.", "prepare.", "encode.fps"), "proxy": ("proxy.",)}


def preset_settings(name: str) -> Mapping[str, Given]:
    """The settings of a preset by dotted name. Raises ValueError."""
    if name in PRESETS:
        return PRESETS[name]
    near = get_close_matches(name, PRESETS, 1, 0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"allowed: {', '.join(PRESETS)}"
    raise ValueError(f"preset = {name!r}: there is no such preset; {hint}")


def expanded(tree: Mapping[str, Any]) -> dict[str, Any]:
    """A run's tree of settings with those of its ``preset`` beneath it. Raises ValueError.

    What a preset says of its model or proxy maker is left out where the tree names another one.
    """
    name = tree.get("preset")
    if not isinstance(name, str):
        return dict(tree)
    settings = preset_settings(name)
    foreign: list[str] = []
    for section, dotted_names in _OF.items():
        given, own = tree.get(section), settings[f"{section}.name"].value
        if isinstance(given, Mapping) and given.get("name", own) != own:
            foreign += dotted_names
    base: dict[str, Any] = {}
    for dotted, setting in settings.items():
        if not dotted.startswith(tuple(foreign)):
            place(base, dotted, setting.value)
    return _overlaid(base, tree)


def place(tree: dict[str, Any], dotted: str, value: Any) -> None:
    """Put a value into a tree of settings by its dotted name."""
    *parents, last = dotted.split(".")
    for parent in parents:
        tree = tree.setdefault(parent, {})
    tree[last] = value


def _overlaid(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for name, value in over.items():
        old = result.get(name)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            result[name] = _overlaid(old, value)
        else:
            result[name] = value
    return result
