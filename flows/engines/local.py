"""The engine `local`: one shard after the other, in this process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Self

from flows.engines.base import Counts
from tasks import models, recycle
from tasks.collection import Collection
from tasks.config import RunConfig
from tasks.recycle import Pass
from tasks.turns import in_turn

Tasks = Mapping[str, Callable[[RunConfig, str], Mapping[str, int]]]


class Local:
    """Calls the pass's task for every shard."""

    two_passes = True

    def __init__(self, tasks: Tasks):
        self._tasks = tasks
        self._last: Pass | None = None

    def check(self, collection: Collection, shard_id: str) -> None:
        """As every engine."""
        recycle.run_shard("check", collection.run, shard_id)

    def go(self, name: Pass, collection: Collection, works: Mapping[str, int]) -> Counts:
        """As every engine."""
        if self._last not in (None, name):
            models.release()  # the proxy maker's memory belongs to the video model now
        self._last = name
        do = partial(self._tasks[name], collection.run)
        yield from in_turn(collection.leases, works, do)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        recycle.close()
