"""Hugging Face image data sets in Parquet: labels are read, images stay where they are."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa

from catalogs import retries
from catalogs.addresses import (
    ParquetRef,
    filesystem_of,
    local_path,
    open_patiently,
    store_name,
)
from catalogs.builders.columns import RowReader, listed, resolve
from catalogs.builders.listing import Listing
from catalogs.builders.names import repair_text
from catalogs.builders.table import is_image
from catalogs.errors import ConfigError
from catalogs.validation import BuildResult, ValidationReport, finish, printable

T = TypeVar("T")

_BATCH = 10_000
_README_LIMIT = 1 << 20
# What filesystems call a mark of the content, and where there is none the time of writing.
_VERSION_MARKS = (
    *("ETag", "etag", "md5Hash", "content_md5", "blob_id"),
    *("LastModified", "last_modified", "updated", "mtime", "created"),
)


def build_huggingface(
    path: str | Path,
    *,
    name: str | None = None,
    mapping: Mapping[str, str] | None = None,
    listing: Listing | None = None,
) -> BuildResult:
    """Catalog of a Parquet file, or of all below a folder or fsspec URL, with an image column.

    image_uri is parquet://file#row_group=..&row=..&version=..: no image byte is read; `version`
    changes when the file is written anew, as the pictures in it may have. ClassLabel numbers
    become their names ("Unknown ..." becomes null); columns of known names fill the catalog's, the
    rest goes to `extra`. Without an id column ids are hf:<name>:<file>:<row>; `name` defaults to
    the data set's folder. `listing` is what lies there, where that is known already. Raises
    ConfigError where nothing fits.
    """
    source = _Source(str(path), listing)
    report = ValidationReport(source=str(path))
    dataset = name or source.name
    rows: list[dict[str, Any]] = []
    for file in source.files:
        rows.extend(_file_rows(source, file, dataset, mapping, report))
    report.rows_in = len(rows)
    if not rows:
        raise ConfigError(f"{path}: the Parquet files have no rows.")
    return finish(rows, report, {"source": f"huggingface:{dataset}"})


class _Source:
    """The Parquet files of a data set, local or behind fsspec, in the order of their names."""

    def __init__(self, location: str, listing: Listing | None = None) -> None:
        self.location = location
        self.is_local = local_path(location) is not None
        self.fs, root = filesystem_of(location)
        self.fs.invalidate_cache()  # a listing kept by this process may be of an earlier build
        try:
            found = (
                [f"{root.rstrip('/')}/{name}" for name in listing.names]
                if listing
                else self._try(lambda: self._found(root), "listing")
            )
        except (ImportError, ValueError, OSError) as error:
            raise ConfigError(f"{location}: the data set cannot be listed: {error}.") from error
        self.files = sorted(file for file in found if file.endswith(".parquet"))
        if not self.files:
            raise ConfigError(f"{location}: there are no Parquet files here.")
        self.root = root if root != self.files[0] else root.rpartition("/")[0]
        parts = [part for part in self.root.split("/") if part]
        self.name = next((part for part in reversed(parts) if part != "data"), "dataset")
        self.labels = self._sidecar_labels()

    def _try(self, act: Callable[[], T], what: str) -> T:
        return retries.attempt(act, f"{what} {self.location}", store=store_name(self.location))

    def _found(self, root: str) -> list[str]:
        if self.fs.isdir(root):
            return list(self.fs.find(root))
        return [root] if self.fs.exists(root) else []

    def open(self, file: str) -> Any:
        """One of the files, for reading."""
        return open_patiently(self.fs, file, self.location)

    def uri(self, file: str) -> str:
        """The file's place as an image reference names it."""
        return file if self.is_local else str(self.fs.unstrip_protocol(file))

    def version(self, file: str) -> str:
        """Which version of the file this is: hash of size and ETag, or of size and time."""
        if self.is_local:
            stat = Path(file).stat()
            facts: list[Any] = [stat.st_size, stat.st_mtime_ns]
        else:
            info = self._try(lambda: self.fs.info(file), f"looking at {file} in")
            marks = (info[name] for name in _VERSION_MARKS if info.get(name))
            facts = [info.get("size"), next(marks, None)]
        return hashlib.blake2b(repr(facts).encode(), digest_size=8).hexdigest()

    def shard(self, file: str) -> str:
        """The file's name inside the data set, without its ending."""
        return file.removeprefix(self.root).strip("/").removesuffix(".parquet")

    def _sidecar_labels(self) -> dict[str, list[str]]:
        """Class names from dataset_infos.json or the README's header, for files without them."""
        parent = self.root.rpartition("/")[0]
        for folder in (self.root, parent):
            for name, read in (("dataset_infos.json", _infos_labels), ("README.md", _card_labels)):
                try:
                    path = f"{folder}/{name}"
                    content = self._try(partial(self.fs.cat_file, path), "reading")
                    labels = read(content[:_README_LIMIT].decode("utf-8"))
                except (OSError, ValueError):
                    continue
                if labels:
                    return labels
        return {}


