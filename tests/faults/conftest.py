"""What the fault tests share: the table of what they provoked, run files, a server of objects."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import s3fs
from fault_table import FaultTable, report
from object_server import S3Server
from paintings import write_run_file

TABLE = pytest.StashKey[FaultTable]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[TABLE] = FaultTable()


def pytest_terminal_summary(terminalreporter, config: pytest.Config) -> None:  # type: ignore[no-untyped-def]
    report(terminalreporter, config.stash[TABLE])


@pytest.fixture
def table(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FaultTable]:
    """The session's table; it also lies in a file beside the tests' folders."""
    table = request.config.stash[TABLE]
    yield table
    table.write(tmp_path_factory.getbasetemp() / "faults.txt")


@pytest.fixture
def run_file(tmp_path: Path) -> Callable[..., Path]:
    """Writes paintings and a run file over them; settings by section."""

    def write(count: int, output: str = "out", **settings: object) -> Path:
        return write_run_file(tmp_path, count, output, **settings)

    return write


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    with S3Server() as server:
        yield server


@pytest.fixture
def s3(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """An S3 server in this process; the environment names it, as a user's does."""
    for name, value in s3_server.environment().items():
        monkeypatch.setenv(name, value)
    # Clients made before, by other tests, know other servers.
    s3fs.S3FileSystem.clear_instance_cache()
    return s3_server
