"""The same work by one, two and three process workers of a Prefect work pool."""

from __future__ import annotations

import time
from pathlib import Path

from paintings import write_run_file
from prefect_server import PrefectServer
from process_workers import Fleet, coordinator
from promise import Objects, check

from tasks.runfile import load_run_file

WORKS, SECONDS = 24, 10.0  # of which each sleeps so long, as one that waits for a GPU does


def run(folder: Path) -> list[tuple[str, str, str]]:
    """Wall time of `epa run`, start of every flow run's process included; one thread each."""
    rows, single = [], 0.0
    home = folder / "prefect"
    home.mkdir()
    with PrefectServer(home) as server:
        for count in (1, 2, 3):
            place = folder / str(count)
            place.mkdir()
            seconds, workers, shards = _run(server, place, count)
            single = single or seconds
            figure = f"{count} worker{'s' * (count > 1)}, {WORKS} works of {SECONDS:g} s (asleep)"
            rows.append((figure, f"{seconds:.0f} s in {shards} shards", ""))
            if count > 1:
                rows.append((f"against one, {workers} took part", f"{single / seconds:.2f} x", ""))
    return rows


def _run(server: PrefectServer, folder: Path, count: int) -> tuple[float, int, int]:
    """Seconds, how many workers took part, flow runs."""
    given = {"engine": "workers", "shard_size": 4, "lease_seconds": 600}
    file = write_run_file(folder, WORKS, execution=given)
    with Fleet(server, folder) as fleet:
        fleet.start(count, EPA_FAULTS_SLOW=str(SECONDS))
        start = time.monotonic()
        process = coordinator(server, file, folder / "epa.log")
        process.wait()
        seconds = time.monotonic() - start
        runs = len(fleet.shard_runs())
        began = [worker.log.read_text().count("submitting flow run") for worker in fleet.workers]
    outcome = check(file)
    assert outcome.faults() == {}, outcome
    assert outcome.states == {"done": WORKS}
    assert len(Objects.of(load_run_file(str(file))).rows()) == WORKS
    return seconds, sum(map(bool, began)), runs
