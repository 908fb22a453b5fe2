"""Models and proxy makers of this process, each loaded once.

The cache is a module global: Prefect and its runners ship ``__main__`` by value, so a global there
would be fresh, and a model reloaded, for every task.
"""

from __future__ import annotations

import gc
import sys
import threading
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

from epa_core.call_options import check_options
from epa_core.cards import model_card
from epa_core.errors import UnsupportedError
from epa_core.proxy_cards import proxy_settings
from tasks.levers import levers_of

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

    from epa_core.cards import Proxy
    from tasks.config import Execution, ModelChoice
    from tasks.proxy import Params as ProxyParams

GpuFigure = Literal["memory_allocated", "max_memory_allocated"]
_lock = threading.Lock()
_used = "cpu"  # the device of the model or proxy maker that was asked for last


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


def check_call(choice: ModelChoice) -> None:
    """See that the model's call takes the options, without loading the model.

    Imports diffusers where only the pipeline's class knows them. Raises UnsupportedError.
    """
    try:
        check_options(model_card(choice.name), choice.options)
    except UnsupportedError as error:
        raise UnsupportedError(f"model.options: {error}") from None


def model(choice: ModelChoice, execution: Execution) -> DiffusionPipeline:
    """The image-to-video pipeline, loaded at the first call. Raises UnsupportedError."""
    levers = levers_of(choice, execution)
    with _lock:
        return _model(
            choice.name,
            source=choice.source,
            revision=choice.revision,
            dtype=choice.dtype or model_card(choice.name).dtype,
            device=_use(execution.device),
            levers=levers,
        )


def proxy_maker(params: ProxyParams, device: str) -> Proxy:
    """The proxy maker, its weights loaded at the first call. Raises UnsupportedError."""
    with _lock:
        maker = _proxy(
            params.name,
            source=params.source,
            revision=params.revision,
            dtype=params.dtype,
            device=_use(device),
        )
    return maker.configured(proxy_settings(params.name, params.settings()))


def _use(device: str) -> str:
    global _used
    _used = resolve_device(device)
    return _used


def memory_of_gpu(figure: GpuFigure) -> int | None:
    """Bytes that tensors take on the GPU this process works on; None where it works on none.

    Loads nothing by itself.
    """
    gpu = _gpu()
    return None if gpu is None else int(getattr(gpu, figure)(_used))


def forget_peak() -> None:
    """Let ``max_memory_allocated`` of that GPU count from now on."""
    gpu = _gpu()
    if gpu is not None:
        gpu.reset_peak_memory_stats(_used)


def _gpu() -> Any:
    """`torch.cuda`, where models are on a GPU that it knows; which one is said in every call."""
    torch = sys.modules.get("torch")
    if torch is None or not _used.startswith("cuda") or not torch.cuda.is_initialized():
        return None
    return torch.cuda


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
def _model(name: str, **how: Any) -> DiffusionPipeline:
    from epa_core.cards import load_model

    return load_model(name, **how)


@lru_cache(maxsize=1)
def _proxy(name: str, **how: Any) -> Proxy:
    from epa_core.cards import load_proxy

    return load_proxy(name, **how)
