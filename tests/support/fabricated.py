"""Collections without a run: rows as a run writes them, and files of a few bytes beside them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from catalogs import paths
from catalogs.keys import digest_bytes, stage_key
from catalogs.ledger import seal_shard
from catalogs.records import Output, Record
from catalogs.store import Store
from catalogs.store_local import LocalStore

PLAN = "f" * 32
NAMES = ("video.mp4", "preview.webp", "poster.jpg")
START = datetime(2026, 1, 1, tzinfo=UTC)


def key_of(item: str, fps: int = 8) -> str:
    """A key like a real one."""
    return stage_key("encode", 1, params={"fps": fps}, inputs={"item": item})


def record_of(item: str, *, shard: str = "s", fps: int = 8, **fields: Any) -> Record:
    """The record of a done work, whose files are `files_of` it."""
    key = key_of(item, fps)
    outputs = [
        Output(name=path.rpartition("/")[2], path=path, sha256=digest_bytes(data), bytes=len(data))
        for path, data in files_of(item, fps).items()
    ]
    base: dict[str, Any] = {"item_id": item, "shard_id": shard, "key": key, "status": "done"}
    base |= {"outputs": outputs, "keys": {"encode": key}, "finished_at": START}
    return Record(**{**base, **fields})


def files_of(item: str, fps: int = 8) -> dict[str, bytes]:
    """Path -> bytes of a work's files."""
    key = key_of(item, fps)
    return {
        paths.output(item, key, digest_bytes(key.encode()), name): f"{name} of {key}".encode()
        for name in NAMES
    }


def write_files(store: Store, item: str, fps: int = 8) -> list[str]:
    """Write a work's files; their paths."""
    files = files_of(item, fps)
    for path, data in files.items():
        store.put(path, data, durable=False)
    return list(files)


def write_works(store: Store, items: Iterable[str], shard: str = "s") -> list[Record]:
    """Files and sealed rows of done works."""
    rows = [record_of(item, shard=shard) for item in items]
    for row in rows:
        write_files(store, row.item_id)
    seal_shard(store, PLAN, shard, rows)
    return rows


def age(store: LocalStore, days: float) -> None:
    """Let everything in a local store have been written so long ago."""
    then = time.time() - days * 86_400
    for path in store.root.rglob("*"):
        if path.is_file():
            os.utime(path, (then, then))
