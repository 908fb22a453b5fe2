"""A work that hangs must not hold its shard for ever: its process ends, as one that was killed.

A call that hangs in a driver or a decoder cannot be interrupted from within. Its works in flight
are named as those of a death are, so a work that hangs again and again is set aside in the end.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from catalogs.errors import StoreError
from catalogs.leases import Lease

EXIT_CODE = 75  # EX_TEMPFAIL of sysexits.h: the same command again may do it
_LOOKS, _LONGEST = 10, 30.0  # in the time allowed; seconds between two looks
log = logging.getLogger("epa")


@contextmanager
def ended_if_stalled(lease: Lease, seconds: float | None) -> Iterator[None]:
    """End this process where works under ``lease`` are at work and none ends for ``seconds``.

    None: wait for ever. Nothing at work, as while a child process does a suspect, is no stall.
    """
    if seconds is None:
        yield
        return
    over = threading.Event()
    thread = threading.Thread(
        target=_watch, args=(lease, seconds, over), name="stalled", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        over.set()


def _watch(lease: Lease, seconds: float, over: threading.Event) -> None:
    while not over.wait(min(seconds / _LOOKS, _LONGEST)):
        moved = lease.moved
        if moved is not None and time.monotonic() - moved >= seconds:
            _end(lease, seconds)


def _end(lease: Lease, seconds: float) -> None:
    log.error(
        "works of shard %s are at work, and none has begun or ended for %g s "
        "(execution.stalled_after); the process ends, the next one tries them by themselves",
        lease.shard_id,
        seconds,
    )
    with suppress(StoreError):  # then the lease says it: its owner is dead
        lease.broke("stalled")
    logging.shutdown()
    os._exit(EXIT_CODE)
