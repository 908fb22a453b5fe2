"""From any exception to a recorded failure: the one place that judges what an error means."""

from __future__ import annotations

import errno
import hashlib
import logging
import traceback
from collections import Counter, deque

from catalogs.codes import CODES, kind, retried
from catalogs.errors import ConfigError, StoreError, TooManyBytes
from epa_core.errors import ItemError, UnsupportedError

log = logging.getLogger("epa")

SAME_FAULT = 20  # failures of one origin in a row that stop a run
ENOUGH_TO_JUDGE = 50  # ended works: fewer say little of a collection, and one bad folder is common


class RunStopped(RuntimeError):
    """The run ends before its works do, for the reason said; what is recorded stays recorded."""


class RepeatedFault(RunStopped):
    """Works fail one after the other in one way: the fault is not the paintings'."""


class TooManyFailures(RunStopped):
    """More works of the run failed than ``execution.max_failure_ratio`` allows."""


class BrokenAccelerator(RunStopped):
    """The accelerator's context is gone, and with it all that the process could still compute.

    ``code`` is ``cuda_assert`` or ``illegal_address``. Nobody knows which of the works in flight
    did it: whoever ends the process leaves them named, so that they are counted.
    """

    def __init__(self, code: str, message: str):
        super().__init__(message)
        self.code = code

    def __reduce__(self) -> tuple[type[BrokenAccelerator], tuple[str, str]]:
        """It travels between processes."""
        return type(self), (self.code, str(self))


class FailureWatch:
    """Looks at how the works of one run end, and stops a run that goes wrong.

    One watch serves all shards and cells of a run; it is told from the finishing thread alone, and
    of this run's works only: what failed in earlier ones does not count. Each pass is judged by
    itself: in the first one only failures are recorded, in the second only what it left.
    """

    def __init__(self, max_failure_ratio: float | None = None):
        self.max_failure_ratio = max_failure_ratio
        self._pass = ""
        self._done = 0
        self._codes: Counter[str] = Counter()
        # What failed since the last success, as far back as anybody looks.
        self._in_a_row: deque[str] = deque(maxlen=SAME_FAULT)

    def begin(self, name: str) -> None:
        """The pass of that name goes on with another shard, or begins."""
        if name != self._pass:
            self._pass, self._done = name, 0
            self._codes.clear()

    def succeeded(self) -> None:
        """One more work is through the pass."""
        self._done += 1
        self._in_a_row.clear()

    def failed(self, error: ItemError) -> None:
        """One more work is recorded as failed or set aside. Raises RunStopped."""
        self._codes[error.code] += 1
        self._in_a_row.append(_origin(error))
        self._check_repetition(error)
        self._check_ratio()

    def _check_repetition(self, error: ItemError) -> None:
        common = kind(error.code) == "transient" or error.code == "unexpected"
        same = self._in_a_row
        if common and len(same) == SAME_FAULT and len(set(same)) == 1:
            again = "the next run" if retried(error.code) else "`epa retry`"
            raise RepeatedFault(
                f"{SAME_FAULT} works in a row failed with {error.message}; the run stops, and "
                f"{again} takes them up again once the cause is mended"
            )

    def _check_ratio(self) -> None:
        failed = self._codes.total()
        ended, allowed = self._done + failed, self.max_failure_ratio
        if allowed is None or ended < ENOUGH_TO_JUDGE or failed <= allowed * ended:
            return
        codes = ", ".join(f"{count} {code}" for code, count in self._codes.most_common())
        raise TooManyFailures(
            f"{failed} of the first {ended} works of this run failed ({codes}), more than "
            f"execution.max_failure_ratio = {allowed:g} allows; the run stops. See `epa status`, "
            "mend the cause or raise the setting (null: never stop), and run again: it goes on "
            "with what is left"
        )


