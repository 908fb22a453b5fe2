"""A Prefect server for the flow tests, started once and only when one of them needs it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


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
