"""Prefect's ephemeral server, started so that Ctrl-C reaches the run and not the server first."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from tempfile import TemporaryFile

from prefect.server.api.server import SubprocessASGIServer
from prefect.settings import PREFECT_API_URL, PREFECT_HOME, PREFECT_SERVER_EPHEMERAL_ENABLED

from catalogs.errors import ConfigError

# Nothing is told to anybody, nor advertised; whoever wants it sets these otherwise.
_QUIET = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
}


def start_ephemeral_server() -> None:
    """Start the server that Prefect would start by itself; a no-op where one is configured.

    Raises ConfigError where its database cannot be written.

    A terminal sends Ctrl-C to the whole process group. A server that dies of it leaves the run
    waiting a minute for answers, so the server is started with SIGINT blocked: a child inherits
    the mask of the thread that starts it. It is stopped, as always, when this process ends.
    """
    if PREFECT_API_URL.value() or not PREFECT_SERVER_EPHEMERAL_ENABLED.value():
        return
    home = Path(PREFECT_HOME.value())
    try:
        home.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=home):
            pass
    except OSError as error:
        # Prefect itself would start its server again and again until a time-out.
        raise ConfigError(
            f"PREFECT_HOME = {home}: {error.strerror}; name a folder that can be written"
        ) from error
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    errors: list[Exception] = []
    thread = threading.Thread(target=_start, args=(errors,), name="server-start", daemon=True)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]


def _start(errors: list[Exception]) -> None:
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        SubprocessASGIServer().start()
    except Exception as error:  # noqa: BLE001  # carried over to the thread that waits
        errors.append(error)