def as_item_error(error: Exception, stage: str) -> ItemError:
    """What to record for ``error``, met while ``stage`` worked on one painting.

    Raises what every other painting would meet too: a setting or device that does not fit the
    model (UnsupportedError), or an accelerator whose context is gone (BrokenAccelerator).
    """
    if isinstance(error, ItemError):
        error.stage = error.stage or stage
        return error
    if isinstance(error, UnsupportedError | RunStopped):
        raise error
    if memory := _memory(error):
        return ItemError(memory, _NO_MEMORY[memory], stage=stage)
    _raise_if_broken(error)
    if isinstance(error, StoreError):
        known = getattr(error, "kind", "store_error")
        return ItemError(known if known in CODES else "store_error", _short(error), stage=stage)
    for kinds, code, message in _KNOWN:
        if isinstance(error, kinds) and stage in _READING:
            return ItemError(code, message or _short(error), stage=stage)
    digest = hashlib.blake2b(
        "".join(traceback.format_tb(error.__traceback__)).encode(), digest_size=4
    ).hexdigest()
    log.error("unexpected error in stage %s [%s]", stage, digest, exc_info=error)
    message = f"{type(error).__name__}: {_short(error)} [{digest}]"
    return ItemError("unexpected", message, stage=stage)


# Stages that read what the catalog names. In others a missing file is the machine's: a cache of
# compiled kernels, say.
_READING = ("fetch", "prepare")
# Kind of error, failure code, sentence (None: the error's own).
_KNOWN: tuple[tuple[type[Exception], str, str | None], ...] = (
    (FileNotFoundError, "missing_file", "the picture is not where the catalog says"),
    (PermissionError, "unreadable_file", "the picture may not be read"),
    (TooManyBytes, "too_large", None),
    (ConfigError, "bad_reference", None),  # of one row: to the web, or to nothing
)

_NO_MEMORY = {
    "cuda_oom": "the GPU's memory is too small",
    "host_oom": "the machine's memory is too small",
}


def out_of_memory(error: BaseException) -> bool:
    """Whether ``error`` says that memory is used up, the accelerator's or the machine's."""
    return _memory(error) is not None


def _memory(error: BaseException) -> str | None:
    """The failure code of used-up memory; every library says it in its own way."""
    import cv2
    import torch

    text = str(error)
    if isinstance(error, torch.OutOfMemoryError) or any(said in text for said in _CUDA_OOM):
        return "cuda_oom"
    # MemoryError: Python's, numpy's, Arrow's and PyAV's (which is no OSError).
    full = isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM
    in_cv2 = isinstance(error, cv2.error) and error.code == cv2.Error.StsNoMem
    if full or in_cv2 or any(said in text for said in _HOST_OOM):
        return "host_oom"
    return None


# cuDNN and cuBLAS say it like this, and so does CUDA itself outside of torch's allocator.
_CUDA_OOM = ("ALLOC_FAILED", "CUDA error: out of memory", "MPS backend out of memory")
_HOST_OOM = ("DefaultCPUAllocator", "out of memory error when reading image file", "std::bad_alloc")


def _raise_if_broken(error: Exception) -> None:
    """Raise BrokenAccelerator, or UnsupportedError for a device that this build cannot use."""
    import torch

    text = str(error)
    ours = isinstance(error, torch.AcceleratorError) or "CUDA error" in text
    if not (ours and isinstance(error, RuntimeError)):
        return
    said = text.strip().partition("\n")[0]
    if any(unfit in text for unfit in _UNFIT):
        raise UnsupportedError(f"the accelerator cannot be used: {said}") from error
    code = "cuda_assert" if "assert" in text else "illegal_address"
    raise BrokenAccelerator(
        code, f"the accelerator failed, the process has to end [{code}]: {said}"
    ) from error


# Errors of the machine's set-up: no painting is to blame, and the context is whole.
_UNFIT = (
    "no kernel image is available",
    "no CUDA-capable device",
    "invalid device ordinal",
    "busy or unavailable",
    "driver version is insufficient",
)


def _origin(error: ItemError) -> str:
    """What tells causes apart: the code, and for unexpected errors the digest of the traceback."""
    return error.message.rpartition("[")[2] if error.code == "unexpected" else error.code


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:160]
