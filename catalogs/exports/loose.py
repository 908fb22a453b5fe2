"""Exports whose files are copied one by one under other names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from catalogs.exports.copying import LeftOut, Outcome, in_order, read_files
from catalogs.exports.target import Content, Target
from catalogs.exports.works import File, Work
from catalogs.store import Store
from catalogs.store_local import LocalStore


class Placed(NamedTuple):
    """A work and where its files go, in their order."""

    work: Work
    paths: tuple[str, ...]


class _Done(NamedTuple):
    placed: Placed
    files: int
    bytes: int


def copy_works(
    source: Store,
    target: Target,
    placed: Sequence[Placed],
    *,
    link: bool = False,
    on_work: Callable[[], object] = lambda: None,
) -> tuple[Outcome, list[Placed]]:
    """Bring every work's files to the target; what came of it, and the works that are there now.

    All files of a work are read and checked before one is written. `link` gives local files a
    second name instead, where the disk can. Raises StoreError, and ConfigError before any work.
    """
    target.begin(
        {
            path: Content(file.sha256, file.bytes)
            for one in placed
            for path, file in zip(one.paths, one.work.files, strict=True)
        }
    )

    def bring(one: Placed) -> _Done | LeftOut:
        pairs = zip(one.paths, one.work.files, strict=True)
        missing = [(path, file) for path, file in pairs if not target.has(path)]
        data = read_files(source, one.work, [file for _, file in missing])
        if isinstance(data, LeftOut):
            return data
        for (path, file), content in zip(missing, data, strict=True):
            if not (link and target.link(path, _on_disk(source, file))):
                target.put(path, content)
        return _Done(one, len(missing), sum(file.bytes for _, file in missing))

    outcome, there = Outcome(), []
    for done in in_order(bring, placed):
        on_work()
        if isinstance(done, LeftOut):
            outcome.left_out.append(done)
            continue
        there.append(done.placed)
        outcome.files += done.files
        outcome.bytes += done.bytes
        outcome.written += done.files > 0
        outcome.kept += done.files == 0
    return outcome, there


def _on_disk(source: Store, file: File) -> Path:
    return Path(source.uri(file.path))


def can_link(source: Store, target: Target) -> bool:
    """Whether both are folders of this machine."""
    return isinstance(source, LocalStore) and isinstance(target.store, LocalStore)


def lines(parts: Iterable[bytes]) -> bytes:
    """Lines of a file, each with its end."""
    return b"".join(part + b"\n" for part in parts)
