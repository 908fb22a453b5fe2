"""Where a loaded pipeline lives and what it is tuned for; none of it changes what it computes.

Results may differ from those of another setting in the last bits, as they do between devices.
"""

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from torch import nn

from epa_core.errors import UnsupportedError

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

Offload = Literal["none", "model", "sequential"]

# Compiled for one size at a time. A collection has as many as its paintings have aspects; beyond
# this many, torch runs the network uncompiled.
COMPILED_SHAPES = 64


def place(
    pipeline: "DiffusionPipeline",
    device: str,
    *,
    offload: str = "none",
    vae_slicing: bool = False,
    channels_last: bool = False,
    compile: bool = False,
) -> "DiffusionPipeline":
    """Return ``pipeline`` on ``device``, with its modules taken there as they are needed or whole.

    ``offload`` none keeps all of it there, model one module at a time, sequential one layer (slow,
    least memory). ``vae_slicing`` decodes picture by picture. ``channels_last`` changes how the
    denoiser's 2-D convolutions lie in memory. ``compile`` runs the denoiser through torch.compile,
    once for every size (twice where diffusers takes another way for many frames), whatever the
    batch. UnsupportedError for what this pipeline or device has no use for.
    """
    name = type(pipeline).__name__
    networks = _denoisers(pipeline)
    if offload not in get_args(Offload):
        raise UnsupportedError(f"offload {offload!r} is not one of {', '.join(get_args(Offload))}.")
    asked = {"channels_last": channels_last, "compile": compile, "offload": offload != "none"}
    for option, wanted in asked.items():
        if wanted and not networks:
            raise UnsupportedError(f"{name} has no network, so {option} is not for it.")
    if offload != "none" and torch.device(device).type == "cpu":
        raise UnsupportedError(f"offload {offload!r} moves modules to an accelerator, not the CPU.")
    if offload == "sequential" and compile:
        raise UnsupportedError(
            "offload 'sequential' takes layers apart that compile puts together."
        )
    if vae_slicing:
        _slice_vae(pipeline)
    if channels_last:
        _lay_channels_last(name, networks)
    if compile:
        _compile(networks)
    if offload == "model":
        pipeline.enable_model_cpu_offload(device=device)
    elif offload == "sequential":
        pipeline.enable_sequential_cpu_offload(device=device)
    else:
        pipeline.to(device)
    return pipeline


def _denoisers(pipeline: Any) -> list[nn.Module]:
    named = (getattr(pipeline, name, None) for name in ("unet", "transformer", "transformer_2"))
    return [network for network in named if network is not None]


def _slice_vae(pipeline: Any) -> None:
    if not hasattr(pipeline.vae, "use_slicing"):
        raise UnsupportedError(
            f"{type(pipeline.vae).__name__} cannot decode in slices; vae_slicing is not for it."
        )
    pipeline.vae.enable_slicing()


def _lay_channels_last(name: str, networks: list[nn.Module]) -> None:
    layers = [layer for network in networks for layer in network.modules()]
    convolutions = [layer for layer in layers if isinstance(layer, nn.Conv2d)]
    if not convolutions:
        raise UnsupportedError(f"{name} has no 2-D convolutions; channels_last is not for it.")
    for convolution in convolutions:
        convolution.to(memory_format=torch.channels_last)


def _compile(networks: list[nn.Module]) -> None:
    limit = torch._dynamo.config.recompile_limit
    torch._dynamo.config.recompile_limit = max(limit, COMPILED_SHAPES)
    for network in networks:
        # The method, not the module: offloading wraps it, and its moves must stay outside.
        network.forward = _of_any_batch(torch.compile(network.forward, dynamic=False))


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
