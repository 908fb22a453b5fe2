"""A disk that is full: one sentence, nothing half-written, and on it goes once there is room."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import workers
from fault_table import FaultTable
from promise import check

RunFile = Callable[..., Path]
WORKS = 12


class SmallDisk:
    """A file system of its own in memory; only root may have one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def mount(self, kilobytes: int) -> None:
        """Make it, or give it another size: what lies there stays."""
        remount = "remount," if self.folder.is_mount() else ""
        options = f"{remount}size={kilobytes}k"
        command = ["mount", "-t", "tmpfs", "-o", options, "epa-faults", str(self.folder)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")

    def free(self) -> int:
        """Bytes left."""
        state = os.statvfs(self.folder)
        return state.f_bavail * state.f_frsize


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    folder = tmp_path / "disk"
    folder.mkdir()
    disk = SmallDisk(folder)
    try:
        yield disk
    finally:
        if folder.is_mount():
            subprocess.run(["umount", str(folder)], check=True)


def unfinished(folder: Path) -> list[Path]:
    """Temporary files of writings that did not come to their end."""
    return [path for path in folder.rglob(".*") if path.is_file()]


def said(text: str) -> str:
    """The one line that the command line ends with."""
    assert "Traceback" not in text, text
    lines = [line for line in text.splitlines() if line.startswith("epa:")]
    assert len(lines) == 1, text
    return lines[0]


LONG = [pytest.param(size, marks=pytest.mark.faults) for size in (100, 200, 600, 800)]


@pytest.mark.parametrize("kilobytes", [400, *LONG])
def test_the_output_s_disk(
    run_file: RunFile, disk: SmallDisk, table: FaultTable, kilobytes: int
) -> None:
    file = run_file(WORKS, "disk/out")
    disk.mount(kilobytes)
    log, trace = file.parent / "log", file.parent / "trace"
    env = {"EPA_FAULTS_TRACE": str(trace)}
    for _ in range(2):  # a second start without room does no more harm
        assert workers.ended(workers.start(file, log=log, **env)) in (1, 2)
        assert "No space left on device" in said(log.read_text())
        log.unlink()
    before = check(file, trace)
    assert (before.damaged, before.torn, before.unreadable, unfinished(disk.folder)) == (
        0,
        0,
        "",
        [],
    )
    assert before.states.get("done", 0) < WORKS
    disk.mount(64_000)
    assert workers.ended(workers.start(file, log=log, **env)) == 0, log.read_text()
    table.keep(f"disk full at {kilobytes} KB", check(file, trace), 2, redone=3)


def test_the_scratch_folder_s_disk(run_file: RunFile, disk: SmallDisk, table: FaultTable) -> None:
    file = run_file(4)
    disk.mount(64)
    (disk.folder / "filler").write_bytes(bytes(disk.free()))
    assert disk.free() == 0
    log, trace = file.parent / "log", file.parent / "trace"
    env = {"EPA_FAULTS_TRACE": str(trace), "TMPDIR": str(disk.folder)}
    code = workers.ended(workers.start(file, log=log, **env))
    if code:
        assert "No space left on device" in said(log.read_text())
        (disk.folder / "filler").unlink()
        assert workers.ended(workers.start(file, log=log, **env)) == 0, log.read_text()
    table.keep("scratch folder full", check(file, trace), 1, redone=3)


@pytest.mark.faults
@pytest.mark.server
def test_from_the_command_line(
    run_file: RunFile, disk: SmallDisk, table: FaultTable, tmp_path: Path
) -> None:
    file = run_file(WORKS, "disk/out")
    disk.mount(400)
    trace = file.parent / "trace"
    env = workers.environment(
        EPA_FAULTS_TRACE=str(trace),
        PREFECT_HOME=str(tmp_path / "home"),
        PREFECT_SERVER_EPHEMERAL_ENABLED="true",
    )
    command = [Path(sys.executable).parent / "epa", "run", str(file)]
    first = subprocess.run(command, env=env, capture_output=True, text=True, timeout=240)
    assert first.returncode == 1, first.stderr
    assert "No space left on device" in said(first.stderr)
    assert unfinished(disk.folder) == []
    disk.mount(64_000)
    again = subprocess.run(command, env=env, capture_output=True, text=True, timeout=240)
    assert again.returncode == 0, again.stderr
    table.keep("disk full, from the command line", check(file, trace), 1, redone=3)
