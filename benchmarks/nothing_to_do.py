"""A second run of 100,000 finished works on S3: requests over the wire, seconds beyond start-up.

The finished state is fabricated (a catalog and the seal of its plan): no work is animated.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
from object_server import S3Server
from paintings import tiny_run
from scripted_proxy import ScriptedProxy

from catalogs import ledger, paths
from catalogs.catalog import write_catalog
from catalogs.schema import SCHEMA
from catalogs.store import Store
from tasks.collection import Collection
from tasks.runfile import dump_run

WORKS = int(os.environ.get("EPA_BENCH_FINISHED", "100000"))


def run(folder: Path) -> list[tuple[str, str, str]]:
    """Requests and seconds of `epa run s3://...` less `epa --help`."""
    with S3Server() as server, ScriptedProxy(server.url) as proxy:
        os.environ.update(server.environment())
        output = server.bucket() + "/finished"
        store = Store.open(output)
        write_catalog(_catalog(), store.uri(paths.CATALOG))
        paintings = tiny_run(store.uri(paths.CATALOG), output)
        store.put(paths.RUN_FILE, dump_run(paintings).encode())
        ledger.seal_all(store, Collection.open(paintings).plan_key, {"done": WORKS})
        epa = Path(sys.executable).parent / "epa"
        through = {**os.environ, **server.environment(proxy.url)}
        command: list[str | Path] = [epa, "run", f"{output}/{paths.RUN_FILE}"]
        helped = _best([epa, "--help"], through)
        proxy.take()
        said = _best(command, through, times=1).said
        asked = proxy.take()
        again = _best(command, dict(os.environ))
    (folder / "requests.txt").write_text("\n".join(asked) + "\n")
    return [
        ("works", f"{WORKS}, {'finished' if 'nothing' in said.lower() else said.strip()}", ""),
        ("requests over the wire", str(len(asked)), "at most 5"),
        (
            "`epa run s3://...` less `epa --help`",
            f"{again.wall - helped.wall:.2f} s ({again.cpu - helped.cpu:.2f} s of CPU)",
            "at most 3 s",
        ),
    ]


def _catalog() -> pa.Table:
    """Works as a catalog of some museum has them: sizes and digests known, texts of their own."""
    rows = range(WORKS)
    columns = {
        "id": [f"museum:{n:06d}" for n in rows],
        "image_uri": [f"s3://pictures/{n % 100:02d}/{n:06d}.jpg" for n in rows],
        "title": [f"Landscape with river no. {n}" for n in rows],
        "artist": [f"Painter {n % 997}" for n in rows],
        "width": [1200 + n % 800 for n in rows],
        "height": [900 + n % 600 for n in rows],
        "source": ["museum"] * WORKS,
    }
    arrays = [
        pa.array(columns[field.name], field.type)
        if field.name in columns
        else pa.nulls(WORKS, field.type)
        for field in SCHEMA
    ]
    return pa.Table.from_arrays(arrays, schema=SCHEMA)


class _Taken(NamedTuple):
    """The quickest of several calls: seconds on the wall and of the processor; what it said."""

    wall: float
    cpu: float
    said: str


def _best(command: list[str | Path], environment: dict[str, str], times: int = 5) -> _Taken:
    taken = []
    for _ in range(times):
        start, before = time.perf_counter(), _cpu()
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
        wall = time.perf_counter() - start
        taken.append(_Taken(wall, _cpu() - before, done.stdout + done.stderr))
    return min(taken)


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
