"""Witnesses of processes: those of the long dead go, all others stay."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

MAKE = "from catalogs import liveness; print(liveness.witness())"


def put(folder: Path, name: str, days: float, data: bytes = b"") -> Path:
    path = folder / name
    path.write_bytes(data)
    then = time.time() - days * 24 * 3600
    os.utime(path, (then, then))
    return path


def made(folder: Path) -> str:
    """A process that makes its witness in the folder and ends in order."""
    done = subprocess.run(
        [sys.executable, "-c", MAKE],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "TMPDIR": str(folder)},
    )
    return done.stdout.strip()


def test_what_was_left_a_week_ago_goes_and_nothing_else(tmp_path: Path) -> None:
    old = put(tmp_path, "epa-alive-old", 8)
    held = put(tmp_path, "epa-alive-held", 8)
    kept = [
        put(tmp_path, "epa-alive-young", 6),  # a lease may still name it
        put(tmp_path, "epa-alive-notes.txt", 8, b"mine"),
        put(tmp_path, "somebody-else", 8),
        held,
    ]
    (tmp_path / "epa-alive-folder").mkdir()
    target = put(tmp_path, "target", 8)
    (tmp_path / "epa-alive-link").symlink_to(target)
    os.utime(tmp_path / "epa-alive-folder", (0, 0))
    os.utime(tmp_path / "epa-alive-link", (0, 0), follow_symlinks=False)
    with held.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # of a process that lives
        witness = Path(made(tmp_path))
    assert witness.parent == tmp_path
    assert not witness.exists()
    assert not old.exists()
    assert all(path.exists() for path in (*kept, target))
    assert (tmp_path / "epa-alive-folder").is_dir()
    assert (tmp_path / "epa-alive-link").is_symlink()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file to somebody else")
def test_somebody_elses_stay(tmp_path: Path) -> None:
    theirs, mine = (put(tmp_path, f"epa-alive-{whose}", 8) for whose in ("theirs", "mine"))
    os.chown(theirs, 65534, 65534)
    made(tmp_path)
    assert theirs.exists()
    assert not mine.exists()


def test_thousands_cost_no_time(tmp_path: Path) -> None:
    for count in range(2000):
        put(tmp_path, f"epa-alive-{count:04}", 8)
    code = (
        f"import time; from catalogs import liveness; t = time.monotonic(); {MAKE.split('; ')[1]}"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; print(time.monotonic() - t)"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert float(done.stdout.split()[-1]) < 20
    assert list(tmp_path.iterdir()) == []
