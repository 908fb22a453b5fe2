"""Kills the workers of a run with SIGKILL at random moments. Also used by the benchmark."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

import workers
from promise import Outcome, check

APART = 5  # works begun between two kills
IN_FLIGHT = 1 + 2  # works that a death costs at most: a batch in the model, and a queue behind it


def kill_and_resume(
    run_file: Path, kills: int, *, seed: int, count: int = 1, slow: float = 0.05
) -> tuple[Outcome, int]:
    """Keep ``count`` workers at a run, kill one of them ``kills`` times, then let it end.

    Gives back what the collection came to and how many were killed: fewer where the works ran out.
    Each call of the model takes ``slow`` seconds longer, so that there is something to kill. Three
    of four kills leave time for some works: one that two workers died with runs in a process alone,
    which takes seconds.
    """
    rng = random.Random(seed)
    trace, log = run_file.parent / "trace", run_file.parent / "log"
    env = {"EPA_FAULTS_TRACE": str(trace), "EPA_FAULTS_SLOW": str(slow), "EPA_FAULTS_LONG": "1"}
    team = [workers.start(run_file, log=log, **env) for _ in range(count)]
    done, seen = 0, 0
    while done < kills:
        wanted = seen + rng.choice((1, APART, APART, APART))
        seen = _wait_for_progress(trace, wanted, team)
        time.sleep(rng.uniform(0, 4 * slow))
        place = rng.randrange(count)
        victim = team[place]
        victim.kill()
        victim.join()
        if victim.exitcode == 0:
            break  # it had ended: nothing is left to kill
        if victim.exitcode != -signal.SIGKILL:
            raise RuntimeError(f"a worker failed by itself: {log.read_text()}")
        done += 1
        team[place] = workers.start(run_file, log=log, **env)
    codes = [workers.ended(worker, 300) for worker in team]
    codes.append(workers.ended(workers.start(run_file, log=log, **env), 300))
    if any(codes):
        raise RuntimeError(f"workers that nobody killed failed: {log.read_text()}")
    return check(run_file, trace), done


def _wait_for_progress(
    trace: Path, wanted: int, team: list[workers.ForkServerProcess], seconds: float = 120
) -> int:
    """Until so many works were begun in all, or the first worker has ended; how many there are."""
    end = time.monotonic() + seconds
    while True:
        begun = trace.read_bytes().count(b"\n") if trace.exists() else 0
        if begun >= wanted or any(worker.exitcode is not None for worker in team):
            return begun
        if time.monotonic() > end:
            raise TimeoutError(f"no work was begun within {seconds} s")
        time.sleep(0.005)
