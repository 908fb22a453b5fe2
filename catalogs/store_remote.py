"""The object store on S3, Google Cloud, Azure, memory or any other fsspec filesystem."""

import contextlib
import errno
import threading
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from catalogs.errors import ConfigError
from catalogs.store import ObjectInfo, Store, unless_missing

# The in-memory filesystem tests before it writes, so its creates are made atomic here.
_MEMORY = threading.RLock()
_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}
_EXTRAS |= {"abfs": "azure", "abfss": "azure", "az": "azure", "adl": "azure"}


class RemoteStore(Store):
    """Any other fsspec filesystem; what S3 needs to answer in one request is set here."""

    def __init__(self, url: str, *, options: Mapping[str, Any] | None = None) -> None:
        import fsspec

        url = url.rstrip("/") if not url.endswith("://") else url
        super().__init__(url)
        protocol = url.partition("://")[0]
        self._extra = _EXTRAS.get(protocol, "")
        defaults = {"use_listings_cache": False} if self._extra else {}
        try:
            self.fs, root = fsspec.core.url_to_fs(url, **{**defaults, **(options or {})})
        except ImportError as error:
            hint = f"pip install 'epa[{self._extra}]'" if self._extra else str(error)
            raise ConfigError(f"{protocol}:// needs an extra: {hint}.") from error
        except (ValueError, TypeError) as error:
            raise ConfigError(f"output {url} cannot be opened: {error}.") from error
        self.root = str(root).rstrip("/")
        in_memory = protocol == "memory"
        self._guard: contextlib.AbstractContextManager[Any] = (
            _MemoryGuard() if in_memory else contextlib.nullcontext()
        )
        self._makes_folders = not in_memory and not self._extra

    def _full(self, path: str) -> str:
        return f"{self.root}/{path}"

    def _get(self, path: str) -> bytes:
        # s3fs asks for the size first unless told that one stream is enough.
        single = {"max_concurrency": 1} if self._extra == "s3" else {}
        with self._guard:
            return bytes(self.fs.cat_file(self._full(path), **single))

    def _put(self, path: str, data: bytes, content_type: str | None, durable: bool) -> None:
        self._make_folder(path)
        with self._guard:
            self.fs.pipe_file(self._full(path), data, **self._typed(content_type))

    def _create(self, path: str, data: bytes, content_type: str | None, durable: bool) -> None:
        self._make_folder(path)
        try:
            with self._guard:
                typed = self._typed(content_type)
                self.fs.pipe_file(self._full(path), data, mode="create", **typed)
        except OSError as error:
            # Some gateways answer "invalid" where S3 says that the precondition failed.
            if error.errno == errno.EINVAL and self.head(path) is not None:
                raise FileExistsError(path) from error
            raise

    def _make_folder(self, path: str) -> None:
        if self._makes_folders:
            self.fs.makedirs(self._full(path).rpartition("/")[0], exist_ok=True)

    def _typed(self, content_type: str | None) -> dict[str, str]:
        name = {"s3": "ContentType", "gcs": "content_type"}.get(self._extra)
        return {name: content_type} if name and content_type else {}

    def _list(self, prefix: str) -> Sequence[ObjectInfo]:
        with self._guard:
            if self._extra:  # a stem below the root: one listing, also when nothing is there
                found = self.fs.find(self.root, prefix=f"{prefix}/", detail=True)
            else:
                found = self.fs.find(self._full(prefix), detail=True, on_error=unless_missing)
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


class _MemoryGuard:
    """Enters the one lock of the in-memory filesystem; holds no lock itself, so it pickles."""

    def __enter__(self) -> None:
        _MEMORY.acquire()

    def __exit__(self, *_: object) -> None:
        _MEMORY.release()


def _info(path: str, entry: Mapping[str, Any]) -> ObjectInfo:
    names = ("LastModified", "last_modified", "created", "mtime")
    modified = next((entry[name] for name in names if entry.get(name)), None)
    if isinstance(modified, int | float):
        modified = datetime.fromtimestamp(modified, UTC)
    known = modified if isinstance(modified, datetime) else None
    return ObjectInfo(path, int(entry.get("size") or 0), known)
