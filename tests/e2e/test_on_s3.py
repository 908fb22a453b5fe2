"""A collection on S3, spoken over the wire to moto: nothing local but the pictures."""

from __future__ import annotations

from pathlib import Path

import pytest
from local_runner import run_locally
from paintings import tiny_run, write_paintings

from catalogs.keys import digest_bytes
from tasks.collection import Collection

s3fs = pytest.importorskip("s3fs")


def test_a_run_on_s3_and_nothing_to_do(bucket: str, tmp_path: Path) -> None:
    run = tiny_run(write_paintings(tmp_path / "in", 3), f"{bucket}/animated")
    summary, collection = run_locally(run)
    assert summary.counts == {"done": 3}
    for row in collection.ledger.table().to_pylist():
        for output in row["outputs"]:
            data = collection.store.get(output["path"])
            assert data is not None
            assert digest_bytes(data) == output["sha256"]
            # A browser plays what the bucket serves only under the right type.
            info = s3fs.S3FileSystem().info(f"{bucket}/animated/{output['path']}")
            assert info["ContentType"] == _TYPES[output["name"]]
    again = Collection.open(run)
    assert again.finished_summary() is not None
    assert again.store.counts == {"list": 1, "get": 1}  # are there reviews; the seal
    assert "test" not in (collection.store.get(_run_file(collection)) or b"").decode().split()


_TYPES = {"video.mp4": "video/mp4", "preview.webp": "image/webp", "poster.jpg": "image/jpeg"}


def _run_file(collection: Collection) -> str:
    return next(i.path for i in collection.store.list("runs") if i.path.endswith("run.yaml"))


def test_bookkeeping_requests_per_work(bucket: str, tmp_path: Path) -> None:
    source = write_paintings(tmp_path / "in", 12)
    run = tiny_run(source, f"{bucket}/requests", execution={"keep": [], "shard_size": 12})
    _, collection = run_locally(run)
    counts = collection.store.counts
    # Three files and one record for each work; the rest is for the shard and the run as a whole.
    assert counts["create"] >= 12
    beyond = counts.total() - 12 * (3 + 1)
    assert beyond <= 46, dict(counts)
