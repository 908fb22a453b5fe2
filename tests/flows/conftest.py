"""The command line in this process; a Prefect server, started once and only where it is needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from command_line import Answer, caller
from picture_server import PictureServer, serving


@pytest.fixture(scope="session")
def prefect_home() -> Iterator[None]:
    """Prefect's own test harness: a fresh database and a server of its own."""
    from prefect import settings
    from prefect.settings import temporary_settings
    from prefect.testing.utilities import prefect_test_harness

    quiet = {
        settings.PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None,
        settings.PREFECT_LOGGING_TO_API_ENABLED: False,
    }
    with prefect_test_harness(server_startup_timeout=120), temporary_settings(quiet):
        yield


@pytest.fixture
def epa(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Answer]:
    """Calls the command line in this process."""
    return caller(monkeypatch, capsys)


@pytest.fixture
def server() -> Iterator[PictureServer]:
    """A web server of pictures."""
    with serving() as running:
        yield running
