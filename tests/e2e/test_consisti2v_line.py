"""ConsistI2V through the whole line, on tiny weights in their released layout."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from local_runner import run_locally
from paintings import tiny_run
from paper_runs import rows_of, write_works
from tiny_consisti2v import write_released_checkpoint

from epa_core.errors import UnsupportedError
from tasks import models, shards
from tasks.collection import Collection, register

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _own_models() -> Iterator[None]:
    models.release()
    yield
    models.release()


def run_of(tmp_path: Path, source: Path, **options: Any) -> Any:
    weights = tmp_path / "weights"
    if not weights.exists():
        write_released_checkpoint(weights)
    model = {
        "name": "consisti2v",
        "source": str(weights),
        "dtype": "float32",
        "num_frames": 3,
        "options": options,
    }
    few = {"num_inference_steps": 3}
    settings = {"model": model, "prepare": {"area": 1024}, "distill": few, "animate": few}
    return tiny_run(source, tmp_path / "out", **settings)


def test_its_settings_and_negative_prompts_reach_the_frames(tmp_path: Path) -> None:
    prompt = {"prompt": "the waves roll"}
    source = write_works(tmp_path / "in", [prompt, {**prompt, "negative_prompt": "the boat"}])
    seen = set()
    for options in ({}, {"frame_stride": 1}, {"frame_init": "fused"}, {"image_guidance_scale": 2}):
        summary, collection = run_locally(run_of(tmp_path, source, **options))
        assert summary.counts == {"done": 2}, summary.codes
        rows = rows_of(collection)
        assert {row["model"] for row in rows.values()} == {"consisti2v"}
        assert {(row["frames"], row["fps"]) for row in rows.values()} == {(3, 8)}
        seen |= {row["frames_sha256"] for row in rows.values()}
    assert len(seen) == 8


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"model": {"num_frames": 1}}, r"model\.num_frames is 1; ConsistI2V.* takes 2 or more"),
        ({"prepare": {"multiple": 12}}, r"prepare\.multiple is 12; .* takes multiples of 8"),
    ],
)
def test_a_video_it_cannot_make_is_refused_before_any_proxy(
    tmp_path: Path, changed: dict[str, Any], sentence: str
) -> None:
    usual = run_of(tmp_path, write_works(tmp_path / "in", [{"prompt": "the waves roll"}]))
    tree = {key: getattr(usual, key).model_dump() | value for key, value in changed.items()}
    run = usual.model_validate(usual.model_dump() | tree)
    collection = Collection.open(run)
    register(collection)
    for shard in collection.plan.shards:
        with pytest.raises(UnsupportedError, match=sentence):
            shards.check(run, shard)
