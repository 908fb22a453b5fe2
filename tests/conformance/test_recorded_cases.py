"""Equality with recorded runs of the published code: see tests/golden/*/README.md."""

from collections.abc import Callable


def test_recorded(recorded_check: Callable[[], None]) -> None:
    recorded_check()
