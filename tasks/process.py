"""A process of its own that does what it is told, one thing at a time.

Spawned: a forked child has neither a working GPU nor its parent's threads. Not one of a pool: a
pool's process waits for ever for a parent that was killed, and a killed one may keep its queue's
lock.
"""

from __future__ import annotations

import logging
import multiprocessing
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from types import FrameType
from typing import Any

log = logging.getLogger("epa")
_SAID, _DONE, _RAISED = "said", "done", "raised"


class ProcessDied(Exception):
    """The process ended without an answer: it was killed, or ended itself."""


class WorkerProcess:
    """The parent's end; the process is started at once.

    A process whose parent dies finishes what it is at, where that is not told otherwise by `tell`.
    """

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, log.getEffectiveLevel()))
        self._process.start()
        theirs.close()  # so that the process's death is the end of the pipe

    def call(
        self,
        function: Callable[..., Any],
        *arguments: Any,
        heard: Callable[[Any], object] = lambda said: None,
    ) -> Any:
        """What ``function`` gives back or raises there; ``heard`` gets what it says by `tell`.

        Raises ProcessDied. An interrupt is passed on, and waited for.
        """
        try:
            self._pipe.send((function, arguments))
            while (answer := self._pipe.recv())[0] == _SAID:
                heard(answer[1])
        except (EOFError, ConnectionError) as error:
            self._process.join()
            raise ProcessDied(f"exit code {self._process.exitcode}") from error
        except Exception:
            raise
        except BaseException:  # an interrupt, whoever's: Prefect has one of its own for SIGTERM
            self._process.terminate()
            self.close()
            raise
        kind, value = answer
        if kind == _RAISED:
            raise value
        return value

    def close(self) -> None:
        """End the process once it is idle."""
        self._pipe.close()
        self._process.join()


# -- in the process

_parent: Connection | None = None
_sending = threading.Lock()


def tell(said: Any) -> None:
    """Say something to the parent in the middle of a call; a parent that died ends this process."""
    try:
        _send(_SAID, said)
    except OSError:
        # To the main thread itself: the signal wakes only the thread that it reaches.
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)


def _send(kind: str, value: Any) -> None:
    with _sending:
        if _parent is not None:
            _parent.send((kind, value))


def _serve(pipe: Connection, level: int) -> None:
    global _parent
    _parent = pipe
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    log.setLevel(level)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent says when to stop
    signal.signal(signal.SIGTERM, _interrupt)
    with suppress(KeyboardInterrupt, EOFError, OSError):
        while True:
            function, arguments = pipe.recv()
            try:
                answer = _DONE, function(*arguments)
            except Exception as error:  # noqa: BLE001  # raised by the parent
                answer = _RAISED, error
            _send(*answer)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
