"""How far a pass is: a bar in a terminal, plain lines elsewhere, an artifact in Prefect's pages.

Nothing here may slow or stop the work: the artifact changes at most every `INTERVAL` seconds, and a
side thread sends it (flows/artifacts.py).
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Mapping
from typing import Self

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from flows.artifacts import publish
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

    def add(self, status: str) -> None:
        """One more work ended in ``status``; safe to call from any thread."""
        self.add_counts({status: 1})

    def add_counts(self, counts: Mapping[str, int]) -> None:
        """So many works ended in each status, in another process say; safe from any thread."""
        with self._lock:
            self.counts.update(counts)
            failed = self.counts["failed"]
        note = f"[red]{failed} failed[/]" if failed else ""
        self._bar.update(self._row, advance=sum(counts.values()), note=note)

    def __enter__(self) -> Self:
        self._publish()
        self._bar.start()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._bar.stop()
        self._thread.join()
        self._publish()

    def _publish(self) -> None:
        said = f"{self.name}: {self.counts.total()} of {self.total} ({self})"
        publish(f"epa-{self.name}", "progress", self._percent(), said)

    def _percent(self) -> float:
        with self._lock:
            return 100.0 * min(1.0, self.counts.total() / max(1, self.total))

    def _report(self) -> None:
        shown, said = 0, time.monotonic()
        while not self._stop.wait(INTERVAL):
            total = self.counts.total()
            if total != shown:
                self._publish()
                shown = total
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
