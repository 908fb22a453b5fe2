"""The object store: six verbs over local disk or any fsspec filesystem, every request counted.

Objects are written whole from bytes: leaving an open writer by an exception would publish a part.
`create` writes only where nothing is, which is all the safety the records need; nothing depends
on locks, leases or listings being fresh.
"""

import errno
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

from catalogs import paths, retries
from catalogs.credentials import redact, refuse_credentials
from catalogs.errors import ConfigError, StoreError
from catalogs.store_errors import no_bucket

T = TypeVar("T")

BATCH = 1000  # objects per page of a listing and per deletion, as S3 has it
_COUNTING = threading.Lock()


@dataclass(frozen=True)
class ObjectInfo:
    """One stored object: path relative to the store's root, bytes, time of writing (UTC)."""

    path: str
    size: int
    modified: datetime | None = None


class Store:
    """Objects under one root, addressed by relative posix paths.

    `counts` holds one count per request caused, retries included; a listing counts once per
    thousand objects, a deletion once per thousand paths, or as its store has it. What may pass is
    tried again as `catalogs.retries` says, under the `name` of the store (None: on this machine),
    then raised as StoreError.
    """

    backoff = retries.BACKOFF
    name: str | None = None

    def __init__(self, url: str) -> None:
        self.url = url
        self.counts: Counter[str] = Counter()

    @staticmethod
    def open(url: str, *, options: Mapping[str, Any] | None = None) -> "Store":
        """Open a local path or fsspec URL; `options` go to the filesystem. Makes no request.

        ConfigError: no store, missing extra, options the filesystem refuses, or credentials in the
        URL.
        """
        from catalogs.store_local import LocalStore
        from catalogs.store_remote import open_remote

        protocol, separator, rest = refuse_credentials(str(url)).partition("://")
        if not separator:
            return LocalStore(url)
        if protocol in ("file", "local"):
            return LocalStore(rest)
        return open_remote(url, options)

    def get(self, path: str) -> bytes | None:
        """Bytes of an object; None when there is none."""
        try:
            return self._request("get", path, self._get)
        except FileNotFoundError:
            return None

    def put(
        self, path: str, data: bytes, content_type: str | None = None, *, durable: bool = True
    ) -> None:
        """Write an object whole, replacing what was there; durable: survives a power cut."""
        self._request("put", path, lambda p: self._put(p, data, content_type, durable))

    def create(
        self, path: str, data: bytes, content_type: str | None = None, *, durable: bool = True
    ) -> bool:
        """Write an object only where none is; False when one is there already.

        False may also mean that an earlier try of this very call succeeded and its answer was
        lost: read the object back before judging.
        """
        try:
            self._request("create", path, lambda p: self._create(p, data, content_type, durable))
        except FileExistsError:
            return False
        return True

    def list(self, prefix: str) -> list[ObjectInfo]:
        """All objects in the folder `prefix` and below, sorted by path; [] when there is none."""
        found = sorted(self._request("list", prefix, self._list), key=lambda info: info.path)
        self._count("list", max(len(found) - 1, 0) // BATCH)
        return found

    def delete(self, paths: Iterable[str]) -> None:
        """Remove objects; those already gone are no error."""
        todo = sorted(set(paths))
        for start in range(0, len(todo), BATCH):
            batch = todo[start : start + BATCH]
            for path in batch:
                check_path(path)
            self._request("delete", batch[0], partial(self._delete_batch, batch))

    def head(self, path: str) -> ObjectInfo | None:
        """Size and time of an object; None when there is none."""
        try:
            return self._request("head", path, self._head)
        except FileNotFoundError:
            return None

    def uri(self, path: str) -> str:
        """Address of an object for other tools: an absolute local path, or a URL."""
        return f"{self.url}/{check_path(path)}"

    def check_writable(self) -> None:
        """Write and remove a small object; ConfigError in one sentence when that fails."""
        try:
            self.put(paths.WRITE_CHECK, b"", durable=False)
            self.delete([paths.WRITE_CHECK])
        except (OSError, TypeError, ValueError) as error:  # clients look at options only now
            cause = error if no_bucket(error) else error.__cause__ or error
            reason = redact(getattr(cause, "strerror", None) or str(cause))
            raise ConfigError(f"output {self.url} is not writable: {reason}.") from error

    def _request(self, verb: str, path: str, act: Callable[[str], T]) -> T:
        """Do one request on a checked path: count it, retry what may pass, translate the rest."""
        check_path(path)
        expected: tuple[type[Exception], ...] = ()
        if verb in ("get", "head"):
            expected = (FileNotFoundError,)
        elif verb == "create":
            expected = (FileExistsError,)
        try:
            return retries.attempt(
                lambda: act(path),
                f"{verb} of {path} in {self.url}",
                expected=expected,
                backoff=self.backoff,
                before=lambda: self._count(verb),
                store=self.name,
            )
        except OSError as error:
            if no_bucket(error):
                raise _missing_bucket(self.url) from error
            raise

    def _count(self, verb: str, by: int = 1) -> None:
        with _COUNTING:
            self.counts[verb] += by

    def _get(self, path: str) -> bytes:
        raise NotImplementedError

    def _put(self, path: str, data: bytes, content_type: str | None, durable: bool) -> None:
        raise NotImplementedError

    def _create(self, path: str, data: bytes, content_type: str | None, durable: bool) -> None:
        raise NotImplementedError

    def _list(self, prefix: str) -> Sequence[ObjectInfo]:
        raise NotImplementedError

    def _delete(self, batch: Sequence[str]) -> None:
        raise NotImplementedError

    def _delete_batch(self, batch: Sequence[str], _: str) -> None:
        self._delete(batch)

    def _head(self, path: str) -> ObjectInfo:
        raise NotImplementedError


def _missing_bucket(url: str) -> StoreError:
    """The error that says so: an object that is missing is none, its bucket is."""
    error = StoreError(errno.ENOENT, f"there is no such bucket: {url}")
    error.final = True
    return error


def check_path(path: str) -> str:
    """Refuse what could leave the root; paths come from catalogs.paths only."""
    if path.startswith("/") or not {"", ".", ".."}.isdisjoint(path.split("/")):
        raise ValueError(f"{path!r} is no relative path inside the store")
    return path


def unless_missing(error: Exception) -> None:
    """A folder that cannot be read is not an empty one; only a missing one is."""
    if not isinstance(error, FileNotFoundError):
        raise error
