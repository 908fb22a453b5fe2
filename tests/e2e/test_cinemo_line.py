"""Cinemo through the whole line, on tiny weights in their released layout."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from local_runner import run_locally
from paintings import tiny_run
from paper_runs import rows_of, write_works
from tiny_cinemo import write_released_cinemo

from tasks import models

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _own_models() -> Iterator[None]:
    models.release()
    yield
    models.release()


def test_readings_of_the_method_reach_the_frames(tmp_path: Path) -> None:
    """Also the one in which a proxy's path has to be told its painting."""
    source = write_works(tmp_path / "in", [{"prompt": "the waves roll"}])
    weights = write_released_cinemo(tmp_path / "weights")
    few, seen = {"num_inference_steps": 3}, set()
    for reading in ("absolute", "painting-base"):
        model = {
            "name": "cinemo",
            "source": str(weights),
            "dtype": "float32",
            "num_frames": 3,
            "options": {"epa_reading": reading},
        }
        settings = {"model": model, "prepare": {"area": 1024}, "distill": few, "animate": few}
        summary, collection = run_locally(tiny_run(source, tmp_path / "out", **settings))
        assert summary.counts == {"done": 1}, summary.codes
        (row,) = rows_of(collection).values()
        assert (row["model"], row["frames"]) == ("cinemo", 3)
        seen.add(row["frames_sha256"])
    assert len(seen) == 2
