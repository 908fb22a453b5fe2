"""Fetch | compute | finish overlap through small bounded queues: the GPU never waits for a disk."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import TypeVar

from tasks import metrics

Item = TypeVar("Item")
Fetched = TypeVar("Fetched")
Result = TypeVar("Result")


def overlapped(
    items: Iterable[Item],
    fetch: Callable[[Item], Fetched],
    bucket: Callable[[Fetched], object],
    compute: Callable[[list[Fetched]], Iterable[Result]],
    finish: Callable[[Result], None],
    *,
    batch_size: int,
    depth: int,
) -> None:
    """Run every item through fetch (a thread), compute (this thread) and finish (a thread).

    At most ``depth`` items are fetched ahead, at most ``batch_size + depth`` wait for company of
    their ``bucket`` (None: they need none), and at most ``depth`` results wait to be finished, so
    memory is bounded. ``compute`` gets lists of at most ``batch_size`` items of one bucket.
    The three functions deal with the failure of an item themselves; what they raise ends the run,
    after the results already computed have been finished (so an interrupt loses only work in
    flight).
    """
    # Leaving the block waits for both threads: what was computed is finished whatever happens.
    with (
        ThreadPoolExecutor(1, "fetch") as fetcher,
        ThreadPoolExecutor(1, "finish") as finisher,
        closing(_ahead(fetcher, fetch, items, depth)) as ahead,
    ):
        waiting: deque[Future[None]] = deque()
        for batch in _batches(ahead, bucket, batch_size, batch_size + depth):
            for result in compute(batch):
                waiting.append(finisher.submit(finish, result))
                metrics.queued("finish", waiting)
                while len(waiting) > depth:
                    waiting.popleft().result()
        while waiting:
            waiting.popleft().result()
            metrics.queued("finish", waiting)


def _ahead(
    pool: ThreadPoolExecutor, fetch: Callable[[Item], Fetched], items: Iterable[Item], depth: int
) -> Generator[Fetched]:
    """Results of ``fetch`` in order, with ``depth`` calls running or done ahead of the reader."""
    queue: deque[Future[Fetched]] = deque()
    try:
        for item in items:
            queue.append(pool.submit(fetch, item))
            metrics.queued("fetch", queue)
            if len(queue) > depth:
                yield queue.popleft().result()
        while queue:
            metrics.queued("fetch", queue)
            yield queue.popleft().result()
    finally:
        for future in queue:
            future.cancel()
        metrics.queued("fetch", ())


def _batches(
    items: Iterable[Fetched], bucket: Callable[[Fetched], object], size: int, most: int
) -> Iterator[list[Fetched]]:
    """Lists of at most ``size`` items of one bucket, as soon as one is full.

    Never are more than ``most`` items held back: then the bucket that waits longest goes as it is.
    Items whose bucket is None need no company and go at once.
    """
    waiting: dict[object, list[Fetched]] = {}  # in the order of their first items
    for item in items:
        name = bucket(item)
        if name is None:
            yield [item]
            continue
        batch = waiting.setdefault(name, [])
        batch.append(item)
        if len(batch) == size:
            yield waiting.pop(name)
        elif sum(map(len, waiting.values())) > most:
            yield waiting.pop(next(iter(waiting)))
    yield from waiting.values()
