"""Tar shards for the `webdataset` library: `KEY.mp4`, `KEY.json` and pictures beside them.

Keys are the works' own, 32 hex digits: unique, and without the dot at which the library parts a
name. A shard depends on the manifest and the options alone, and so do its bytes. Its length is
known before a file is read, which tells a shard that lacks damaged works from a whole one.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from typing import NamedTuple

from catalogs.errors import ConfigError
from catalogs.exports.copying import LeftOut, Outcome, in_order, read_files
from catalogs.exports.target import CARD, Content, Target
from catalogs.exports.works import POSTER, PREVIEW, VIDEO, Work
from catalogs.store import Store

NAME = "webdataset"
SHARD_BYTES = 256 << 20
LEAST_BYTES, MOST_BYTES = 1 << 20, 4 << 30  # one shard is in memory, and is one request to a store
_MOST_SHARDS = 1_000_000
_ENDINGS = {VIDEO: "mp4", POSTER: "jpg", PREVIEW: "webp"}
_BLOCK = tarfile.BLOCKSIZE
_END = bytes(2 * _BLOCK)


class Shard(NamedTuple):
    """A tar and the works in it."""

    path: str
    works: Sequence[Work]


def member_names(work: Work) -> list[str]:
    """Names of a work's files in its tar, in their order; the JSON comes after them."""
    return [f"{work.key}.{_ENDINGS[file.name]}" for file in work.files] + [f"{work.key}.json"]


def shards_of(works: Sequence[Work], most_bytes: int, most_works: int | None) -> list[Shard]:
    """The works in order, as many to a shard as the limits allow, one at least."""
    groups: list[list[Work]] = []
    size = 0
    for work in works:
        more = _size(work)
        full = not groups or (most_works is not None and len(groups[-1]) >= most_works)
        if full or size + more + len(_END) > most_bytes:
            groups.append([])
            size = 0
        groups[-1].append(work)
        size += more
    if len(groups) > _MOST_SHARDS:
        raise ConfigError(
            f"--shard-works: {len(groups):,} shards; at most {_MOST_SHARDS:,} are made"
        )
    return [Shard(f"epa-{number:06d}.tar", group) for number, group in enumerate(groups)]


def content_of(shard: Shard) -> Content:
    """Digest of what is to be in a shard, and its length in bytes when nothing is left out."""
    digest = hashlib.sha256()
    for work in shard.works:
        for name, file in zip(member_names(work), work.files, strict=False):
            digest.update(f"{name}\0{file.sha256}\0".encode())
        digest.update(work.facts + b"\0")
    return Content(digest.hexdigest(), sum(map(_size, shard.works)) + len(_END))


def _size(work: Work) -> int:
    lengths = [*(file.bytes for file in work.files), len(work.facts)]
    return sum(_BLOCK + length + -length % _BLOCK for length in lengths)


def export(
    source: Store,
    target: Target,
    works: Sequence[Work],
    card: Callable[[Sequence[Work], Mapping[str, str]], str],
    *,
    shard_bytes: int = SHARD_BYTES,
    shard_works: int | None = None,
    on_work: Callable[[], object] = lambda: None,
) -> Outcome:
    """Write the shards that are not there yet; `card` makes the README. Raises StoreError."""
    shards = shards_of(works, shard_bytes, shard_works)
    target.begin({shard.path: content_of(shard) for shard in shards})
    outcome = Outcome()
    present: list[Work] = []
    missing: list[Shard] = []
    for shard in shards:
        if target.has(shard.path):
            present += shard.works
            outcome.kept += len(shard.works)
            for _ in shard.works:
                on_work()
        else:
            missing.append(shard)
    every = (work for shard in missing for work in shard.works)
    with closing(in_order(lambda work: read_files(source, work, work.files), every)) as reading:
        for shard in missing:
            members = io.BytesIO()
            whole = []
            for work in shard.works:
                data = next(reading)
                on_work()
                if isinstance(data, LeftOut):
                    outcome.left_out.append(data)
                    continue
                for name, content in zip(member_names(work), [*data, work.facts], strict=True):
                    _append(members, name, content)
                whole.append(work)
            if whole:
                members.write(_END)
                target.put(shard.path, members.getvalue())
                present += whole
                outcome.files += 1
                outcome.written += len(whole)
                outcome.bytes += members.tell()
    documents = {CARD: card(present, {"train": "epa-*.tar"}).encode()}
    outcome.notes += target.finish(documents, complete=not outcome.left_out)
    return outcome


def _append(members: io.BytesIO, name: str, data: bytes) -> None:
    """One member: nobody's, of no time, so that the same data give the same bytes."""
    header = tarfile.TarInfo(name)
    header.size = len(data)
    members.write(header.tobuf(tarfile.USTAR_FORMAT))
    members.write(data)
    members.write(bytes(-len(data) % _BLOCK))
