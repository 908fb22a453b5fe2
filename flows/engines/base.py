"""What every engine is asked to do, and what those that work elsewhere have in common."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, Protocol

from catalogs.errors import ConfigError
from epa_core.errors import UnsupportedError
from tasks.collection import Collection
from tasks.failures import BrokenAccelerator, RunStopped
from tasks.recycle import Pass

Counts = Iterator[tuple[str, Mapping[str, int]]]


class ShardsLeft(RunStopped):
    """Nobody could be found who ends the last shards; what the others came to can be wrapped up."""


class Engine(Protocol):
    """Does shards, in the order given; the order of their ends is its own."""

    two_passes: bool  # whether proxies are a pass of their own, before any video

    def check(self, collection: Collection, shard_id: str) -> None:
        """See that the video model can be had where the work is done. Raises UnsupportedError."""

    def go(self, name: Pass, collection: Collection, works: Mapping[str, int]) -> Counts:
        """Do one pass over the shards of ``works``; each one's counts when it is over.

        Raises RunStopped and what a setting that does not fit raises; ShardsLeft at the end.
        """

    def __enter__(self) -> Engine: ...

    def __exit__(self, *error: Any) -> None: ...


class Ending(NamedTuple):
    """How somebody's turn at a shard ended: well where nothing else is said."""

    shard_id: str
    counts: Mapping[str, int] = {}
    held: bool = False  # a worker of another run has the shard
    error: str = ""  # why it ended before its works did; somebody else may have more luck
    stop: Exception | None = None  # what any other would meet, too


class Missing(NamedTuple):
    """Who is not there, and how they are had."""

    who: str
    cure: str


class Hands(Protocol):
    """Those who do shards elsewhere."""

    def submit(self, shard_id: str) -> None:
        """Let one of them do the shard, as soon as it is free."""

    def endings(self, seconds: float) -> list[Ending]:
        """What ended since the last call; waits at most so long."""

    def missing(self) -> Missing | None:
        """Who is not there, where nobody could do the shards at present."""

    def cancel(self) -> None:
        """Let all stop in order, as the run does."""


def is_everybodys(error: BaseException) -> bool:
    """Whether any other worker would meet the error, too: a setting, or a run that goes wrong."""
    if isinstance(error, BrokenAccelerator):
        return False
    return isinstance(error, ConfigError | UnsupportedError | RunStopped)
