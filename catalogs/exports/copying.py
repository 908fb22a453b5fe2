"""Reading what a record names: several files at a time, each compared with its recorded digest."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from catalogs.exports.works import File, Work
from catalogs.keys import digest_bytes
from catalogs.store import Store

T = TypeVar("T")
R = TypeVar("R")

THREADS = 8  # works read at a time; what they hold is all that is in memory beside the lists


class Unfit(Exception):
    """A file is not the one its record names; the text says how."""


class LeftOut(NamedTuple):
    """A work that is not exported, the file that is to blame, and why."""

    item_id: str
    path: str
    reason: str


@dataclass
class Outcome:
    """What an export came to; `kept` works were there already, whole."""

    written: int = 0
    kept: int = 0
    files: int = 0
    bytes: int = 0
    left_out: list[LeftOut] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read_file(source: Store, file: File) -> bytes:
    """The bytes of a file, which are what its record says. Raises Unfit, StoreError."""
    data = source.get(file.path)
    if data is None:
        raise Unfit("the file is not there")
    if len(data) != file.bytes:
        raise Unfit(f"it has {len(data)} bytes, not {file.bytes}")
    digest = digest_bytes(data)
    if digest != file.sha256:
        raise Unfit(f"its SHA-256 is {digest[:12]}..., not {file.sha256[:12]}...")
    return data


def read_files(source: Store, work: Work, files: Iterable[File]) -> list[bytes] | LeftOut:
    """The bytes of some files of a work; LeftOut when one of them is unfit. Raises StoreError."""
    found = []
    for file in files:
        try:
            found.append(read_file(source, file))
        except Unfit as error:
            return LeftOut(work.item_id, file.path, str(error))
    return found


def in_order(
    act: Callable[[T], R], things: Iterable[T], threads: int = THREADS
) -> Generator[R, None, None]:
    """`act` on each thing in threads, the results in order; twice as many as threads are ahead.

    An error ends it: what has not begun is not begun any more.
    """
    waiting: deque[Future[R]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="export") as pool:
        try:
            for thing in things:
                waiting.append(pool.submit(act, thing))
                if len(waiting) >= 2 * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
