"""verify, gc and rebuild of a collection on S3 (moto), and what they cost in requests."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from fabricated import PLAN, key_of, record_of
from local_runner import run_locally
from paintings import tiny_run, write_paintings

from catalogs import paths
from catalogs.garbage import Needs, find_garbage, remove
from catalogs.ledger import compact, load, seal_shard
from catalogs.store import Store
from catalogs.verification import redo, verify
from tasks.collection import Collection
from tasks.rebuild import rebuild

s3fs = pytest.importorskip("s3fs")
AT_ONCE = timedelta(seconds=-5)  # no waiting until something is old: moto's clock has seconds


def test_lost_found_and_rebuilt_on_s3(bucket: str, tmp_path: Path) -> None:
    run = tiny_run(write_paintings(tmp_path / "in", 3), f"{bucket}/animated")
    _, collection = run_locally(run)
    store, works = collection.store, {work.key: work.item_id for work in collection.works}
    assert verify(store, works, collection.plan_key, deep=True).findings == []

    gone = next(i.path for i in store.list(paths.VIDEOS) if i.path.endswith("video.mp4"))
    store.delete([gone])
    report = verify(store, works, collection.plan_key)
    assert [(f.kind, f.path) for f in report.findings] == [("missing", gone)]
    assert redo(store, report) == 1
    assert run_locally(run)[0].counts == {"done": 3}
    assert verify(store, works, collection.plan_key, deep=True).findings == []

    stray = paths.output("storm", "a" * 32, "b" * 32, "video.mp4")
    store.put(stray, b"nobody's")
    stages = frozenset(key for work in collection.works for key in work.keys.values())
    needs = Needs(collection.plan_key, stages, 600)
    assert find_garbage(store, needs).found == {}
    found = find_garbage(store, needs, AT_ONCE)
    assert found.paths == [stray]
    assert remove(store, found) == 0

    for folder in (paths.MANIFEST, paths.RECORDS, paths.SEALS):
        store.delete([info.path for info in store.list(folder)])
    assert rebuild(Collection.open(run)).rows == 3
    after = Collection.open(run)
    assert after.plan.counts == {"done": 3}
    assert verify(store, works, collection.plan_key, deep=True).findings == []


def test_requests_go_by_the_thousand_objects(bucket: str) -> None:
    store = Store.open(f"{bucket}/many")
    items = [f"work {number}" for number in range(500)]
    rows = [record_of(item) for item in items]
    files = {output.path: output for row in rows for output in row.outputs}
    # As many as S3 tells of in one answer and a half: the listing has to go on.
    store.fs.pipe({f"{store.root}/{path}": b"x" * file.bytes for path, file in files.items()})
    seal_shard(store, PLAN, "s", rows)
    compact(store)
    works = {key_of(item): item for item in items}
    store.counts.clear()
    assert verify(store, works, PLAN).findings == []
    assert store.counts["list"] == 4 + 2
    assert store.counts.total() <= 10, dict(store.counts)
    store.counts.clear()
    assert find_garbage(store, Needs(PLAN, frozenset(), 600)).found == {}
    assert store.counts.total() <= 20, dict(store.counts)
    assert len(load(store)) == 500
