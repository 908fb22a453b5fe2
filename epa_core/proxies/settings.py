"""Settings of the proxy makers: what each may be, checked before any weights are read.

They carry the names of the pipelines' call arguments, which is where they go.
"""

import difflib
from collections.abc import Mapping
from typing import Any

from epa_core.errors import UnsupportedError
from epa_core.ranges import Range

# Timesteps are numbered up to 1000 in training, so there are no more steps to take than that.
RANGES = {
    "strength": Range(0, 1, above=True),
    "num_inference_steps": Range(1, 1000, whole=True),
    "guidance_scale": Range(0),
    "image_guidance_scale": Range(1),
    "aesthetic_score": Range(0, 10),
    "negative_aesthetic_score": Range(0, 10),
}
TEXTS = ("negative_prompt",)


def checked(
    proxy: str, defaults: Mapping[str, float | int | str], given: Mapping[str, Any]
) -> dict[str, Any]:
    """Return ``defaults`` overlaid with ``given``, numbers in the types that pipelines take.

    UnsupportedError, with the setting, its value and what is allowed, for a setting that the
    proxy lacks, a value out of range, and values that together draw nothing.
    """
    for name in given:
        if name not in defaults:
            raise UnsupportedError(
                f"The proxy {proxy!r} has no setting {name!r}; {_known(name, defaults)}"
            )
    settings = {name: _read(proxy, name, value) for name, value in {**defaults, **given}.items()}
    _check_steps(proxy, settings)
    _check_guidance(proxy, settings)
    return settings


def _known(name: str, defaults: Mapping[str, object]) -> str:
    if not defaults:
        return "it takes none."
    near = difflib.get_close_matches(name, defaults, n=1)
    return f"did you mean {near[0]!r}?" if near else f"it takes {', '.join(defaults)}."


def _read(proxy: str, name: str, value: object) -> float | int | str:
    if name in TEXTS:
        if isinstance(value, str):
            return value
        allowed = "a text"
    else:
        number = RANGES[name].read(value)
        if number is not None:
            return number
        allowed = str(RANGES[name])
    raise UnsupportedError(f"{name} = {value!r} of the proxy {proxy!r} must be {allowed}.")


def _check_steps(proxy: str, settings: Mapping[str, Any]) -> None:
    """Image-to-image pipelines take int(steps * strength) steps; without any they fail deep in."""
    if "strength" not in settings:
        return
    steps, strength = settings["num_inference_steps"], settings["strength"]
    if int(steps * strength) < 1:
        raise UnsupportedError(
            f"num_inference_steps = {steps} and strength = {strength:g} of the proxy {proxy!r} "
            "leave no step to draw with: their product must be at least 1."
        )


def _check_guidance(proxy: str, settings: Mapping[str, Any]) -> None:
    """The editing pipeline guides by text and painting together, or silently by neither."""
    if "image_guidance_scale" in settings and settings["guidance_scale"] <= 1:
        raise UnsupportedError(
            f"guidance_scale = {settings['guidance_scale']:g} of the proxy {proxy!r} must be a "
            "number above 1: at 1 or less it would switch off image_guidance_scale too."
        )
