"""Whether a process of this machine is still alive, told by a lock that the kernel frees at death.

Process numbers are used again, differ between containers, and start times move with the clock; a
lock on a file does none of this. A process that ends in order removes its file; one that is killed
leaves it unlocked. Of other machines and containers nothing is known.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import platform
import secrets
import stat
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import Literal

try:
    import fcntl
except ImportError:  # Windows: nothing is known of anybody there
    fcntl = None  # type: ignore[assignment]

State = Literal["alive", "dead", "left", "unknown"]
_PREFIX = "epa-alive-"
_FORGOTTEN = 7 * 24 * 3600  # seconds after which no lease that names a witness is asked about
_BOOT = Path("/proc/sys/kernel/random/boot_id")
_NAMESPACE = Path("/proc/self/ns/pid")
_mine: tuple[int, str] | None = None  # descriptor, path


def witness() -> str:
    """Path of a file that this process holds locked as long as it lives; "" where there is none."""
    global _mine
    if _mine is None and fcntl is not None:
        path = str(Path(tempfile.gettempdir()) / f"{_PREFIX}{secrets.token_hex(8)}")
        try:
            # Not inherited by programs that are started; see below for forks.
            handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o644)
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # a full or read-only temporary folder: others go by the time alone
            return ""
        _mine = handle, path
        atexit.register(_leave, os.getpid(), path)
        _tidy(Path(path).parent)
    return _mine[1] if _mine else ""


@cache
def machine() -> str:
    """Name of this machine since it was started, and of the container."""
    parts = [platform.node()]
    for read in (lambda: _BOOT.read_text().strip(), lambda: str(_NAMESPACE.stat().st_ino)):
        with contextlib.suppress(OSError):  # there is none but on Linux
            parts.append(read())
    return "/".join(parts)


def state(path: str, machine_of: str) -> State:
    """What became of the process with that witness, on the machine it said to be on."""
    living = alive(path)
    if living is not None:
        return "alive" if living else "dead"
    here = bool(path) and machine_of == machine()
    return "left" if here and not os.path.lexists(path) else "unknown"


def refresh() -> None:
    """Keep the witness from those who clean the temporary folder of old files."""
    if _mine is not None:
        with contextlib.suppress(OSError):
            os.utime(_mine[1])


def alive(path: str) -> bool | None:
    """Whether the process of that witness lives; None where it cannot be told from here."""
    if _mine is not None and path == _mine[1]:
        return True
    if fcntl is None or not Path(path).name.startswith(_PREFIX):
        return None
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return None
    else:
        return False
    finally:
        os.close(handle)


def bury(path: str) -> None:
    """Remove the witness of a process that is known to be dead."""
    if path and alive(path) is False:
        with contextlib.suppress(OSError):
            Path(path).unlink()


def _tidy(folder: Path) -> None:
    """Remove what processes of this user that were killed long ago left in the folder."""
    oldest = time.time() - _FORGOTTEN
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(_PREFIX) and _is_forgotten(entry, oldest):
                bury(entry.path)


def _is_forgotten(entry: os.DirEntry[str], oldest: float) -> bool:
    try:
        found = entry.stat(follow_symlinks=False)
    except OSError:
        return False
    # A witness is empty: a file with something in it is not ours, whatever it is called.
    ours = stat.S_ISREG(found.st_mode) and found.st_uid == os.getuid() and not found.st_size
    return ours and found.st_mtime < oldest


def _leave(process: int, path: str) -> None:
    if process == os.getpid():
        with contextlib.suppress(OSError):
            Path(path).unlink()


def _after_fork() -> None:
    """A forked child must not keep its parent's lock: the parent would seem to live on."""
    global _mine
    if _mine is not None:
        with contextlib.suppress(OSError):
            os.close(_mine[0])
        _mine = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
