"""From any exception to a recorded failure: the one place that judges what an error means."""

from __future__ import annotations

import hashlib
import logging
import traceback

from catalogs.errors import ConfigError, StoreError
from epa_core.errors import ItemError

log = logging.getLogger("epa")


def as_item_error(error: Exception, stage: str) -> ItemError:
    """What to record for ``error``, met while ``stage`` worked on one painting.

    Raises the error itself when the process cannot go on: the memory of the machine is used up,
    or the GPU's context is broken and every later call would fail too.
    """
    if isinstance(error, ItemError):
        error.stage = error.stage or stage
        return error
    if isinstance(error, FileNotFoundError):
        return ItemError("missing_file", "the picture is not where the catalog says", stage=stage)
    if isinstance(error, PermissionError):
        return ItemError("unreadable_file", "the picture may not be read", stage=stage)
    if isinstance(error, ConfigError):  # of one row: a reference to the web, or to nothing
        return ItemError("bad_reference", _short(error), stage=stage)
    if isinstance(error, StoreError):
        return ItemError("store_error", _short(error), stage=stage, retryable=True)
    if isinstance(error, MemoryError) or _broken_gpu(error):
        raise error
    if out_of_memory(error):
        return ItemError("cuda_oom", "the GPU's memory is too small", stage=stage, retryable=True)
    digest = hashlib.blake2b(
        "".join(traceback.format_tb(error.__traceback__)).encode(), digest_size=4
    ).hexdigest()
    log.error("unexpected error in stage %s [%s]", stage, digest, exc_info=error)
    message = f"{type(error).__name__}: {_short(error)} [{digest}]"
    return ItemError("unexpected", message, stage=stage)


def out_of_memory(error: Exception) -> bool:
    """Whether ``error`` says that the accelerator's memory is used up."""
    import torch

    return isinstance(error, torch.OutOfMemoryError)


def _broken_gpu(error: Exception) -> bool:
    text = str(error)
    return isinstance(error, RuntimeError) and (
        "device-side assert" in text or "illegal memory access" in text
    )


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:160]
