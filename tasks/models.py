"""Models and proxy makers of this process, each loaded once.

The cache is a module global: Prefect and its runners ship ``__main__`` by value, so a global there
would be fresh, and a model reloaded, for every task.
"""

from __future__ import annotations

import gc
import threading
from functools import lru_cache
from typing import TYPE_CHECKING

from epa_core.errors import UnsupportedError

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

    from epa_core.cards import Proxy

_lock = threading.Lock()


def resolve_device(device: str) -> str:
    """``auto`` becomes ``cuda`` where there is a usable GPU, else ``cpu``.

    Raises UnsupportedError for a device that this machine does not have.
    """
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UnsupportedError(f"execution.device = {device!r}: {reason}") from error
    return device


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
    free_memory()


def free_memory() -> None:
    """Give back what the accelerator's allocator holds for nobody."""
    import torch

    gc.collect()  # pipelines hold themselves in cycles
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


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
