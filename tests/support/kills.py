"""Kills a run with SIGKILL at random moments and checks what is left. Also used by the benchmark.

As a program it is the run that gets killed: the local runner, with a trace of computed works.
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from local_runner import run_locally

from catalogs.keys import digest_bytes
from tasks import animate_pass
from tasks.collection import Collection
from tasks.runfile import load_run_file


@dataclass(frozen=True)
class Outcome:
    """What a killed and resumed collection came to."""

    works: int
    rows: int
    lost: int
    twice: int
    damaged: int
    kills: int
    computed: int  # computations, of which `works` were needed

    @property
    def redone(self) -> int:
        """Computations that a kill made necessary again."""
        return self.computed - self.works


def kill_and_resume(run_file: Path, trace: Path, kills: int, seed: int) -> Outcome:
    """Start the run, kill it at a random moment of its work, ``kills`` times; then let it end."""
    rng = random.Random(seed)
    done = 0
    while done < kills:
        before = _objects(run_file)
        process = _start(run_file, trace)
        while process.poll() is None and _objects(run_file) == before:
            time.sleep(0.002)  # until it writes: killing the imports proves nothing
        time.sleep(rng.uniform(0, 0.5))
        process.send_signal(signal.SIGKILL)
        if process.wait() == 0:
            break  # it ended before the signal: nothing is left to kill
        done += 1
    last = _start(run_file, trace)
    if last.wait(300) != 0:
        raise RuntimeError("the run that nobody killed failed")
    return check(run_file, trace, done)


def check(run_file: Path, trace: Path, kills: int = 0) -> Outcome:
    """Every work in exactly one row, every file whole."""
    collection = Collection.open(load_run_file(str(run_file)))
    keys = [work.key for work in collection.works]
    # Every row there is: the ledger's own table would show one per work whatever happened. One
    # record may stand in a part and, after a crash, beside it; two records of one work may not.
    results = {
        (row["item_id"], row["attempt"], row["finished_at"])
        for row in collection.ledger.columns().to_pylist()
        if row["status"] == "done"
    }
    seen = Counter(item for item, _, _ in results)
    rows = collection.ledger.table().to_pylist()
    damaged = 0
    for row in rows:
        for output in row["outputs"]:
            data = collection.store.get(output["path"])
            damaged += data is None or digest_bytes(data) != output["sha256"]
    return Outcome(
        works=len(keys),
        rows=len(rows),
        lost=len(keys) - len(seen),
        twice=sum(count - 1 for count in seen.values()),
        damaged=damaged,
        kills=kills,
        computed=_lines(trace),
    )


def _start(run_file: Path, trace: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, __file__, str(run_file), str(trace)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL)


def _objects(run_file: Path) -> int:
    return sum(1 for _ in (run_file.parent / "out").rglob("*"))


def _lines(trace: Path) -> int:
    return trace.read_bytes().count(b"\n") if trace.exists() else 0


def _main(run_file: str, trace: str) -> None:
    import torch

    torch.set_num_threads(1)
    compute = animate_pass.compute_batch

    def traced(shard, entries):  # type: ignore[no-untyped-def]  # as compute_batch
        with Path(trace).open("a") as file:
            file.writelines(f"{entry.job.work.item_id}\n" for entry in entries)
        return compute(shard, entries)

    animate_pass.compute_batch = traced
    run_locally(load_run_file(run_file))


if __name__ == "__main__":
    _main(*sys.argv[1:])
