"""Whatever a catalog holds: a catalog or one sentence, and nothing of it leaves its place."""

from __future__ import annotations

import csv
import html
import io
import json
import re
import tempfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from paintings import painting, tiny_run

from catalogs import paths
from catalogs.catalog import open_source, select
from catalogs.errors import ConfigError
from catalogs.gallery import script_json
from catalogs.gallery_rows import detail_of, entry_of
from epa_core.media.tags import VideoTags, container_metadata, xmp_packet
from tasks.collection import Collection

SHORT = settings(
    max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
LONG = settings(max_examples=1_000, deadline=None, suppress_health_check=list(HealthCheck))

NASTY = [
    "", " ", ".", "..", "../../x", "/", "a/b", "a\\b", "C:\\con", "nul", "~", "\0", "a\0b", "\n",
    "\r\n", "\t", "\x1b[2J", "\u202eexe.png", "\u2028", "\ufeff", "\ud800", "é", "e\u0301", "🎨",
    "x" * 5_000, "../" * 300, "<script>alert(1)</script>", "</script><img src=x onerror=y>", "<!--",
    "]]>", "&amp;", "'; DROP TABLE catalog; --", '" OR 1=1', "$(reboot)", "`id`", "%00", "%2e%2e/",
    "-vf", "=1+1", "@SUM(A1)", "file:///dev/zero", "good.png", "./good.png", "pipe:0", "concat:a|b",
    "http://127.0.0.1/x.png", "s3://b/k", "parquet://x#row_group=0&row=0", "data:image/png;base64,",
    "NaN", "1e400", "true", "null", "{}", "[]", "title=x\nartist=y", ";", "#", "=",
]  # fmt: skip
texts = st.sampled_from(NASTY) | st.text(max_size=20)
COLUMNS = ["id", "image_uri", "title", "artist", "prompt", "license", "year", "genre", "style"]
COLUMNS += ["mask_uri", "proxy_uri", "motion_strength", "negative_prompt", "rights_statement"]
rows = st.lists(
    st.dictionaries(st.sampled_from(COLUMNS) | texts, texts, max_size=6), min_size=1, max_size=6
)
# Most rows name a picture that is there, so that most catalogs come to be.
named = st.tuples(rows, st.booleans()).map(
    lambda drawn: [{"image_uri": "good.png"} | row if drawn[1] else row for row in drawn[0]]
)


def as_csv(table: list[dict[str, str]]) -> bytes:
    columns = list(dict.fromkeys(name for row in table for name in row))
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, restval="", escapechar="\\")
    writer.writeheader()
    writer.writerows(table)
    return buffer.getvalue().encode("utf-8", "surrogatepass")


def as_jsonl(table: list[dict[str, str]]) -> bytes:
    return "\n".join(json.dumps(row) for row in table).encode()


def as_parquet(table: list[dict[str, str]]) -> bytes:
    columns = list(dict.fromkeys(name for row in table for name in row))
    clean = [
        {name: value.encode("utf-8", "replace").decode() for name, value in row.items()}
        for row in table
    ]
    names = [name.encode("utf-8", "replace").decode() for name in columns]
    arrays = [pa.array([row.get(c) for row in clean], pa.string()) for c in columns]
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_arrays(arrays, names=names), buffer)
    return buffer.getvalue()


WRITERS: dict[str, Callable[[list[dict[str, str]]], bytes]] = {
    "csv": as_csv,
    "jsonl": as_jsonl,
    "parquet": as_parquet,
}


def one_sentence(text: str) -> None:
    assert text.strip()
    assert len(text.splitlines()) == 1, text
    assert "Traceback" not in text
    assert len(text) < 4_000


def check(kind: str, data: bytes) -> None:
    """Build, plan, name and describe; only ConfigError may refuse it."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        painting(0).save(place / "good.png")
        (place / f"works.{kind}").write_bytes(data)
        try:
            open_source(place / f"works.{kind}")
            run = tiny_run(place / f"works.{kind}", place / "out")
            collection = Collection.open(run)
            plan = collection.plan
        except ConfigError as error:
            one_sentence(str(error))
            return
        assert plan.pending
        for work, row in zip(collection.works, collection.table.to_pylist(), strict=True):
            check_work(place / "out", work.item_id, work.key, row)
            where = "id = '" + work.item_id.replace("'", "''") + "'"
            assert select(collection.table, where).num_rows == 1
            json.dumps(collection.material(work)).encode()


def check_work(root: Path, item_id: str, key: str, row: dict[str, Any]) -> None:
    """Its names stay below the root, its texts stay texts."""
    label = f"{row['artist'] or ''} {row['title'] or ''}"
    path = paths.output(item_id, key, "0" * 64, "video.mp4", label=label)
    parts = PurePosixPath(path).parts
    assert not PurePosixPath(path).is_absolute()
    assert not {"..", ".", ""} & set(parts)
    assert (root / path).resolve().is_relative_to(root.resolve())
    assert path.isascii()
    assert path.isprintable()
    assert all(len(part) < 200 for part in parts)
    record = {**row, "item_id": item_id, "status": "failed", "message": row["prompt"]}
    record |= {"source_uri": row["image_uri"], "outputs": [{"name": "video.mp4", "path": path}]}
    script = script_json([entry_of(record), detail_of(record)])
    assert not re.search(r"</|<!|<script", script, re.IGNORECASE)
    script.encode()
    tags = VideoTags(
        title=row["title"] or item_id,
        artist=row["artist"] or "",
        description=row["prompt"] or "",
        copyright=row["license"] or "",
        item_id=item_id,
        key=key,
    )
    for name, value in container_metadata(tags, mark_ai=True).items():
        assert "\0" not in name + value
        assert value.encode()
    packet = xmp_packet(tags).decode()
    assert "<script" not in html.unescape(re.sub(r">[^<]*<|\"[^\"]*\"", "", packet))


@pytest.mark.parametrize("kind", WRITERS)
@SHORT
@given(table=named)
def test_any_rows(kind: str, table: list[dict[str, str]]) -> None:
    check(kind, WRITERS[kind](table))


@pytest.mark.parametrize("kind", WRITERS)
@SHORT
@given(table=named, changes=st.lists(st.tuples(st.integers(0, 10**6), st.binary(max_size=4))))
def test_any_bytes(
    kind: str, table: list[dict[str, str]], changes: list[tuple[int, bytes]]
) -> None:
    check(kind, damaged(WRITERS[kind](table), changes))


def damaged(data: bytes, changes: list[tuple[int, bytes]]) -> bytes:
    for position, noise in changes:
        at = position % (len(data) + 1)
        data = data[:at] + noise + data[at + len(noise) :]
    return data


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0",
        b"\xff\xfe",
        b"\n\n\n",
        b"id\n",
        b"PAR1PAR1",
        b"PAR1" * 9,
        b"[" * 9_999,
        b'"' * 99,
    ],
    ids=range(9),
)
def test_files_that_are_none(kind: str, data: bytes) -> None:
    check(kind, data)


@pytest.mark.faults
@pytest.mark.parametrize("kind", WRITERS)
@LONG
@given(table=named, changes=st.lists(st.tuples(st.integers(0, 10**6), st.binary(max_size=4))))
def test_any_bytes_long(
    kind: str, table: list[dict[str, str]], changes: list[tuple[int, bytes]]
) -> None:
    check(kind, damaged(WRITERS[kind](table), changes))


@pytest.mark.faults
@pytest.mark.parametrize("kind", WRITERS)
@LONG
@given(table=named)
def test_any_rows_long(kind: str, table: list[dict[str, str]]) -> None:
    check(kind, WRITERS[kind](table))
