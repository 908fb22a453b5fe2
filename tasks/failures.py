"""From any exception to a recorded failure: the one place that judges what an error means."""

from __future__ import annotations

import hashlib
import logging
import traceback

from catalogs.errors import ConfigError, StoreError
from epa_core.errors import ItemError, UnsupportedError

log = logging.getLogger("epa")


SAME_FAULT = 20  # failures of one origin in a row that stop a run


class RunStopped(RuntimeError):
    """The run ends before its works do, for the reason said; what is recorded stays recorded."""


class RepeatedFault(RunStopped):
    """Works fail one after the other in one way: the fault is not the paintings'."""


class FailureWatch:
    """Looks at how the works of one run end, and stops a run that goes wrong.

    One watch serves all shards and cells of a run; it is told from the finishing thread alone.
    """

    def __init__(self, max_failure_ratio: float | None = None):
        self.max_failure_ratio = max_failure_ratio
        self._faults: list[str] = []  # failures since the last success

    def succeeded(self) -> None:
        """One more work is done."""
        self._faults.clear()

    def failed(self, error: ItemError) -> None:
        """One more work failed for good. Raises RunStopped."""
        check_repetition(self._faults, error)


def as_item_error(error: Exception, stage: str) -> ItemError:
    """What to record for ``error``, met while ``stage`` worked on one painting.

    Raises the error itself when every other painting would meet it too: a setting that does not
    fit the model, or an accelerator whose context is broken.
    """
    if isinstance(error, ItemError):
        error.stage = error.stage or stage
        return error
    if isinstance(error, UnsupportedError) or broken_accelerator(error):
        raise error
    for kinds, code, message, retryable in _KNOWN:
        if isinstance(error, kinds):
            return ItemError(code, message or _short(error), stage=stage, retryable=retryable)
    if out_of_memory(error):
        return ItemError("cuda_oom", "the GPU's memory is too small", stage=stage, retryable=True)
    digest = hashlib.blake2b(
        "".join(traceback.format_tb(error.__traceback__)).encode(), digest_size=4
    ).hexdigest()
    log.error("unexpected error in stage %s [%s]", stage, digest, exc_info=error)
    message = f"{type(error).__name__}: {_short(error)} [{digest}]"
    return ItemError("unexpected", message, stage=stage)


def check_repetition(faults: list[str], error: ItemError) -> None:
    """Note ``error`` among the ``faults`` since the last success. Raises RepeatedFault."""
    faults.append(error.message.rpartition("[")[2] if error.code == "unexpected" else error.code)
    same = faults[-SAME_FAULT:]
    common = error.code in ("unexpected", "store_error")
    if common and len(same) == SAME_FAULT and len(set(same)) == 1:
        again = "the next run" if error.retryable else "`epa retry`"
        raise RepeatedFault(
            f"{SAME_FAULT} works in a row failed with {error.message}; the run stops, and "
            f"{again} takes them up again once the cause is mended"
        )


# Kind of error, failure code, sentence (None: the error's own), whether it may pass.
_KNOWN: tuple[tuple[type[Exception], str, str | None, bool], ...] = (
    (FileNotFoundError, "missing_file", "the picture is not where the catalog says", False),
    (PermissionError, "unreadable_file", "the picture may not be read", False),
    (ConfigError, "bad_reference", None, False),  # of one row: to the web, or to nothing
    (StoreError, "store_error", None, True),
    (MemoryError, "host_oom", "the machine's memory is too small", True),
)


def out_of_memory(error: BaseException) -> bool:
    """Whether ``error`` says that the accelerator's memory is used up."""
    import torch

    # cuDNN and cuBLAS say it in their own way.
    return isinstance(error, torch.OutOfMemoryError) or "ALLOC_FAILED" in str(error)


def broken_accelerator(error: BaseException) -> bool:
    """Whether the accelerator's context is gone: after that every call of the process fails."""
    import torch

    if out_of_memory(error) or not isinstance(error, RuntimeError):
        return False
    return isinstance(error, torch.AcceleratorError) or "CUDA error" in str(error)


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:160]
