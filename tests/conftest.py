"""Settings every test shares: one thread per process, no telemetry, no stray Prefect server."""

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_ENABLED", "false")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT", "false")
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
# On a busy machine an example may take any time, and nobody learns anything from that.
settings.register_profile(
    "patient", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("patient")
E2E = Path(__file__).parent / "e2e"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--golden",
        type=Path,
        default=Path(__file__).parent / "golden",
        help="folder KIND/CASE/ of recorded cases that tests/conformance checks",
    )
    parser.addoption("--faults", action="store_true", help="run the long tests of faults, too")
    parser.addoption("--e2e", action="store_true", help="run the long end-to-end tests, too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the long tests to `make test-faults` and `test-e2e`, whatever `-m` chooses beside.

    Those with servers come first, then files that take long: whoever runs several files at a time
    does not wait for the last of them alone in the end.
    """
    left = [name for name in ("faults", "e2e") if not config.getoption(f"--{name}")]
    long = [item for item in items if any(item.get_closest_marker(name) for name in left)]
    config.hook.pytest_deselected(items=long)
    items[:] = [item for item in items if item not in set(long)]
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: (E2E not in item.path.parents, item.path not in slow))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """A file's tests stay together, and all with servers: more than one at a time starve."""
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            scope: str = super()._split_scope(nodeid)
            return E2E.name if scope.startswith(f"tests/{E2E.name}/") else scope

    return Scheduling(config, log)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """One more than processors, since half of the time tests wait; more would only take memory."""
    return min(4, (os.cpu_count() or 1) + 1)
