"""Models and proxy makers of this process, each loaded once.

The cache is a module global: Prefect and its runners ship ``__main__`` by value, so a global there
would be fresh, and a model reloaded, for every task.
"""

from __future__ import annotations

import threading
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

    from epa_core.cards import Proxy

_lock = threading.Lock()


def resolve_device(device: str) -> str:
    """``auto`` becomes ``cuda`` where there is a usable GPU, else ``cpu``."""
    if device != "auto":
        return device
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def model(
    name: str, source: str | None, revision: str | None, dtype: str, device: str
) -> DiffusionPipeline:
    """The image-to-video pipeline, loaded at the first call. Raises UnsupportedError."""
    with _lock:
        return _model(name, source, revision, dtype, resolve_device(device))


def proxy_maker(name: str) -> Proxy:
    """The proxy maker, loaded at the first call. Raises UnsupportedError."""
    with _lock:
        return _proxy(name)


def release() -> None:
    """Forget every model, so that their memory can be used otherwise."""
    with _lock:
        _model.cache_clear()
        _proxy.cache_clear()


@lru_cache(maxsize=1)  # the animation pass needs one model; two would not fit on most GPUs
def _model(
    name: str, source: str | None, revision: str | None, dtype: str, device: str
) -> DiffusionPipeline:
    from epa_core.cards import load_model

    return load_model(name, source=source, revision=revision, dtype=dtype, device=device)


@lru_cache(maxsize=1)
def _proxy(name: str) -> Proxy:
    from epa_core.cards import load_proxy

    return load_proxy(name)
