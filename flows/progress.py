"""How far a pass is: a bar in a terminal, plain lines elsewhere, an artifact in Prefect's pages.

Nothing here may slow or stop the work: the artifact is written by a side thread, at most every
`INTERVAL` seconds, and its errors are only logged.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from types import TracebackType
from typing import Self
from uuid import UUID

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from flows.console import CONSOLE

log = logging.getLogger("epa")
INTERVAL = 5.0  # seconds between two updates of the artifact: one costs the server 10 ms


class PassProgress:
    """Counts the works of one pass as they are recorded; used as a context manager."""

    def __init__(self, name: str, total: int):
        self.name = name
        self.total = total
        self.counts: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._bar = _bar()
        self._row = self._bar.add_task(name, total=total, note="")
        self._thread = threading.Thread(target=self._report, name="progress", daemon=True)
        self._artifact: UUID | None = None

    def add(self, status: str) -> None:
        """One more work ended in ``status``; safe to call from any thread."""
        with self._lock:
            self.counts[status] += 1
            failed = self.counts["failed"]
        note = f"[red]{failed} failed[/]" if failed else ""
        self._bar.update(self._row, advance=1, note=note)

    def __enter__(self) -> Self:
        self._artifact = _create_artifact(self.name)
        self._bar.start()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._bar.stop()
        self._thread.join(timeout=2 * INTERVAL)
        _update_artifact(self._artifact, self._percent())

    def _percent(self) -> float:
        with self._lock:
            return 100.0 * min(1.0, self.counts.total() / max(1, self.total))

    def _report(self) -> None:
        shown, said = -1.0, time.monotonic()
        while not self._stop.wait(INTERVAL):
            percent = self._percent()
            if percent != shown:
                _update_artifact(self._artifact, percent)
                shown = percent
            if self._bar.disable and time.monotonic() - said >= 6 * INTERVAL:
                said = time.monotonic()
                log.info("%s: %d of %d (%s)", self.name, self.counts.total(), self.total, self)

    def __str__(self) -> str:
        with self._lock:
            counts = sorted(self.counts.items())
        return ", ".join(f"{n} {status}" for status, n in counts) or "none yet"


def _bar() -> Progress:
    return Progress(
        TextColumn("[bold]{task.description:<10}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=CONSOLE,
        disable=not CONSOLE.is_terminal,
    )


def _create_artifact(name: str) -> UUID | None:
    """The id of a new progress artifact, or None outside a flow run or without a server."""
    from prefect.artifacts import create_progress_artifact

    try:
        artifact = create_progress_artifact(0.0, key=f"epa-{name}", description=f"{name} pass")
    except Exception as error:  # noqa: BLE001  # a dashboard that is away must not stop the work
        log.debug("no progress artifact: %s", error)
        return None
    return artifact if isinstance(artifact, UUID) else None  # it may be awaitable, not in a flow


def _update_artifact(artifact: UUID | None, percent: float) -> None:
    if artifact is None:
        return
    from prefect.artifacts import update_progress_artifact

    try:
        update_progress_artifact(artifact, progress=percent)
    except Exception as error:  # noqa: BLE001  # as above
        log.debug("progress artifact not updated: %s", error)
