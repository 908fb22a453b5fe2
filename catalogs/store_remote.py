"""The object store on S3, Google Cloud, Azure, memory or any other fsspec filesystem."""

from __future__ import annotations

import contextlib
import errno
import threading
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from catalogs import headers
from catalogs.addresses import PROTOCOLS, store_name
from catalogs.clients import open_filesystem
from catalogs.credentials import redact
from catalogs.errors import ConfigError
from catalogs.storage import current
from catalogs.store import ObjectInfo, Store, unless_missing

_SLOWEST = 1 << 20  # bytes a second that any line bears
# The in-memory filesystem tests before it writes, so its creates are made atomic here.
_MEMORY = threading.RLock()


def open_remote(url: str, options: Mapping[str, Any] | None = None) -> RemoteStore:
    """The store at a URL. ConfigError for what is no store, as `Store.open`."""
    protocol = url.partition("://")[0]
    family = PROTOCOLS.get(protocol)
    if family in (None, "hf"):
        why = "can only be read" if family else f"{protocol!r} is no object store"
        raise ConfigError(
            f"output {redact(url)}: {why}; allowed are a folder and s3://, az:// and gs:// URLs."
        )
    if family == "s3":
        from catalogs.store_s3 import S3Store

        return S3Store(url, options=options)
    if family == "az":
        from catalogs.store_azure import AzureStore

        return AzureStore(url, options=options)
    if family == "gs":
        from catalogs.store_google import GoogleStore

        return GoogleStore(url, options=options)
    return RemoteStore(url, options=options)


class RemoteStore(Store):
    """Any fsspec filesystem, by the verbs that all have; the clouds' own stores know better."""

    def __init__(self, url: str, *, options: Mapping[str, Any] | None = None) -> None:
        url = url.rstrip("/") if not url.endswith("://") else url
        super().__init__(url)
        self.options = dict(options or {})
        self.name = store_name(url)
        self._connect()

    def _connect(self) -> None:
        try:
            self.fs, root = open_filesystem(self.url, self.options)
        except ConfigError:
            raise
        except (ValueError, TypeError) as error:
            reason = redact(str(error))
            raise ConfigError(f"output {self.url} cannot be opened: {reason}.") from None
        self.root = root.rstrip("/")
        self._in_memory = self.url.startswith("memory://")
        self._guard: contextlib.AbstractContextManager[Any] = (
            _MEMORY if self._in_memory else contextlib.nullcontext()
        )

    def __getstate__(self) -> dict[str, Any]:
        """What travels to another process, which connects anew."""
        made = ("fs", "_guard")
        return {name: value for name, value in self.__dict__.items() if name not in made}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._connect()

    def _full(self, path: str) -> str:
        return f"{self.root}/{path}"

    def _get(self, path: str) -> bytes:
        with self._guard:
            return bytes(self.fs.cat_file(self._full(path)))

    def _put(self, path: str, data: bytes, content_type: str | None, durable: bool) -> None:
        self._make_folder(path)
        with self._guard:
            self._pipe(path, data, content_type)

    def _create(self, path: str, data: bytes, content_type: str | None, durable: bool) -> None:
        self._make_folder(path)
        try:
            with self._guard:
                self._pipe(path, data, content_type, mode="create")
        except OSError as error:
            # Some gateways answer "invalid" where S3 says that the precondition failed.
            if error.errno == errno.EINVAL and self.head(path) is not None:
                raise FileExistsError(path) from error
            raise

    def _pipe(self, path: str, data: bytes, content_type: str | None, **mode: str) -> None:
        named = self._headers(path, content_type)
        self.fs.pipe_file(self._full(path), data, **mode, **named, **self._limit(len(data)))

    def _limit(self, size: int) -> dict[str, float]:
        """The client's argument for the seconds that writing so many bytes may take."""
        return {}

    def _make_folder(self, path: str) -> None:
        if not self._in_memory:
            self.fs.makedirs(self._full(path).rpartition("/")[0], exist_ok=True)

    def _headers(self, path: str, content_type: str | None) -> dict[str, Any]:
        """The client's arguments for the object's headers."""
        return {}

    def _list(self, prefix: str) -> Sequence[ObjectInfo]:
        with self._guard:
            found = self.fs.find(self._full(prefix), detail=True, on_error=unless_missing)
        return self._infos(found)

    def _infos(self, found: Mapping[str, Mapping[str, Any]]) -> list[ObjectInfo]:
        start = len(self.root) + 1
        return [_info(name[start:], entry) for name, entry in found.items()]

    def _delete(self, batch: Sequence[str]) -> None:
        full = [self._full(path) for path in batch]
        with self._guard:
            try:
                self.fs.rm(full)
            except FileNotFoundError:  # one is gone already: the others still have to go
                for path in full:
                    with contextlib.suppress(FileNotFoundError):
                        self.fs.rm_file(path)

    def _head(self, path: str) -> ObjectInfo:
        with self._guard:
            entry = self.fs.info(self._full(path))
        if entry.get("type") == "directory":
            raise FileNotFoundError(path)
        return _info(path, entry)


class CloudStore(RemoteStore):
    """What the stores of the clouds have in common: no folders, and headers on every object."""

    def _make_folder(self, path: str) -> None:
        pass

    def _limit(self, size: int) -> dict[str, float]:
        # aiohttp forgets its own time-out once a server has said "100 Continue".
        return {"timeout": current().timeout + size / _SLOWEST}

    def _headers(self, path: str, content_type: str | None) -> dict[str, Any]:
        kind = content_type or headers.content_type(path)
        return self._named(kind, headers.cache_control(path))

    def _named(self, content_type: str, cache_control: str) -> dict[str, Any]:
        raise NotImplementedError


def aware(moment: datetime | None) -> datetime | None:
    """The moment with its time zone; stores mean UTC where they name none."""
    return moment.replace(tzinfo=UTC) if moment is not None and moment.tzinfo is None else moment


def _info(path: str, entry: Mapping[str, Any]) -> ObjectInfo:
    names = ("LastModified", "last_modified", "created", "mtime")
    modified = next((entry[name] for name in names if entry.get(name)), None)
    if isinstance(modified, int | float):
        modified = datetime.fromtimestamp(modified, UTC)
    known = aware(modified) if isinstance(modified, datetime) else None
    return ObjectInfo(path, int(entry.get("size") or 0), known)
