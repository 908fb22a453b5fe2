"""Processes of a run that tests may kill: forked from one that has paid for the imports."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any, NamedTuple

SUPPORT = Path(__file__).parent
ROOT = SUPPORT.parent.parent
# What a run loads late: a forked child finds it loaded.
LATE = ("epa_core.awakening", "epa_core.models.preview", "epa_core.proxies.preview")
LATE += ("epa_core.metrics.quality", "epa_core.media.video", "epa_core.media.gif")
LATE += ("catalogs.store_local", "catalogs.store_remote", "s3fs", "diffusers", "scipy.ndimage")
LATE += ("flows.collection", "flows.report", "flows.server", "epa_core.loading")
LATE += ("pyarrow.compute", "pyarrow.csv", "pyarrow.parquet")
VERBS = ("get", "put", "create", "list", "delete", "head")


class Death(NamedTuple):
    """When a process kills itself: at its ``number``-th storage call, before or after it acted."""

    number: int
    after: bool


def environment(**more: str) -> dict[str, str]:
    """The environment of a run's processes under test: hooks, one thread, no stray server."""
    path = os.pathsep.join(map(str, (SUPPORT / "hooks", SUPPORT, ROOT)))
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", **more}


def start(
    run_file: Path,
    *words: object,
    death: Death | None = None,
    clock: float | Path | None = None,
    log: Path | None = None,
    **env: str,
) -> ForkServerProcess:
    """A new process at work on a run file; its ``exitcode`` is that of `epa run`.

    ``words`` are another command line (verify, OUT, ...).

    ``clock`` is how many seconds its clock is wrong, or a file that says so at each look.
    """
    given = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    command = [str(word) for word in words or ("run", run_file)]
    arguments = (command, death, clock, str(log) if log else None, {**given, **env})
    process = _context().Process(target=_work, args=arguments)
    process.start()
    return process


def ended(process: ForkServerProcess, seconds: float = 120) -> int:
    """Wait for a process to end by itself; its exit code."""
    process.join(seconds)
    if process.exitcode is None:
        process.kill()
        raise TimeoutError(f"the run did not end within {seconds} s")
    return process.exitcode


def _context() -> multiprocessing.context.ForkServerContext:
    """The context whose server forks the workers; its environment is that of the first call."""
    context = multiprocessing.get_context("forkserver")
    before = os.environ.get("PYTHONPATH")
    os.environ.update(PYTHONPATH=environment()["PYTHONPATH"], OMP_NUM_THREADS="1")
    try:
        context.set_forkserver_preload(["workers_preload"])
        multiprocessing.forkserver.ensure_running()  # type: ignore[attr-defined]
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
    return context


def _work(
    command: list[str],
    death: Death | None,
    clock: float | Path | None,
    log: str | None,
    env: Mapping[str, str],
) -> None:
    """The command line in this process, with all but Prefect around the flow's own steps."""
    os.environ.update(env)
    if log:
        handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        sys.stdout = os.fdopen(os.dup(1), "w", buffering=1)
        sys.stderr = os.fdopen(os.dup(2), "w", buffering=1)
    without_prefect()
    from catalogs import liveness
    from flows.cli import main
    from tasks import in_flight

    if env.get("EPA_FAULTS_LONG"):
        in_flight._OFTEN = 0.0
    if env.get("EPA_FAULTS_STRANGER"):  # as on another machine: nobody's process can be seen
        liveness.alive = lambda path: None
    if clock is not None:
        set_clock(clock)
    if death is not None:
        die_at(death)
    sys.argv = ["epa", *command]
    main()


def without_prefect() -> None:
    """Let the flow call its tasks' plain functions, and tell no server anything."""
    from flows import animate_collection as flow
    from flows import server

    flow.animate_shard = flow.animate_shard.fn
    flow.proxy_shard = flow.proxy_shard.fn
    flow.animate_collection = flow.animate_collection.fn
    server.start_ephemeral_server = lambda: None


def die_at(death: Death) -> None:
    """Let this process kill itself at a storage call of its own, before or after it acted."""
    from catalogs.store import Store
    from catalogs.store_local import LocalStore
    from catalogs.store_remote import RemoteStore

    lock, calls = threading.Lock(), 0

    def dying(verb: Callable[..., Any]) -> Callable[..., Any]:
        def act(*arguments: Any, **named: Any) -> Any:
            nonlocal calls
            with lock:
                calls += 1
                number = calls
            if number == death.number and not death.after:
                os.kill(os.getpid(), signal.SIGKILL)
            try:
                return verb(*arguments, **named)
            finally:
                if number == death.number:
                    os.kill(os.getpid(), signal.SIGKILL)

        return act

    for kind in (Store, LocalStore, RemoteStore):
        for name in VERBS:
            if name in vars(kind):
                setattr(kind, name, dying(vars(kind)[name]))


def set_clock(offset: float | Path) -> None:
    """Let the wall clock of this process be wrong; timers and the files' times stay right."""
    import datetime

    right = time.time

    def now() -> float:
        if isinstance(offset, Path):
            return right() + (float(offset.read_text()) if offset.exists() else 0.0)
        return right() + offset

    class Wrong(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> datetime.datetime:  # type: ignore[override]
            return datetime.datetime.fromtimestamp(now(), tz)

    time.time = now
    ours = ("catalogs", "tasks", "flows")
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in ours and vars(module).get("datetime") is datetime.datetime:
            module.datetime = Wrong  # type: ignore[attr-defined]
