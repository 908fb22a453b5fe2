"""Faults inside the model: isolated, recorded, retried as often as said, never silent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from local_runner import run_locally
from paintings import PROMPTS, tiny_run, write_paintings
from PIL import Image

from catalogs.errors import StoreError
from epa_core.cards import model_card
from epa_core.errors import ItemError
from epa_core.models.preview import PreviewPipeline
from tasks.collection import Collection
from tasks.compute import check_frames
from tasks.failures import RepeatedFault
from tasks.shard import Failure, split_on_failure

torch.set_num_threads(1)


def break_model(monkeypatch: pytest.MonkeyPatch, fault: Any) -> None:
    """Let ``fault(prompts)`` raise at the beginning of every call of the preview model."""
    call = PreviewPipeline.__call__

    def broken(self: PreviewPipeline, **arguments: Any) -> Any:
        prompt = arguments["prompt"]
        fault([prompt] if isinstance(prompt, str) else prompt)
        return call(self, **arguments)

    monkeypatch.setattr(PreviewPipeline, "__call__", broken)


def test_one_failing_painting_leaves_its_batch_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fault(prompts: list[str]) -> None:
        if PROMPTS[1] in prompts:
            raise RuntimeError("this one cannot be computed")

    break_model(monkeypatch, fault)
    source = write_paintings(tmp_path / "in", 6)
    run = tiny_run(source, tmp_path / "out", execution={"batch_size": 6})
    summary, collection = run_locally(run)
    assert summary.counts == {"done": 4, "failed": 2}
    assert summary.codes == {"unexpected": 2}
    failed = [row for row in collection.ledger.table().to_pylist() if row["status"] == "failed"]
    assert all("this one cannot be computed" in row["message"] for row in failed)
    assert all(row["stage_failed"] == "animate" for row in failed)


def test_a_batch_too_large_for_the_gpu_shrinks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []

    def fault(prompts: list[str]) -> None:
        sizes.append(len(prompts))
        if len(prompts) > 2:
            raise torch.OutOfMemoryError

    break_model(monkeypatch, fault)
    source = write_paintings(tmp_path / "in", 4)
    run = tiny_run(source, tmp_path / "out", execution={"batch_size": 4})
    summary, collection = run_locally(run)
    assert summary.counts == {"done": 4}
    assert max(sizes) == 8
    assert {row["batch_size"] for row in collection.ledger.table().to_pylist()} == {1}


def test_a_passing_failure_is_tried_three_times_in_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def fault(prompts: list[str]) -> None:
        calls.append(prompts)
        raise torch.OutOfMemoryError

    break_model(monkeypatch, fault)
    run = tiny_run(write_paintings(tmp_path / "in", 1), tmp_path / "out")
    for attempt in (1, 2, 3):
        assert Collection.open(run).plan.pending[0].attempt == attempt
        summary, collection = run_locally(run)
        assert summary.codes == {"cuda_oom": 1}
    assert not Collection.open(run).plan.shards
    rows = collection.ledger.history(collection.works[0].item_id)
    assert [row.attempt for row in rows] == [1, 2, 3]


def test_a_black_video_of_a_bright_painting_is_no_video(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from epa_core import awakening

    decode = awakening.decode_latents

    def with_a_black_frame(*args: Any) -> Any:
        clips = decode(*args)
        clips[0][2] = 0
        return clips

    monkeypatch.setattr(awakening, "decode_latents", with_a_black_frame)
    summary, _ = run_locally(tiny_run(write_paintings(tmp_path / "in", 1), tmp_path / "out"))
    assert summary.codes == {"numeric": 1}


def test_a_black_painting_may_stay_black() -> None:
    black, card = Image.new("RGB", (8, 8)), model_card("preview")
    check_frames(np.zeros((2, 8, 8, 3), np.uint8), black, card)
    with pytest.raises(ItemError, match="black"):
        check_frames(np.zeros((2, 8, 8, 3), np.uint8), Image.new("RGB", (8, 8), "grey"), card)


def test_a_single_work_too_large_is_tried_once_more_with_less_memory() -> None:
    """The ladder: halve the batch, save memory, then record ``cuda_oom``."""
    from types import SimpleNamespace

    calls: list[int] = []
    saved: list[bool] = []

    def work(entries: list[Any]) -> list[Any]:
        calls.append(len(entries))
        if not saved or entries[0].job == "huge":
            raise torch.OutOfMemoryError("CUDA out of memory")
        return entries

    def save_memory() -> bool:
        saved.append(True)
        return len(saved) == 1

    entries = [SimpleNamespace(job=name, seconds={}) for name in ("large", "huge")]
    results = list(split_on_failure(entries, work, "animate", save_memory))
    assert calls == [2, 1, 1, 1]
    assert results[0] is entries[0]
    assert isinstance(results[1], Failure)
    assert results[1].error.code == "cuda_oom"


def test_a_fault_of_the_code_stops_the_run_before_it_fails_every_painting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fault(prompts: list[str]) -> None:
        raise RuntimeError("a mistake in the code")

    with monkeypatch.context() as patched:
        break_model(patched, fault)
        run = tiny_run(write_paintings(tmp_path / "in", 30), tmp_path / "out")
        with pytest.raises(RepeatedFault, match="a mistake in the code"):
            run_locally(run)
    untouched = len(Collection.open(run).plan.pending)
    assert 5 <= untouched <= 10  # a few more were in flight
    summary, _ = run_locally(run)
    assert summary.counts == {"done": untouched, "failed": 30 - untouched}


def test_pictures_that_cannot_be_reached_stop_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tasks import shard

    def away(uri: str, **_: object) -> bytes:
        raise StoreError("the network is away")

    run = tiny_run(write_paintings(tmp_path / "in", 30), tmp_path / "out")
    with monkeypatch.context() as patched:
        patched.setattr(shard, "read_image", away)
        with pytest.raises(RepeatedFault, match="the next run"):
            run_locally(run)
    summary, _ = run_locally(run)  # nothing is lost: all are taken up again
    assert summary.counts == {"done": 30}


def test_a_store_that_fails_stops_the_run_and_keeps_what_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from catalogs.store_local import LocalStore

    run = tiny_run(write_paintings(tmp_path / "in", 5), tmp_path / "out")
    create, records = LocalStore.create, []

    def failing(self: LocalStore, path: str, *rest: Any, **more: Any) -> bool:
        if path.startswith("records/"):
            records.append(path)
            if len(records) >= 3:
                raise StoreError("the store is gone")
        return create(self, path, *rest, **more)

    monkeypatch.setattr(LocalStore, "create", failing)
    with pytest.raises(StoreError, match="the store is gone"):
        run_locally(run)
    monkeypatch.undo()
    assert len(Collection.open(run).plan.pending) == 3
    summary, collection = run_locally(run)
    assert summary.counts == {"done": 5}
    assert len(collection.ledger.table()) == 5


def test_an_error_while_measuring_fails_one_work_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tasks import measure

    whole, calls = measure.run, []

    def breaks_once(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 2:
            raise RuntimeError("cannot be measured")
        return whole(*arguments)

    monkeypatch.setattr(measure, "run", breaks_once)
    summary, _ = run_locally(tiny_run(write_paintings(tmp_path / "in", 4), tmp_path / "out"))
    assert summary.counts == {"done": 3, "failed": 1}


def test_a_damaged_record_is_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tasks import shards

    run = tiny_run(write_paintings(tmp_path / "in", 3), tmp_path / "out")
    # The process dies before the shard is sealed, and a disk cuts one record short.
    monkeypatch.setattr(shards, "seal_shard", lambda *a, **k: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run_locally(run)
    monkeypatch.undo()
    record = next((tmp_path / "out" / "records").rglob("*.json"))
    record.write_bytes(record.read_bytes()[:100])
    summary, collection = run_locally(run)
    assert summary.counts == {"done": 3}
    assert collection.finished_summary() is not None
