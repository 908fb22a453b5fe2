"""Pictures that a catalog names on the web, copied to a folder or store; a catalog of the copies.

| path | what lies there | written |
|---|---|---|
| `images/<slug>-<sha12>.<ext>` | a picture, named by its work and its content | create-only |
| `copies/<k2>/<hash of the URL>.json` | where a URL's picture lies: its record | after it |
| `copies.parquet` | all records up to the last complete run, read at once | whole |
| `catalog.parquet` | the works all of whose pictures are here | whole |
| `left-out.csv` | the others, and why | whole |
"""

from __future__ import annotations

import hashlib
import io
import random
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import pyarrow as pa

from catalogs.addresses import PARQUET, check_address
from catalogs.builders.probing import MASK_SHA256, PROXY_SHA256
from catalogs.catalog_file import ROW_GROUP
from catalogs.download_copies import IMAGES, Copies, Copy
from catalogs.download_fetch import Fetcher
from catalogs.download_network import Unavailable, is_web
from catalogs.errors import ConfigError
from catalogs.keys import item_slug
from catalogs.safe_text import as_cell
from catalogs.schema import table_from_rows
from catalogs.store import Store

CATALOG = "catalog.parquet"
LEFT_OUT = "left-out.csv"
# Where in `extra` the address of what was copied is kept.
SOURCES = {"image_uri": "image_url", "proxy_uri": "proxy_url", "mask_uri": "mask_url"}
_DIGESTS = {"proxy_uri": PROXY_SHA256, "mask_uri": MASK_SHA256}
# What Pillow calls a format, its usual ending, and what a browser is told.
FORMATS = {
    "JPEG": ("jpg", "image/jpeg"),
    "MPO": ("jpg", "image/jpeg"),
    "PNG": ("png", "image/png"),
    "WEBP": ("webp", "image/webp"),
    "TIFF": ("tif", "image/tiff"),
    "GIF": ("gif", "image/gif"),
    "BMP": ("bmp", "image/bmp"),
    "JPEG2000": ("jp2", "image/jp2"),
    "AVIF": ("avif", "image/avif"),
    "PPM": ("ppm", "image/x-portable-anymap"),
}


@dataclass(frozen=True)
class Picture:
    """What decoding says of a picture: a key of FORMATS, and its size as seen in pixels."""

    format: str
    width: int
    height: int


@dataclass(frozen=True)
class LeftOut:
    """A work that is not in the catalog of the copies, and why."""

    item_id: str
    column: str
    url: str
    code: str
    message: str


@dataclass
class Downloaded:
    """What came of a download: the new catalog, what is not in it, and files got and kept."""

    table: pa.Table
    left_out: list[LeftOut]
    fetched: int = 0
    kept: int = 0


