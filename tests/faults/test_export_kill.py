"""SIGKILL in the middle of exports: no half file under a name, and the next call goes on."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import exports
import pytest
from exports import FORMATS, export, fabricate, tree

from catalogs.keys import digest_bytes
from catalogs.store import Store

ROOT = Path(__file__).parent.parent.parent


def kill_and_go_on(form: str, place: Path, count: int, kills: int, seed: int) -> int:
    """Kill exports ``kills`` times, looking at what they leave; how many were killed at work."""
    source = Store.open(str(place / "collection"))
    rows = [{"id": f"w{n:05d}", "title": f"Title {n}"} for n in range(count)]
    chosen = fabricate(source, rows)
    options = {"shard_works": 7} if form == "webdataset" else {}
    fresh, goal = place / "fresh", place / "goal"
    start = time.perf_counter()
    export(form, source, fresh, chosen, **options)
    took = time.perf_counter() - start
    whole = tree(fresh)
    rng, at_work = random.Random(seed), 0
    seen: set[str] = set()
    for _ in range(kills):
        child = subprocess.Popen(
            [sys.executable, exports.__file__, form, source.url, str(goal), str(count)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests' / 'support'}"},
        )
        end = time.monotonic() + 120
        before = len(list(goal.rglob("*")))
        while child.poll() is None and len(list(goal.rglob("*"))) == before:
            assert time.monotonic() < end
            time.sleep(0.001)
        time.sleep(rng.uniform(0, took / 3))
        child.kill()
        child.wait()
        at_work += child.returncode == -signal.SIGKILL
        found = {path: data for path, data in tree(goal).items() if ".tmp-" not in path}
        marker = json.loads(found.pop("epa-export.json", b'{"complete": true}'))
        if not marker["complete"]:
            for path, data in found.items():
                assert digest_bytes(data) == digest_bytes(whole[path]), path
            assert seen <= set(found)  # what is there stays there
            seen = {path for path in found if path.endswith((".mp4", ".tar"))}
    export(form, source, goal, chosen, **options)
    assert tree(goal) == whole
    return at_work


@pytest.mark.parametrize("form", FORMATS)
def test_killed_exports_go_on(form: str, tmp_path: Path) -> None:
    assert kill_and_go_on(form, tmp_path, 400, 2, seed=1) >= 1


@pytest.mark.faults
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("form", FORMATS)
def test_exports_killed_many_times(form: str, tmp_path: Path) -> None:
    assert kill_and_go_on(form, tmp_path, 1500, 12, seed=2) >= 5
