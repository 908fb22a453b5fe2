"""Whose memory is told, and since when; torch's figures stand in for GPUs that are not there."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from local_runner import run_locally
from paintings import tiny_run, write_paintings

from tasks import metrics, models

GIB = 2**30


class Gpus:
    """Two GPUs as torch tells of them. Each batch on a GPU takes one GiB more than the last."""

    def __init__(self) -> None:
        self.peak = {"cuda:0": 40 * GIB, "cuda:1": 30 * GIB}  # of what was before
        self.resets: Counter[str] = Counter()

    def reset_peak_memory_stats(self, device: str | None = None) -> None:
        self.resets[device or "cuda:0"] += 1
        self.peak[device or "cuda:0"] = self.resets[device or "cuda:0"] * GIB

    def max_memory_allocated(self, device: str | None = None) -> int:
        return self.peak[device or "cuda:0"]

    def memory_allocated(self, device: str | None = None) -> int:
        return 5 if device == "cuda:1" else 7


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> Gpus:
    """Torch has two GPUs; what is moved there stays on the CPU."""
    found, empty = Gpus(), torch.empty
    for name in ("reset_peak_memory_stats", "max_memory_allocated", "memory_allocated"):
        monkeypatch.setattr(torch.cuda, name, getattr(found, name))
    for name in ("is_available", "is_initialized"):
        monkeypatch.setattr(torch.cuda, name, lambda: True)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)

    def on_the_cpu(*size: Any, **how: Any) -> torch.Tensor:
        return empty(*size, **{k: v for k, v in how.items() if v != "cuda:1"})

    monkeypatch.setattr(torch, "empty", on_the_cpu)
    monkeypatch.setattr(diffusers.DiffusionPipeline, "to", lambda pipeline, *_, **__: pipeline)
    return found


def rows_of(tmp_path: Path, **execution: Any) -> list[dict[str, Any]]:
    source = write_paintings(tmp_path / "in", 2)
    models.release()
    summary, collection = run_locally(tiny_run(source, tmp_path / "out", execution=execution))
    assert summary.counts == {"done": 2}, summary.codes
    models.release()
    return [row for row in collection.ledger.table().to_pylist() if row["status"] == "done"]


def test_a_record_tells_the_peak_of_its_batch_on_the_runs_gpu(gpus: Gpus, tmp_path: Path) -> None:
    rows = rows_of(tmp_path, device="cuda:1", batch_size=1)
    assert {row["device"] for row in rows} == {"cuda:1"}
    stages = gpus.resets["cuda:1"] // 2  # each of which took a GiB more than the one before
    assert sorted(row["peak_memory"] for row in rows) == [stages * GIB, 2 * stages * GIB]
    assert not gpus.resets["cuda:0"]
    assert gpus.peak["cuda:0"] == 40 * GIB


def test_prometheus_tells_the_same_gpus(gpus: Gpus, tmp_path: Path) -> None:
    metrics.collect()
    from prometheus_client import REGISTRY

    rows = rows_of(tmp_path, device="cuda:1", batch_size=2)

    def told(kind: str) -> float | None:
        return REGISTRY.get_sample_value("epa_gpu_memory_bytes", {"kind": kind})

    assert told("now") == 5
    assert told("peak") == rows[0]["peak_memory"]


def test_a_run_on_the_cpu_tells_of_no_gpu(gpus: Gpus, tmp_path: Path) -> None:
    rows = rows_of(tmp_path, device="cpu")
    assert {row["peak_memory"] for row in rows} == {None}
    assert not gpus.resets
