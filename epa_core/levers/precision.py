"""How many bits weights are kept in between uses, and how they lie in memory."""

from typing import Any

import torch
from torch import nn

from epa_core.errors import UnsupportedError


def store(name: str, networks: list[Any], storage: torch.dtype) -> None:
    """Keep ``networks``' layers in ``storage``, cast to their own dtype for as long as they run.

    Embeddings, norms and the first and last layer stay as they are, as diffusers has it.
    UnsupportedError where no layer is cast.
    """
    for network in networks:
        network.enable_layerwise_casting(storage_dtype=storage, compute_dtype=network.dtype)
        if not any(weight.dtype == storage for weight in network.parameters()):
            raise UnsupportedError(
                f"no layer of {type(network).__name__} ({name}) takes a storage_dtype; offload "
                "saves its memory."
            )


def lay_channels_last(name: str, networks: list[nn.Module]) -> None:
    """Lay the weights of 2-D convolutions channels last; UnsupportedError where there are none."""
    layers = [layer for network in networks for layer in network.modules()]
    convolutions = [layer for layer in layers if isinstance(layer, nn.Conv2d)]
    if not convolutions:
        raise UnsupportedError(
            f"{name} has no 2-D convolutions; channels_last is not for it (compile may be)."
        )
    for convolution in convolutions:
        convolution.to(memory_format=torch.channels_last)
