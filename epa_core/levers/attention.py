"""Who computes attention: diffusers' backends, on the networks that let it be chosen."""

import inspect
from typing import Any

import torch

from epa_core.errors import UnsupportedError
from epa_core.levers import Levers
from epa_core.levers.early import CUDA_PACKAGES


def chosen(levers: Levers) -> str:
    """The backend that the levers name."""
    return levers.quantised_attention or levers.attention


def check(levers: Levers) -> None:
    """UnsupportedError, before weights are read, where the chosen backend is not installed."""
    backend = chosen(levers)
    if backend == "native":
        return
    from diffusers.models import attention_dispatch

    try:
        attention_dispatch._check_attention_backend_requirements(
            attention_dispatch.AttentionBackendName(backend)
        )
    except RuntimeError as error:
        package = CUDA_PACKAGES.get(backend)
        how = f"install it: pip install {package}" if package else str(error).splitlines()[0]
        raise UnsupportedError(f"attention {backend!r} is missing here; {how}.") from error


def choose(name: str, networks: list[Any], levers: Levers, device: str) -> None:
    """Let ``networks`` compute attention by the chosen backend.

    UnsupportedError where none of their attentions can be switched, and where a trial on the
    device, in the networks' precision and with a mask if they pass one, fails.
    """
    from diffusers.models import attention_dispatch

    backend = attention_dispatch.AttentionBackendName(chosen(levers))
    registry = attention_dispatch._AttentionBackendRegistry
    of_process = registry._active_backend
    try:
        for network in networks:
            network.set_attention_backend(backend.value)
            if not switched(network, backend.value):
                raise UnsupportedError(
                    f"no attention of {type(network).__name__} ({name}) can be switched, so "
                    f"attention {backend.value!r} would do nothing; leave it out: there torch "
                    "takes the fastest kernel that fits by itself."
                )
            _try(network, backend.value, device)
    finally:
        # diffusers makes the choice that of the whole process, proxies and VAE included.
        registry.set_active_backend(of_process)


def switched(network: Any, backend: str) -> int:
    """How many attentions of ``network`` go to ``backend``."""
    processors = (getattr(module, "processor", None) for module in network.modules())
    found = (getattr(processor, "_attention_backend", None) for processor in processors)
    return sum(one is not None and one.value == backend for one in found)


def _try(network: Any, backend: str, device: str) -> None:
    from diffusers.models.attention_dispatch import dispatch_attention_fn

    q = torch.zeros(1, 16, 2, 64, dtype=network.dtype, device=device)
    parameters = inspect.signature(type(network).forward).parameters
    masked = any(given.endswith("attention_mask") for given in parameters)
    mask = torch.ones(1, 1, 1, 16, dtype=torch.bool, device=device) if masked else None
    try:
        with torch.no_grad():
            dispatch_attention_fn(q, q, q, attn_mask=mask, backend=_named(backend))
    except Exception as error:  # whatever a kernel may raise
        with_mask = " with a mask" if masked else ""
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise UnsupportedError(
            f"attention {backend!r} does not compute {q.dtype}{with_mask} on {device!r}, as "
            f"{type(network).__name__} needs it: {reason}."
        ) from error


def _named(backend: str) -> Any:
    from diffusers.models.attention_dispatch import AttentionBackendName

    return AttentionBackendName(backend)
