"""Exports of 10,000 fabricated works of 20 kB: seconds, memory, and the same call again.

The finished state is fabricated: a catalog, files of random bytes, sealed rows.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import yaml
from paintings import TINY, tiny_run

from catalogs import paths
from catalogs.builders.source import BuildResult
from catalogs.catalog import write_catalog
from catalogs.keys import digest_bytes
from catalogs.ledger import seal_shard
from catalogs.records import Output, Record
from catalogs.schema import table_from_rows
from catalogs.store import Store
from catalogs.validation import ValidationReport
from tasks.collection import Collection

WORKS = int(os.environ.get("EPA_BENCH_EXPORTED", "10000"))
BYTES = int(os.environ.get("EPA_BENCH_EXPORTED_BYTES", "20000"))
_CHILD = """
import json, resource, sys
from pathlib import Path
from flows.cli import main
try:
    main()
except SystemExit as end:
    code = end.code or 0
else:
    code = 0
used = resource.getrusage(resource.RUSAGE_SELF)
peak = Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]
print(json.dumps([code, used.ru_utime + used.ru_stime, int(peak) / 1024]), file=sys.stderr)
"""  # not ru_maxrss, which a child inherits from its parent


def run(folder: Path) -> list[tuple[str, str, str]]:
    """Seconds and peak memory of every format, first and again, and of linking."""
    out = folder.resolve() / "out"
    _fabricate(Store.open(str(out)), out)
    rows = [("works", f"{WORKS} of {BYTES} bytes", "")]
    base = _run("status", out)
    rows.append(("`epa status`, for comparison", base, ""))
    for name, more in (
        ("videofolder", []),
        ("webdataset", ["--shard-bytes", str(64 << 20)]),
        ("folder", []),
        ("folder", ["--link"]),
    ):
        # A folder for each: the second call finds what the first wrote.
        place = folder.resolve() / "-".join([name, *(m.strip("-") for m in more)])
        command = ("export", out, "--format", name, "-o", place, *more)
        title = " ".join([name, *more])
        rows.append((title, _run(*command), ""))
        rows.append((f"{title}, again", _run(*command), ""))
    return rows


def _fabricate(store: Store, out: Path) -> None:
    rng = random.Random(0)
    ids = [f"work:{number:06d}" for number in range(WORKS)]
    catalog = [
        {
            "id": name,
            "image_uri": f"{name}.png",
            "image_sha256": digest_bytes(name.encode()),
            "title": f"The title of painting {name}",
            "artist": f"Painter {int(name[5:]) % 97}",
            "prompt": "the water ripples",
            "styles": ["Realism"],
        }
        for name in ids
    ]
    store.put("catalog/report.json", b"{}")
    table = table_from_rows(catalog)
    report = ValidationReport(source="fabricated")
    write_catalog(BuildResult(table, report), store.uri(paths.CATALOG))
    settings = {**TINY, "catalog": str(out / paths.CATALOG), "output": "."}
    store.put(paths.RUN_FILE, yaml.safe_dump(settings).encode())
    collection = Collection.open(tiny_run(out / paths.CATALOG, out))
    records = []
    for work in collection.works:
        data = rng.randbytes(BYTES)
        digest = digest_bytes(data)
        path = paths.output(work.item_id, work.key, digest, "video.mp4")
        store.put(path, data, durable=False)
        output = Output(name="video.mp4", path=path, sha256=digest, bytes=len(data))
        records.append(
            Record(
                item_id=work.item_id,
                shard_id="s",
                key=work.key,
                status="done",
                outputs=(output,),
                title=f"The title of painting {work.item_id}",
                artist=f"Painter {int(work.item_id[5:]) % 97}",
                prompt="the water ripples",
                motion=rng.random(),
                model="preview",
                flag="good",
                material=json.dumps({"prompt": "the water ripples"}),
            )
        )
    seal_shard(store, collection.plan_key, "s", records)


def _run(*arguments: object) -> str:
    """Seconds, seconds of CPU and peak MiB of one call, which must succeed."""
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, *map(str, arguments)], capture_output=True, text=True
    )
    code, cpu, peak = json.loads(done.stderr.splitlines()[-1])
    if code:
        raise RuntimeError(done.stderr)
    return f"{time.perf_counter() - start:.1f} s ({cpu:.1f} s of CPU), {peak:.0f} MiB"