@dataclass
class Download:
    """Copies the pictures of catalogs into one store; `look` judges bytes as Fetcher.fetch says."""

    store: Store
    fetcher: Fetcher
    look: Callable[[bytes], Picture]
    workers: int = 4
    # Called with files done and files in all.
    progress: Callable[[int, int], None] = lambda done, total: None
    _got: dict[str, Copy | Unavailable] = field(default_factory=dict)

    def run(self, table: pa.Table) -> Downloaded:
        """Fetch what is not here yet, then write the catalog of the copies and what was left out.

        What was fetched stays whatever happens. Raises StoreError, ConfigError.
        """
        self._prepare()
        copies = Copies(self.store)
        rows = table.to_pylist(maps_as_pydicts="lossy")
        jobs = _jobs(rows)
        self._got = {url: copy for url in jobs if (copy := copies.find(url))}
        kept = len(self._got)
        todo = [url for url in jobs if url not in self._got]
        # Two at once on one store then meet at few files; and hosts take turns.
        random.shuffle(todo)
        for number, (url, result) in enumerate(self._all(todo, jobs, copies), kept + 1):
            self._got[url] = result
            self.progress(number, len(jobs))
        done, left_out = self._rows(rows)
        result = table_from_rows(done, _metadata(table))
        copies.write_all()
        self._write(result, left_out)
        got = sum(isinstance(found, Copy) for found in self._got.values())
        return Downloaded(result, left_out, got - kept, kept)

    def _prepare(self) -> None:
        try:
            self.store.put(LEFT_OUT, _left_out_csv([]), "text/csv")
        except (OSError, TypeError, ValueError) as error:  # clients look at options only now
            reason = getattr(error.__cause__ or error, "strerror", None) or str(error)
            raise ConfigError(f"--output {self.store.url} is not writable: {reason}") from error

    def _all(
        self, todo: Iterable[str], labels: Mapping[str, str], copies: Copies
    ) -> Iterator[tuple[str, Copy | Unavailable]]:
        """Each URL with its copy or what was in the way, in the order in which they end."""
        urls = iter(todo)
        running: dict[Future[Copy | Unavailable], str] = {}
        with ThreadPoolExecutor(self.workers) as pool:
            try:
                while True:
                    for url in islice(urls, 2 * self.workers - len(running)):
                        running[pool.submit(self._one, url, labels[url], copies)] = url
                    if not running:
                        return
                    ended, _ = wait(running, return_when=FIRST_COMPLETED)
                    for future in ended:
                        yield running.pop(future), future.result()
            except BaseException:
                self.fetcher.hosts.stopped.set()  # the others end at their next piece
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _one(self, url: str, slug: str, copies: Copies) -> Copy | Unavailable:
        """The copy of a URL, fetched unless another process was faster."""
        try:
            return copies.late(url) or self._fetched(url, slug, copies)
        except Unavailable as reason:
            return reason

    def _fetched(self, url: str, slug: str, copies: Copies) -> Copy:
        data, picture = self.fetcher.fetch(url, self.look)
        ending, content_type = FORMATS[picture.format]
        digest = hashlib.sha256(data).hexdigest()
        path = f"{IMAGES}/{slug}-{digest[:12]}.{ending}"
        if not self.store.create(path, data, content_type) and not self._holds(path, digest):
            # Twelve digits can be made to coincide with another picture's; all of them cannot.
            path = f"{IMAGES}/{slug}-{digest}.{ending}"
            self.store.create(path, data, content_type)
        size = (picture.width, picture.height)
        copy = Copy(url, path, digest, len(data), *size, picture.format)
        copies.keep(copy)
        return copy

    def _holds(self, path: str, digest: str) -> bool:
        return hashlib.sha256(self.store.get(path) or b"").hexdigest() == digest

    def _rows(self, rows: Iterable[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[LeftOut]]:
        done, left_out = [], []
        for row in rows:
            try:
                done.append(self._with_copies(row))
            except _RowLeftOut as problem:
                left_out.append(problem.about)
        return done, left_out

    def _with_copies(self, row: dict[str, Any]) -> dict[str, Any]:
        """The row with the copies in place of the addresses, which go to `extra`."""
        new = dict(row)
        extra = dict(row["extra"] or {})
        for column, name in SOURCES.items():
            uri = row[column]
            if not uri:
                continue
            found = self._judge(row, column)
            if found is None:
                continue
            extra[name] = found.url
            new[column] = self.store.uri(found.place)
            if column in _DIGESTS:
                extra[_DIGESTS[column]] = found.sha256
            else:
                new |= {"image_sha256": found.sha256, "image_bytes": found.size}
                new |= {"width": found.width, "height": found.height}
                new["image_format"] = found.format
        new["extra"] = list(extra.items()) or None
        return new

    def _judge(self, row: Mapping[str, Any], column: str) -> Copy | None:
        """The copy of what a column names, None where that is not on the web."""
        uri = str(row[column])
        if not is_web(uri):
            try:
                check_address(uri.removeprefix(PARQUET))
            except ConfigError as error:
                raise _RowLeftOut(row, column, "bad_reference", str(error)) from error
            return None
        found = self._got[uri.strip()]
        if isinstance(found, Unavailable):
            raise _RowLeftOut(row, column, found.code, found.message)
        promised = (row["image_sha256"] or "").lower() if column == "image_uri" else ""
        if promised and promised != found.sha256:
            message = f"the catalog says sha256 {promised}, the web sends {found.sha256}."
            raise _RowLeftOut(row, column, "source_changed", message)
        return found

    def _write(self, table: pa.Table, left_out: Iterable[LeftOut]) -> None:
        import pyarrow.parquet as pq

        sink = io.BytesIO()
        pq.write_table(table, sink, compression="zstd", row_group_size=ROW_GROUP)
        self.store.put(CATALOG, sink.getvalue())
        self.store.put(LEFT_OUT, _left_out_csv(left_out), "text/csv")


class _RowLeftOut(Exception):
    def __init__(self, row: Mapping[str, Any], column: str, code: str, message: str) -> None:
        super().__init__(message)
        # What stands before an @ may be a password.
        url = re.sub(r"//[^/?#]*@", "//***@", str(row[column]))
        self.about = LeftOut(str(row["id"]), column, url, code, message)


def _jobs(rows: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """URL -> the readable part of its file's name, of all columns of all rows."""
    jobs: dict[str, str] = {}
    for row in rows:
        label = " ".join(text for text in (row["artist"], row["title"]) if text)
        for column in SOURCES:
            uri = row[column]
            if is_web(uri) and uri.strip() not in jobs:
                jobs[uri.strip()] = item_slug(row["id"], label)
    return jobs


def _metadata(table: pa.Table) -> dict[str, str]:
    found = (table.schema.metadata or {}).items()
    return {
        key.decode("utf-8", "replace"): value.decode("utf-8", "replace") for key, value in found
    }


def _left_out_csv(left_out: Iterable[LeftOut]) -> bytes:
    import csv

    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["id", "column", "url", "reason", "message"])
    for one in left_out:
        cells = (one.item_id, one.column, one.url, one.code, one.message)
        writer.writerow([as_cell(cell) for cell in cells])
    return text.getvalue().encode("utf-8", "replace")
