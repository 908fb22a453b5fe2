"""Which parts of a pipeline wait in main memory, and how they come to the device."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from epa_core.errors import UnsupportedError
from epa_core.levers import Levers

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline


def bring(pipeline: "DiffusionPipeline", device: str, levers: Levers) -> None:
    """Take ``pipeline`` to ``device``, or let its parts go there as they are needed.

    UnsupportedError where its parts cannot be taken away in that way.
    """
    if levers.offload == "none":
        pipeline.to(device)
        return
    try:
        if levers.offload == "model":
            pipeline.enable_model_cpu_offload(device=device)
        elif levers.offload == "sequential":
            pipeline.enable_sequential_cpu_offload(device=device)
        else:
            _by_groups(pipeline, torch.device(device), levers)
    except UnsupportedError:
        raise
    except (NotImplementedError, ValueError) as error:  # parts that share layers, say
        reason = str(error).splitlines()[0].rstrip(".")
        others = ", ".join(sorted({"model", "block", "leaf"} - {levers.offload}))
        raise UnsupportedError(
            f"{type(pipeline).__name__} cannot be placed with offload {levers.offload!r} "
            f"({reason}); take another of {others}."
        ) from error


@contextmanager
def offloaded_after(pipeline: "DiffusionPipeline") -> Iterator[None]:
    """Let modules that were taken to the accelerator one by one leave it, however the block ends.

    A pipeline does so at the end of its call: one that fails would leave them there, and the next
    try, with less, would find less room.
    """
    try:
        yield
    except BaseException:
        with suppress(Exception):  # an accelerator that is broken: the first error says why
            pipeline.maybe_free_model_hooks()
        raise
    pipeline.maybe_free_model_hooks()


def _by_groups(pipeline: Any, device: torch.device, levers: Levers) -> None:
    """diffusers' group offloading: the denoiser by blocks or layers, all else by layers.

    A VAE is asked by ``encode`` and ``decode``, which the hooks of its blocks would not notice.
    """
    from diffusers.hooks import apply_group_offloading

    denoisers = {id(network) for network in denoisers_of(pipeline)}
    for name, part in pipeline.components.items():
        if not isinstance(part, nn.Module):
            continue
        if not getattr(part, "_supports_group_offloading", True):
            raise UnsupportedError(
                f"{type(part).__name__} ({name}) cannot be offloaded by groups; take offload "
                "'model' or 'sequential'."
            )
        by_block = levers.offload == "block" and id(part) in denoisers
        apply_group_offloading(
            part,
            onload_device=device,
            offload_type="block_level" if by_block else "leaf_level",
            num_blocks_per_group=levers.offload_blocks if by_block else None,
            use_stream=levers.offload_stream,
        )


def denoisers_of(pipeline: Any) -> list[nn.Module]:
    """The networks that predict noise; none for the preview, two for a pair of experts."""
    named = (getattr(pipeline, name, None) for name in ("unet", "transformer", "transformer_2"))
    return [network for network in named if network is not None]
