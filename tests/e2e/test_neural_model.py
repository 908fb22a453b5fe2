"""A neural model through the whole line: a saved tiny diffusers pipeline, found by folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from local_runner import run_locally
from paintings import tiny_run, write_paintings
from tiny_pipelines import build

from epa_core.errors import UnsupportedError
from tasks import models
from tasks.collection import Collection


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("svd") / "weights"
    build("svd").pipeline.save_pretrained(folder)
    return folder


def settings(weights: Path) -> dict[str, object]:
    return {
        "model": {"name": "svd", "source": str(weights), "num_frames": 4, "dtype": "float32"},
        "prepare": {"area": 1024, "multiple": 32},
        "execution": {"batch_size": 2},
    }


def test_a_saved_pipeline_animates_a_collection(weights: Path, tmp_path: Path) -> None:
    source = write_paintings(tmp_path / "in", 3, width=32, height=32)
    models.release()
    summary, collection = run_locally(tiny_run(source, tmp_path / "out", **settings(weights)))
    assert summary.counts == {"done": 3}, summary.codes
    rows = collection.ledger.table().to_pylist()
    assert {row["model"] for row in rows} == {"svd"}
    assert {row["frames"] for row in rows} == {4}
    # Identity is what the weights are, not where they lie.
    assert all(row["model_identity"].startswith("local:") for row in rows)


def test_moved_weights_keep_their_results(weights: Path, tmp_path: Path) -> None:
    source = write_paintings(tmp_path / "in", 1, width=32, height=32)
    here = Collection.open(tiny_run(source, tmp_path / "out", **settings(weights)))
    moved = tmp_path / "moved"
    weights.rename(moved)
    there = Collection.open(tiny_run(source, tmp_path / "out", **settings(moved)))
    assert here.works[0].keys == there.works[0].keys
    (moved / "unet" / "config.json").write_text("{}")
    other = Collection.open(tiny_run(source, tmp_path / "out", **settings(moved)))
    assert other.works[0].keys["animate"] != here.works[0].keys["animate"]


def test_a_folder_that_is_no_model_stops_before_any_work(tmp_path: Path) -> None:
    source = write_paintings(tmp_path / "in", 1)
    (tmp_path / "weights").mkdir()
    with pytest.raises(UnsupportedError, match=r"model_index\.json"):
        Collection.open(tiny_run(source, tmp_path / "out", **settings(tmp_path / "weights")))
    assert not (tmp_path / "out").exists()
