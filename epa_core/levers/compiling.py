"""torch.compile of the denoiser: whole, or the block that it repeats."""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from epa_core.errors import UnsupportedError

# Compiled for one size at a time. A collection has as many as its paintings have aspects; beyond
# this many, torch runs the network uncompiled.
COMPILED_SHAPES = 64


def compile_whole(networks: list[nn.Module]) -> None:
    """Compile each network's forward as one graph, for any batch."""
    _allow_shapes()
    for network in networks:
        # The method, not the module: offloading wraps it, and its moves must stay outside.
        network.forward = _of_any_batch(torch.compile(network.forward, dynamic=False))


def compile_blocks(name: str, networks: list[Any]) -> None:
    """Compile the blocks that diffusers says a network repeats; one graph serves all of a kind.

    UnsupportedError where it names none.
    """
    _allow_shapes()
    for network in networks:
        repeated = getattr(network, "_repeated_blocks", None) or ()
        if not any(type(module).__name__ in repeated for module in network.modules()):
            raise UnsupportedError(
                f"diffusers names no repeated blocks of {type(network).__name__} ({name}); take "
                "compile: true, which compiles it whole."
            )
        network.compile_repeated_blocks()


def _allow_shapes() -> None:
    limit = torch._dynamo.config.recompile_limit
    torch._dynamo.config.recompile_limit = max(limit, COMPILED_SHAPES)


def _of_any_batch(forward: Callable[..., Any]) -> Callable[..., Any]:
    """``forward`` with the first axis of every tensor left open: a smaller last batch, one that was
    halved, or one path in place of two must not be compiled anew.
    """

    @functools.wraps(forward)
    def call(*args: Any, **named: Any) -> Any:
        for value in (*args, *named.values()):
            if isinstance(value, torch.Tensor) and value.ndim and len(value) > 1:
                torch._dynamo.maybe_mark_dynamic(value, 0)
        return forward(*args, **named)

    return call
