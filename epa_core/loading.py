"""Where a loaded pipeline lives and what it is tuned for: its levers, in an order that works.

What each does, and what it refuses, is in ``epa_core.levers`` and its modules.
"""

from typing import TYPE_CHECKING

import torch

from epa_core.errors import UnsupportedError
from epa_core.levers import (
    Levers,
    attention,
    compiling,
    early,
    placement,
    precision,
    step_caches,
    vae,
)
from epa_core.levers.compiling import COMPILED_SHAPES
from epa_core.levers.placement import denoisers_of

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

__all__ = ["COMPILED_SHAPES", "check_device", "place"]

_UNCHANGED = Levers()


def check_device(device: str, levers: Levers) -> None:
    """UnsupportedError, before weights are read, for levers that cannot be had on ``device``."""
    early.check_device(device, levers)
    attention.check(levers)


def place(
    pipeline: "DiffusionPipeline", device: str, levers: Levers = _UNCHANGED
) -> "DiffusionPipeline":
    """Return ``pipeline`` on ``device``, its levers pulled.

    UnsupportedError for what this pipeline or device has no use for: a lever that would silently
    do nothing is refused, by looking at what of the pipeline it got hold of.
    """
    name, networks = type(pipeline).__name__, denoisers_of(pipeline)
    _check_networks(name, bool(networks), levers)
    check_device(device, levers)
    if levers.vae_slicing:
        vae.enable_slicing(pipeline)
    if levers.vae_tiling:
        vae.enable_tiling(pipeline)
    if levers.channels_last:
        precision.lay_channels_last(name, networks)
    if attention.chosen(levers) != "native":
        attention.choose(name, networks, levers, device)
    if levers.step_cache is not None:
        step_caches.attach(pipeline, levers.step_cache)
    if levers.storage_dtype is not None:
        precision.store(name, networks, getattr(torch, levers.storage_dtype))
    if levers.compile == "blocks":
        compiling.compile_blocks(name, networks)
    elif levers.compile:
        compiling.compile_whole(networks)
    placement.bring(pipeline, device, levers)
    return pipeline


def _check_networks(name: str, has_networks: bool, levers: Levers) -> None:
    asked = {
        "channels_last": levers.channels_last,
        "compile": bool(levers.compile),
        "offload": levers.offload != "none",
        "attention": attention.chosen(levers) != "native",
        "storage_dtype": levers.storage_dtype is not None,
        "step_cache": levers.step_cache is not None,
    }
    for option, wanted in asked.items():
        if wanted and not has_networks:
            raise UnsupportedError(f"{name} has no network, so {option} is not for it.")
