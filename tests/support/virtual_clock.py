"""A clock that waiting code believes in: its sleeps take no time and are kept."""

from __future__ import annotations

import threading

import pytest

from catalogs import pace, retries


class VirtualClock:
    """Stands for the module `time` where stores are waited for."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []
        self._lock = threading.Lock()

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        with self._lock:
            self.slept.append(seconds)
            self.now += seconds


def install(monkeypatch: pytest.MonkeyPatch) -> VirtualClock:
    """The clock by which retries and paces go from now on; every store has a fresh pace."""
    clock = VirtualClock()
    monkeypatch.setattr(retries, "time", clock)
    monkeypatch.setattr(pace, "time", clock)
    monkeypatch.setattr(pace, "_PACES", {})
    return clock
