"""Which errors of a storage may pass, and how often a request is tried: one judgement for all."""

import errno
import random
import time
from collections.abc import Callable
from typing import TypeVar

from catalogs.errors import StoreError

T = TypeVar("T")

TRIES = 5
BACKOFF = 0.2  # seconds before the second try, at most; doubled with each further one
_HOPELESS = {errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EINVAL, errno.ENAMETOOLONG}
_HOPELESS_TYPES = (
    PermissionError,
    FileNotFoundError,
    FileExistsError,
    IsADirectoryError,
    NotADirectoryError,
)
_HOPELESS_NAMES = {"NoCredentialsError", "PartialCredentialsError", "ParamValidationError"}
# Clients raise their own exceptions beside OSError for what the network did.
_CLIENTS = {"botocore", "aiobotocore", "aiohttp", "s3fs", "gcsfs", "google", "azure", "adlfs"}
_CLIENTS |= {"requests", "urllib3", "http", "httpx", "httpcore", "huggingface_hub"}


def attempt(
    act: Callable[[], T],
    what: str,
    *,
    expected: tuple[type[Exception], ...] = (),
    backoff: float = BACKOFF,
    before: Callable[[], object] | None = None,
) -> T:
    """Do one request, again with full jitter after errors that may pass, five times in all.

    Errors of `expected` types, StoreError and mistakes in code come through as they are; what the
    storage raises beside becomes a StoreError that says `what` failed. `before` is called before
    each try.
    """
    for number in range(TRIES):
        if before is not None:
            before()
        try:
            return act()
        except StoreError:
            raise
        except expected:
            raise
        except Exception as error:
            if not from_storage(error):
                raise
            if hopeless(error) or number == TRIES - 1:
                message = f"{what} failed: {error}"
                raise StoreError(getattr(error, "errno", None) or errno.EIO, message) from error
        time.sleep(random.uniform(0, backoff * 2**number))  # noqa: S311 - jitter
    raise AssertionError("unreachable")


def from_storage(error: Exception) -> bool:
    """Whether the exception speaks of the storage rather than of a mistake in our code."""
    return isinstance(error, OSError) or type(error).__module__.split(".")[0] in _CLIENTS


def hopeless(error: Exception) -> bool:
    """Whether trying again cannot help: no permission, no space, no credentials."""
    if isinstance(error, _HOPELESS_TYPES) or type(error).__name__ in _HOPELESS_NAMES:
        return True
    return getattr(error, "errno", None) in _HOPELESS