def _file_rows(
    source: _Source,
    file: str,
    dataset: str,
    mapping: Mapping[str, str] | None,
    report: ValidationReport,
) -> Iterator[dict[str, Any]]:
    import pyarrow.parquet as pq

    try:
        parquet = pq.ParquetFile(source.open(file), pre_buffer=False)
    except (pa.ArrowException, OSError, UnicodeError) as error:
        reason = printable(" ".join(str(error).split()))
        raise ConfigError(f"{file}: this Parquet file cannot be read: {reason}") from error
    schema = parquet.schema_arrow
    images = [field.name for field in schema if is_image(field.type)]
    if not images:
        raise ConfigError(
            f"{file}: no image column (struct<bytes, path>); it has {listed(schema.names)}."
        )
    image = "image" if "image" in images else images[0]
    names = [field.name for field in schema if not is_image(field.type)]
    labels = source.labels | _schema_labels(schema.metadata or {})
    chosen = resolve(names, mapping, file)
    chosen.pop("image_uri", None)  # a path or URL column beside the image goes to extra
    reader = RowReader(names, chosen)
    whole = ParquetRef(source.uri(file), 0, 0, image, source.version(file))
    for number, (ref, raw) in enumerate(_label_rows(parquet, whole, names)):
        for column, classes in labels.items():
            if column in raw:
                raw[column] = _class_name(raw[column], classes)
        row = reader.read(raw)
        if not row.get("id"):
            row["id"] = f"hf:{dataset}:{source.shard(file)}:{number}"
        row["image_uri"], row["source"] = ref.uri(), "huggingface"
        row["source_id"] = row.get("source_id") or f"{source.shard(file)}:{number}"
        yield row
    report.counts["files"] = report.counts.get("files", 0) + 1


def _label_rows(
    parquet: Any, whole: ParquetRef, names: list[str]
) -> Iterator[tuple[ParquetRef, dict[str, Any]]]:
    """The rows' other columns with the place of their image, one row group after the other."""
    for group in range(parquet.num_row_groups):
        if not names:
            count = parquet.metadata.row_group(group).num_rows
            yield from ((replace(whole, row_group=group, row=row), {}) for row in range(count))
            continue
        row = 0
        # Not with threads of Arrow's, which must not hold a Python file (catalogs.arrow_bytes).
        for batch in parquet.iter_batches(
            _BATCH, row_groups=[group], columns=names, use_threads=False
        ):
            for raw in batch.to_pylist(maps_as_pydicts="lossy"):
                yield replace(whole, row_group=group, row=row), raw
                row += 1


def _class_name(value: Any, classes: list[str]) -> Any:
    """A label's name; null for a label out of range and for "Unknown ..."."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = classes[value] if 0 <= value < len(classes) else None
    if isinstance(value, str) and value.lower().startswith("unknown"):
        return None
    # Some data sets' class names carry the same damage as the files they were made from.
    return repair_text(value) if isinstance(value, str) else value


def _schema_labels(metadata: Mapping[bytes, bytes]) -> dict[str, list[str]]:
    """Class names from the Parquet schema's `huggingface` entry."""
    try:
        info = json.loads(metadata[b"huggingface"])["info"]
        return _feature_labels(info["features"])
    except (KeyError, ValueError, TypeError):
        return {}


def _infos_labels(content: str) -> dict[str, list[str]]:
    infos = json.loads(content)
    try:
        return _feature_labels(next(iter(infos.values()))["features"])
    except (AttributeError, StopIteration, KeyError, TypeError):
        return {}


def _feature_labels(features: Mapping[str, Any]) -> dict[str, list[str]]:
    return {
        name: [str(label) for label in feature["names"]]
        for name, feature in features.items()
        if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
    }


def _card_labels(content: str) -> dict[str, list[str]]:
    """Class names from the YAML header of a data set card (class_label: names: {'0': ...})."""
    import yaml

    if not content.startswith("---"):
        return {}
    try:
        info = yaml.safe_load(content.split("\n---", 1)[0])["dataset_info"]
        features = (info[0] if isinstance(info, list) else info)["features"]
        found = {}
        for feature in features:
            kind = feature.get("dtype")
            names = kind.get("class_label", {}).get("names") if isinstance(kind, dict) else None
            if names:
                ordered = sorted(names.items(), key=lambda item: int(item[0]))
                found[feature["name"]] = [str(label) for _, label in ordered]
        return found
    except (yaml.YAMLError, KeyError, TypeError, AttributeError, ValueError, IndexError):
        return {}
