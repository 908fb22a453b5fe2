"""How often a request to a storage is tried: here and nowhere else, so that counts are true.

A local disk gets five quick tries. A store behind a network is waited for until its patience is
over, by full jitter (every wait is random between nothing and a bound that doubles), and as long
as ten times that where it only asks for fewer requests.
"""

from __future__ import annotations

import errno
import logging
import random
import time
from collections.abc import Callable
from typing import TypeVar

from catalogs.credentials import redact
from catalogs.errors import StoreError
from catalogs.pace import Pace, pace_of
from catalogs.store_errors import as_os_error, from_storage, hopeless, kind_of, throttled

T = TypeVar("T")

TRIES = 5
BACKOFF = 0.2  # seconds before the second try, at most; doubled with each further one
LONGEST = 20.0  # seconds between two tries, at most
THROTTLED = 10  # times the patience for a store that only asks for fewer requests
_SAY_SO = 5.0  # seconds of waiting after which the log says why
_patience = 180.0  # seconds a store behind a network is waited for

_MADE_FREE = {errno.ENOSPC, errno.EDQUOT}  # space, which somebody else may make

_log = logging.getLogger("epa")


def be_patient(seconds: float) -> None:
    """Wait so long, from now on and in this whole process, for a store that is away."""
    global _patience
    _patience = seconds


def attempt(
    act: Callable[[], T],
    what: str,
    *,
    expected: tuple[type[Exception], ...] = (),
    backoff: float = BACKOFF,
    before: Callable[[], object] | None = None,
    store: str | None = None,
    tries: int = TRIES,
) -> T:
    """Do one request, again after errors that may pass.

    So many `tries` in all, or, with the name of a `store` behind a network, until it has been away
    for the set patience, at the pace it bears. Errors of `expected` types, StoreError and mistakes
    in code come through as they are; what the storage raises beside becomes a StoreError that says
    `what` failed. `before` is called before each try.
    """
    course = _Course(what, backoff, store, tries)
    while True:
        left = course.turn()
        if before is not None:
            before()
        try:
            answer = act()
        except StoreError:
            raise
        except Exception as raw:
            error = as_os_error(raw)
            if isinstance(error, expected):
                if error is raw:
                    raise
                raise error from _presentable(raw)
            if not from_storage(error):
                raise
            wait = course.failed(error, left)
            if wait is None:
                raise _store_error(what, error) from _presentable(raw)
        else:
            course.succeeded()
            return answer
        time.sleep(wait)


class _Course:
    """The tries of one request: how many, since when, and how long until the next."""

    def __init__(self, what: str, backoff: float, store: str | None, tries: int) -> None:
        self.what = what
        self.backoff = backoff
        self.store = store
        self.most = tries
        self.pace: Pace | None = pace_of(store) if store else None
        self.tries = 0
        self.since: dict[bool, float] = {}  # throttled or not -> when that began
        self.said = False

    def turn(self) -> float:
        self.tries += 1
        return self.pace.wait() if self.pace else time.monotonic()

    def succeeded(self) -> None:
        if self.pace:
            self.pace.succeeded()

    def failed(self, error: Exception, left: float) -> float | None:
        """Seconds to wait before the next try; None when there shall be none."""
        slow = throttled(error)
        if slow and self.pace:
            self.pace.throttled(left)
        if hopeless(error) and not slow:
            return None
        wait = random.uniform(0, min(self.backoff * 2 ** (self.tries - 1), LONGEST))  # noqa: S311
        if self.store is None:
            return None if self.tries >= self.most else wait
        now = time.monotonic()
        limit = _patience * (THROTTLED if slow else 1)
        over = self.since.setdefault(slow, now) + limit
        if now >= over:
            return None
        self._say(error, now, limit)
        return min(wait, over - now)

    def _say(self, error: Exception, now: float, limit: float) -> None:
        if not self.said and now - min(self.since.values()) > _SAY_SO:
            self.said = True
            _log.warning(
                "%s: %s; waiting up to %.0f s", self.what, _short(redact(str(error))), limit
            )


def _store_error(what: str, error: Exception) -> StoreError:
    message = redact(f"{what} failed: {error}")
    found = StoreError(getattr(error, "errno", None) or errno.EIO, message)
    found.kind = kind_of(error)
    found.final = hopeless(error) and found.errno not in _MADE_FREE
    return found


def _presentable(error: Exception) -> Exception | None:
    """The cause, unless it would bring what must not be said into tracebacks and logs."""
    cause: BaseException | None = error
    for _ in range(8):
        if cause is None:
            return error
        if redact(str(cause)) != str(cause):
            return None
        cause = cause.__cause__ or cause.__context__
    return error


def _short(text: str) -> str:
    return " ".join(text.split())[:160]
