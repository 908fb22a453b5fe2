"""How fast requests may follow each other: one pace per store, for all threads of the process."""

import random
import threading
import time

FIRST = 0.1  # seconds between requests after the first throttling answer
SLOWEST = 20.0
_RECOVERY = 0.8  # of the interval is left after each success
_PACES: dict[str, "Pace"] = {}
_LOCK = threading.Lock()


class Pace:
    """Spreads requests in time: unhindered at first, slower with every throttling answer.

    The interval doubles from FIRST to SLOWEST seconds and shrinks with every success. Answers to
    requests that were under way already when it last doubled do not double it again.
    """

    def __init__(self) -> None:
        self.interval = 0.0
        self._next = 0.0  # when the next request may leave
        self._slowed = float("-inf")  # when the interval was last doubled
        self._lock = threading.Lock()

    def wait(self) -> float:
        """Wait for one's turn; give back the time at which the request leaves."""
        with self._lock:
            now = time.monotonic()
            turn = max(now, self._next) if self.interval else now
            # Jittered, so that the workers of one store do not march in step.
            self._next = turn + self.interval * random.uniform(0.5, 1.5)  # noqa: S311
        if turn > now:
            time.sleep(turn - now)
        return time.monotonic()

    def throttled(self, left: float) -> None:
        """The request that left at `left` was answered with a wish for fewer."""
        with self._lock:
            if left >= self._slowed:
                self.interval = min(max(FIRST, 2 * self.interval), SLOWEST)
                self._slowed = time.monotonic()
                self._next = max(self._next, self._slowed + self.interval)

    def succeeded(self) -> None:
        """A request was served."""
        if self.interval:
            with self._lock:
                self.interval *= _RECOVERY
                if self.interval < FIRST / 2:
                    self.interval = 0.0


def pace_of(store: str) -> Pace:
    """The pace of a store, named by protocol and bucket."""
    with _LOCK:
        return _PACES.setdefault(store, Pace())
