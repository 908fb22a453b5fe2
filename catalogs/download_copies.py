"""What a store holds of the web already: one record per address, written after its picture."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields

import pyarrow as pa

from catalogs import documents
from catalogs.arrow_bytes import arrow_reader
from catalogs.errors import StoreError
from catalogs.store import Store

IMAGES = "images"
COPIES = "copies"
ALL = "copies.parquet"
_READERS = 16


@dataclass(frozen=True)
class Copy:
    """Where (`place`, a path in the store) the picture of a URL lies, and what it is."""

    url: str
    place: str
    sha256: str
    size: int
    width: int
    height: int
    format: str


_KINDS = {"url": str, "place": str, "sha256": str, "size": int, "width": int, "height": int}
_KINDS |= {"format": str}


class Copies:
    """The records of a store, as they were when this was made, and what was added since.

    A record counts only while its picture is there in full; a damaged one is as good as none.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._sizes = {info.path: info.size for info in store.list(IMAGES)}
        names = [info.path for info in store.list(COPIES)]
        known = {_path(copy.url): copy for copy in self._read_all()}
        single = [name for name in names if name not in known]
        with ThreadPoolExecutor(_READERS) as pool:
            read = zip(single, pool.map(self._read, single), strict=True)
            self._known = {name: known[name] for name in names if name in known}
            self._known |= {name: copy for name, copy in read if copy is not None}
        self._stale = set(names)
        self._new = bool(single)

    def find(self, url: str) -> Copy | None:
        """The copy of a URL; None where its record or its picture is not there."""
        copy = self._known.get(_path(url))
        if copy is None or copy.url != url or self._sizes.get(copy.place) != copy.size:
            return None
        return copy

    def late(self, url: str) -> Copy | None:
        """The copy that another process recorded since this was made, if one did."""
        name = _path(url)
        return None if name in self._stale else self._read(name)

    def keep(self, copy: Copy) -> None:
        """Record a copy whose picture is in the store."""
        name = _path(copy.url)
        self._store.put(name, documents.encode(asdict(copy)), documents.TYPE)
        self._known[name] = copy
        self._new = True

    def write_all(self) -> None:
        """Put all known records into one object, which saves the next run a request for each."""
        import pyarrow.parquet as pq

        if not self._new:
            return
        copies = sorted(self._known.values(), key=lambda copy: copy.url)
        sink = io.BytesIO()
        table = pa.Table.from_pylist([asdict(copy) for copy in copies])
        pq.write_table(table, sink, compression="zstd")
        self._store.put(ALL, sink.getvalue())

    def _read_all(self) -> Iterable[Copy]:
        import pyarrow.parquet as pq

        data = self._store.get(ALL)
        if data is None:
            return []
        try:
            rows = pq.read_table(arrow_reader(data)).to_pylist()
            return [Copy(**row) for row in rows]
        except (pa.ArrowException, OSError, TypeError):
            return []  # the single records say the same

    def _read(self, name: str) -> Copy | None:
        data = self._store.get(name)
        if data is None:
            return None
        try:
            value = documents.decode(data, name, **_KINDS)
        except StoreError:
            return None
        return Copy(**{field.name: value[field.name] for field in fields(Copy)})


def _path(url: str) -> str:
    name = hashlib.sha256(url.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    return f"{COPIES}/{name[:2]}/{name}.json"
