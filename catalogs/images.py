"""Reading the bytes of a work's image from wherever the catalog says they are."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import replace
from errno import EACCES
from functools import lru_cache
from typing import Any

from catalogs import retries
from catalogs.addresses import (
    PARQUET,
    ParquetRef,
    check_address,
    join,
    local_path,
    open_url,
    parse_ref,
    plain_stat,
    read_plain,
    read_url,
    store_name,
)
from catalogs.errors import ConfigError, StoreError, TooManyBytes

BATCH_ROWS = 16
# Batches kept per open row group, so that readers a few rows apart do not start over.
KEPT_BATCHES = 4
OPEN_GROUPS = 4
# Writers put up to 1,024 images into one page, which is read whole: 500 MB in huggan/wikiart. Row
# groups above this size are read one at a time and not held open between batches.
LARGE_GROUP = 64 << 20
_large_lock = threading.Lock()
_PLAIN_ERRORS = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)


def read_image(uri: str, root: str | None = None, *, max_bytes: int | None = None) -> bytes:
    """The bytes of an image: a path, a file:// or fsspec URL, or a parquet:// reference.

    Relative paths are taken below `root` (a folder or URL). Raises FileNotFoundError for what is
    not there, PermissionError for what may not be read, StoreError when the store does not answer
    (after several tries), ConfigError for an address that `check_address` refuses and for a pipe
    or device, TooManyBytes for more than `max_bytes`: a file of that size is not read.
    """
    if uri.startswith(PARQUET):
        ref = parse_ref(uri)
        return _read_ref(replace(ref, path=check_address(join(ref.path, root))), max_bytes)
    return read_file(join(uri, root), max_bytes)


def read_file(uri: str, max_bytes: int | None = None) -> bytes:
    """All bytes of a path or URL; errors as `read_image`."""
    check_address(uri)
    try:
        return retries.attempt(
            lambda: _read_whole(uri, max_bytes),
            f"reading {uri!r}",
            expected=_PLAIN_ERRORS,
            store=store_name(uri),
        )
    except FileNotFoundError as error:
        raise FileNotFoundError(f"no image at {uri!r}") from error
    except PermissionError as error:
        raise PermissionError(error.errno or EACCES, f"{uri!r} may not be read") from error
    except (IsADirectoryError, NotADirectoryError, ValueError) as error:
        # ValueError: a NUL in the path.
        if isinstance(error, ConfigError | TooManyBytes):
            raise
        raise FileNotFoundError(f"no image file at {uri!r}: {error}") from error


def _read_whole(uri: str, max_bytes: int | None) -> bytes:
    path = local_path(uri)
    if path is not None:
        _check_bytes(plain_stat(path).st_size, max_bytes)
        return read_plain(path)
    # One byte more than is allowed tells that there are too many; no request for the size before.
    data = read_url(uri, None if max_bytes is None else max_bytes + 1)
    if max_bytes is not None and len(data) > max_bytes:
        raise TooManyBytes(f"the file has more than {max_bytes} bytes; so many are allowed")
    return data


def _check_bytes(size: int, most: int | None) -> None:
    if most is not None and size > most:
        raise TooManyBytes(f"the file has {size} bytes; {most} are allowed")


class _RowGroup:
    """One row group's image column, read forward in small batches of which a few are kept."""

    def __init__(self, ref: ParquetRef) -> None:
        import pyarrow.parquet as pq

        self.ref = ref
        path = local_path(ref.path)
        source = str(path) if path is not None else open_url(ref.path)
        # Pre-buffering would hold the whole column chunk.
        self.file = pq.ParquetFile(source, pre_buffer=False, buffer_size=1 << 20)
        self.rows, self.large = 0, False
        if ref.row_group < self.file.metadata.num_row_groups:
            group = self.file.metadata.row_group(ref.row_group)
            self.rows, self.large = group.num_rows, group.total_byte_size > LARGE_GROUP
        self.lock = _large_lock if self.large else threading.Lock()
        self.kept: OrderedDict[int, list[Any]] = OrderedDict()
        self.batches: Iterator[Any] = iter(())
        self.next_batch = -1

    def value(self, row: int) -> Any:
        """The image struct, as a dictionary, of a row of this group."""
        wanted = row // BATCH_ROWS
        with self.lock:
            if wanted not in self.kept:
                self._advance(wanted)
                if self.large:
                    self._close()
            return self.kept[wanted][row % BATCH_ROWS]

    def _close(self) -> None:
        import pyarrow as pa

        self.batches, self.next_batch = iter(()), -1
        pa.default_memory_pool().release_unused()

    def _advance(self, wanted: int) -> None:
        if self.next_batch < 0 or wanted < self.next_batch:
            self.batches = self.file.iter_batches(
                BATCH_ROWS,
                row_groups=[self.ref.row_group],
                columns=[self.ref.column],
                use_threads=False,  # as catalogs.arrow_bytes says; there is one column anyway
            )
            self.next_batch = 0
        while wanted not in self.kept:
            try:
                batch = next(self.batches)
            except BaseException:  # a generator that raised is at its end
                self._close()
                raise
            if self.next_batch >= wanted - 1:
                self.kept[self.next_batch] = batch.column(0).to_pylist()
            self.next_batch += 1
            while len(self.kept) > KEPT_BATCHES:
                self.kept.popitem(last=False)


@lru_cache(maxsize=OPEN_GROUPS)
def _open_group(path: str, row_group: int, column: str, _stamp: object) -> _RowGroup:
    return _RowGroup(ParquetRef(path, row_group, 0, column))


def _read_ref(ref: ParquetRef, max_bytes: int | None) -> bytes:
    where = ref.uri()
    try:
        value = retries.attempt(
            lambda: _ref_value(ref),
            f"reading {where}",
            expected=_PLAIN_ERRORS,
            store=store_name(ref.path),
        )
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise FileNotFoundError(f"no image at {where}") from error
    cell: dict[str, Any] = {"bytes": value} if isinstance(value, bytes) else value or {}
    data, name = cell.get("bytes"), cell.get("path")
    if data:
        _check_bytes(len(data), max_bytes)
        return bytes(data)
    if name:
        return read_file(join(name, ref.path.rpartition("/")[0] or "."), max_bytes)
    raise FileNotFoundError(f"no image at {where}: the row is empty")


def _ref_value(ref: ParquetRef) -> Any:
    """The cell a reference points at; a damaged file is a StoreError at once."""
    import pyarrow as pa

    path = local_path(ref.path)
    stat = plain_stat(path) if path is not None else None
    stamp = (stat.st_size, stat.st_mtime_ns) if stat else ref.version
    try:
        group = _open_group(ref.path, ref.row_group, ref.column, stamp)
        if ref.row >= group.rows:
            raise FileNotFoundError(f"no such row: {ref.uri()}")
        if ref.column not in group.file.schema_arrow.names:
            raise FileNotFoundError(f"no column {ref.column!r}: {ref.uri()}")
        return group.value(ref.row)
    except (pa.ArrowException, OSError) as error:
        _open_group.cache_clear()  # the next try opens the file anew
        # Arrow reports damage by its own exceptions, or by an OSError without a number.
        unnumbered = path is not None and type(error) is OSError and not error.errno
        if unnumbered or not isinstance(error, OSError):
            raise StoreError(f"{ref.uri()} could not be read: {error}") from error
        raise
