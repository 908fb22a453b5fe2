"""Fetch, compute and finish overlap, stay bounded, and lose nothing when one of them raises."""

from __future__ import annotations

import threading
import time

import pytest

from tasks.overlap import overlapped


def run(items: range, **hooks: object) -> list[tuple[int, ...]]:
    batches: list[tuple[int, ...]] = []
    finished: list[int] = []

    def compute(batch: list[int]) -> list[int]:
        batches.append(tuple(batch))
        return batch

    overlapped(
        items,
        hooks.get("fetch", lambda n: n),
        hooks.get("bucket", lambda n: n % 2),
        hooks.get("compute", compute),
        hooks.get("finish", finished.append),
        batch_size=3,
        depth=2,
    )
    assert sorted(finished) == sorted(n for batch in batches for n in batch)
    return batches


def test_batches_hold_one_bucket_and_every_item_once() -> None:
    batches = run(range(20))
    assert sorted(n for batch in batches for n in batch) == list(range(20))
    assert all(len({n % 2 for n in batch}) == 1 and len(batch) <= 3 for batch in batches)


def test_nothing_to_do_is_fine() -> None:
    assert run(range(0)) == []


def test_items_of_many_buckets_do_not_pile_up() -> None:
    fetched: list[int] = []
    held: list[int] = []

    def compute(batch: list[int]) -> list[int]:
        held.append(len(fetched) - done[0])
        done[0] += len(batch)
        return batch

    done = [0]
    overlapped(
        range(60),
        lambda n: fetched.append(n) or n,
        lambda n: n % 17,
        compute,
        lambda n: None,
        batch_size=4,
        depth=2,
    )
    assert done == [60]
    assert max(held) <= (4 + 2 + 1) + 2 + 1  # waiting for company, fetched ahead, in hand


def test_items_without_a_bucket_go_at_once() -> None:
    batches = run(range(4), bucket=lambda n: None)
    assert batches == [(0,), (1,), (2,), (3,)]


def test_at_most_depth_items_are_fetched_ahead() -> None:
    fetched: list[int] = []
    seen: list[int] = []

    def compute(batch: list[int]) -> list[int]:
        time.sleep(0.01)
        seen.append(len(fetched) - (max(batch) + 1))
        return batch

    overlapped(
        range(12),
        lambda n: fetched.append(n) or n,
        lambda n: 0,
        compute,
        lambda n: None,
        batch_size=1,
        depth=2,
    )
    assert max(seen) <= 3  # two waiting and one in the fetching thread's hands


def test_fetch_overlaps_compute() -> None:
    started = threading.Event()

    def fetch(n: int) -> int:
        if n == 1:
            started.set()
        return n

    def compute(batch: list[int]) -> list[int]:
        if batch == [0]:
            assert started.wait(60), "item 1 was not fetched while item 0 was computed"
        return batch

    overlapped(range(3), fetch, lambda n: 0, compute, lambda n: None, batch_size=1, depth=2)


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_what_is_computed_is_finished_when_compute_raises(error: type[BaseException]) -> None:
    finished: list[int] = []

    def compute(batch: list[int]) -> list[int]:
        if batch == [5]:
            raise error
        return batch

    def finish(n: int) -> None:
        time.sleep(0.01)
        finished.append(n)

    with pytest.raises(error):
        overlapped(range(10), lambda n: n, lambda n: 0, compute, finish, batch_size=1, depth=2)
    assert finished == [0, 1, 2, 3, 4]


def test_an_error_of_finish_ends_the_run() -> None:
    def finish(n: int) -> None:
        raise OSError("the store is gone")

    with pytest.raises(OSError, match="the store is gone"):
        overlapped(range(10), lambda n: n, lambda n: 0, list, finish, batch_size=1, depth=2)
