"""How far a long command is, on standard error."""

from __future__ import annotations

import math
import time
from typing import Self

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from flows.console import CONSOLE

_EVERY = 60.0  # seconds between lines about the progress


class Bar:
    """A bar on a terminal; a line every minute elsewhere."""

    def __init__(self, what: str) -> None:
        self._what = what
        columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        terminal = CONSOLE.is_terminal
        self._bar = Progress(*columns, console=CONSOLE, transient=True, disable=not terminal)
        self._said = time.monotonic() if not terminal else math.inf

    def __enter__(self) -> Self:
        self._bar.start()
        self._task = self._bar.add_task("", total=None)
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def at(self, done: int, total: int) -> None:
        """Show that so many of all are done."""
        self._bar.update(self._task, completed=done, total=total)
        if time.monotonic() - self._said > _EVERY:
            self._said = time.monotonic()
            CONSOLE.print(f"{done} of {total} {self._what}", highlight=False)
