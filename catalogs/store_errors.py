"""What an error of a storage client means: the one judgement of what may pass and what may not.

Every client has its own exceptions, and some of them say nothing but a status code three causes
down. They are read here, by names and attributes, so that no client has to be imported for it.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from typing import Any

from catalogs.credentials import redact

_HOPELESS = {errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EINVAL, errno.ENAMETOOLONG}
_HOPELESS_TYPES = (
    PermissionError,
    FileNotFoundError,
    FileExistsError,
    IsADirectoryError,
    NotADirectoryError,
)
_HOPELESS_NAMES = {"NoCredentialsError", "PartialCredentialsError", "ParamValidationError"}
_HOPELESS_NAMES |= {"ClientAuthenticationError", "DefaultCredentialsError", "TokenRetrievalError"}
_HOPELESS_NAMES |= {"CredentialUnavailableError", "ProfileNotFound", "InvalidURL"}
_HOPELESS_NAMES |= {"OfflineModeIsEnabled"}  # of the hub, by its own variable
# Clients raise their own exceptions beside OSError for what the network did.
_CLIENTS = {"botocore", "aiobotocore", "aiohttp", "s3fs", "gcsfs", "google", "azure", "adlfs"}
_CLIENTS |= {"requests", "urllib3", "http", "httpx", "httpcore", "huggingface_hub"}
# Answers of class 4xx that another try may not meet: time-out, conflict, too early, too many.
_PASSING_STATUS = {408, 409, 425, 429}
# S3 says with status 400 that a body was cut or damaged on its way.
_PASSING_CODES = {"RequestTimeout", "IncompleteBody", "BadDigest", "XAmzContentSHA256Mismatch"}
_THROTTLING = {"SlowDown", "ServerBusy", "TooManyRequests", "TooManyRequestsException"}
_THROTTLING |= {"RequestLimitExceeded", "BandwidthLimitExceeded", "RequestThrottled"}
_THROTTLING |= {"Throttling", "ThrottlingException", "ThrottledException", "rateLimitExceeded"}
_THROTTLING_TEXT = ("reduce your request rate", "rate limit")
_DEPTH = 8  # causes looked at


def as_os_error(error: Exception) -> Exception:
    """The error as the one of Python's own that says the same; itself where there is none.

    Azure's client and Google's have exceptions of their own for what is missing or forbidden.
    """
    if isinstance(error, OSError) and error.errno:
        return error
    status, text = status_of(error), str(error)
    if text.startswith("Forbidden: ") or (status in (401, 403) and from_storage(error)):
        return PermissionError(errno.EACCES, _first_line(text))
    if status == 404 and from_storage(error) and not isinstance(error, FileNotFoundError):
        return FileNotFoundError(errno.ENOENT, _first_line(text))
    if isinstance(error, ValueError) and text.startswith("Bad Request: "):
        return OSError(errno.EINVAL, _first_line(text))
    return error


def from_storage(error: BaseException) -> bool:
    """Whether the exception speaks of the storage rather than of a mistake in our code."""
    return isinstance(error, OSError) or type(error).__module__.split(".")[0] in _CLIENTS


def hopeless(error: Exception) -> bool:
    """Whether trying again cannot help: no permission, no space, no credentials."""
    if isinstance(error, _HOPELESS_TYPES) or type(error).__name__ in _HOPELESS_NAMES:
        return True
    if _codes(error) & _PASSING_CODES:
        return False
    status = status_of(error)
    if status is not None and 300 <= status < 500 and status not in _PASSING_STATUS:
        return True
    return getattr(error, "errno", None) in _HOPELESS


def no_bucket(error: BaseException) -> bool:
    """Whether the storage says that the bucket, and not only an object, does not exist."""
    if _codes(error) & {"NoSuchBucket", "ContainerNotFound"}:
        return True
    return any("bucket does not exist" in str(cause).lower() for cause in _causes(error))


def throttled(error: Exception) -> bool:
    """Whether the storage asks for fewer requests: 429, or 503 with a word that says so."""
    if status_of(error) == 429 or _codes(error) & _THROTTLING:
        return True
    if status_of(error) == 503 or getattr(error, "errno", None) == errno.EBUSY:
        text = str(error).lower()
        return any(phrase in text for phrase in _THROTTLING_TEXT)
    return False


def kind_of(error: Exception) -> str:
    """`store_5xx`, `store_timeout`, `dns` or `store_error`: see `catalogs.errors.StoreError`."""
    status = status_of(error)
    if (status or 0) >= 500 or throttled(error):
        return "store_5xx"
    causes = list(_causes(error))
    if any(isinstance(cause, socket.gaierror) or "DNS" in type(cause).__name__ for cause in causes):
        return "dns"
    if status == 408 or any(_is_timeout(cause) for cause in causes):
        return "store_timeout"
    return "store_error"


def _is_timeout(error: BaseException) -> bool:
    return isinstance(error, TimeoutError) or "Timeout" in type(error).__name__


def status_of(error: BaseException) -> int | None:
    """The HTTP status that an error or one of its causes carries."""
    for cause in _causes(error):
        response: Any = getattr(cause, "response", None)
        if isinstance(response, dict):
            response = response.get("ResponseMetadata") or {}
            found = response.get("HTTPStatusCode")
        else:
            # aiohttp's parser has a `code`, too, which no server sent.
            google = type(cause).__module__.startswith(("gcsfs", "google"))
            names = ("status_code", "status", *(("code",) if google else ()))
            found = next((n for n in (getattr(cause, name, None) for name in names) if n), None)
            found = found or getattr(response, "status_code", None)
        if isinstance(found, str) and found.isdigit():
            found = int(found)
        if isinstance(found, int) and 100 <= found < 600:
            return found
    return None


def _codes(error: BaseException) -> set[str]:
    """The storage's own words for what is wrong: S3's code, Azure's, the reasons of Google's."""
    found = set()
    for cause in _causes(error):
        response = getattr(cause, "response", None)
        if isinstance(response, dict):
            found.add(str((response.get("Error") or {}).get("Code", "")))
        code = getattr(cause, "error_code", None)
        if code is not None:
            found.add(str(getattr(code, "value", code)))
        message = getattr(cause, "_error_response", None)  # gcsfs keeps the whole answer
        if isinstance(message, dict):
            reasons = message.get("errors") or []
            found |= {str(entry.get("reason")) for entry in reasons if isinstance(entry, dict)}
    return found


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what led to it; botocore keeps its cause among the arguments."""
    for _ in range(_DEPTH):
        if error is None:
            return
        yield error
        kwargs = getattr(error, "kwargs", None)
        inner = kwargs.get("error") if isinstance(kwargs, dict) else None
        inner = inner if isinstance(inner, BaseException) else None
        inner_exception = getattr(error, "inner_exception", None)  # azure.core
        error = error.__cause__ or inner or inner_exception or error.__context__


def _first_line(text: str) -> str:
    return redact(text.strip().partition("\n")[0])
