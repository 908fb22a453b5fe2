"""What half precision cannot compute is done once more in float32, and nothing else suffers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from local_runner import run_locally
from paintings import PROMPTS, tiny_run, write_paintings
from weighted_preview import plant

from epa_core.errors import ItemError, UnsupportedError
from tasks import models
from tasks.collection import Collection
from tasks.config import Execution, ModelChoice
from tasks.proxy import Params as ProxyParams

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _own_models() -> Any:
    models.release()
    yield
    models.release()


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Name and source of a model, and of a proxy maker, with weights."""
    return plant(monkeypatch, tmp_path / "weights")


@pytest.fixture
def half(weights: dict[str, Any]) -> dict[str, Any]:
    return {**weights, "dtype": "float16", "num_frames": 4}


def overflow(
    monkeypatch: pytest.MonkeyPatch, *, in_float32: bool = False, prompt: str = PROMPTS[0]
) -> list[str]:
    """Let half precision give no numbers for ``prompt``; returns the precisions loaded."""
    from epa_core import awakening

    loaded: list[str] = []
    load, animate = models.model, awakening.animate_latents

    def spied(choice: ModelChoice, execution: Execution) -> Any:
        loaded.append(choice.dtype or "")
        return load(choice, execution)

    def overflowing(pipeline: Any, images: Any, prompts: Any, *args: Any, **own: Any) -> Any:
        broken = in_float32 or loaded[-1] != "float32"
        latents = animate(pipeline, images, prompts, *args, **own)
        return [
            z * float("nan") if broken and text == prompt else z
            for z, text in zip(latents, prompts, strict=True)
        ]

    monkeypatch.setattr(models, "model", spied)
    monkeypatch.setattr(awakening, "animate_latents", overflowing)
    return loaded


def manifest(collection: Collection) -> dict[str, dict[str, Any]]:
    return {row["prompt"]: row for row in collection.results().to_pylist()}


def test_a_work_that_overflows_in_half_precision_is_done_in_float32(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, half: dict[str, Any]
) -> None:
    loaded = overflow(monkeypatch)
    run = tiny_run(write_paintings(tmp_path / "in", 3), tmp_path / "out", model=half)
    summary, collection = run_locally(run)
    assert summary.counts == {"done": 3}, summary.codes
    assert list(dict.fromkeys(loaded)) == ["float16", "float32"]
    strict = {prompt: row["strict_numerics"] for prompt, row in manifest(collection).items()}
    assert strict == {PROMPTS[0]: True, PROMPTS[1]: False, PROMPTS[2]: False}
    # The keys say half precision, so nothing of the second go may lie under them.
    stored = {file.stem for file in tmp_path.glob("out/cache/animate/**/*.safetensors")}
    keys = {row["prompt"]: dict(row["keys"])["animate"] for row in manifest(collection).values()}
    assert stored == {keys[PROMPTS[1]], keys[PROMPTS[2]]}


def test_a_work_without_numbers_in_float32_too_fails_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, half: dict[str, Any]
) -> None:
    loaded = overflow(monkeypatch, in_float32=True)
    run = tiny_run(write_paintings(tmp_path / "in", 1), tmp_path / "out", model=half)
    summary, collection = run_locally(run)
    assert summary.codes == {"numeric": 1}
    assert list(dict.fromkeys(loaded)) == ["float16", "float32"]
    [row] = collection.ledger.history(collection.works[0].item_id)
    assert row.attempt == 1
    assert not Collection.open(run).plan.shards  # and not again by itself


def test_in_float32_there_is_nothing_more_exact_to_try(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = overflow(monkeypatch, in_float32=True)
    run = tiny_run(write_paintings(tmp_path / "in", 1), tmp_path / "out")
    assert run_locally(run)[0].codes == {"numeric": 1}
    assert set(loaded) == {"float32"}


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), "too large"),
        (UnsupportedError("no such weights"), "not to be had"),
    ],
)
def test_a_float32_model_that_cannot_be_loaded_ends_no_run(
    fault: Exception,
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    half: dict[str, Any],
) -> None:
    overflow(monkeypatch)
    spied = models.model

    def small(choice: ModelChoice, execution: Execution) -> Any:
        if choice.dtype == "float32":
            raise fault
        return spied(choice, execution)

    monkeypatch.setattr(models, "model", small)
    source = write_paintings(tmp_path / "in", 6)
    execution = {"shard_size": 2, "device": "cpu"}
    run = tiny_run(source, tmp_path / "out", model=half, execution=execution)
    summary, collection = run_locally(run)
    assert summary.counts == {"done": 4, "failed": 2}
    assert summary.codes == {"numeric": 2}
    assert sentence in manifest(collection)[PROMPTS[0]]["message"]


def test_all_cells_of_a_shard_share_one_second_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, half: dict[str, Any]
) -> None:
    loaded = overflow(monkeypatch)
    source = write_paintings(tmp_path / "in", 2)
    run = tiny_run(source, tmp_path / "out", model=half, matrix={"variant": ["V", "S", "V+S"]})
    summary, _ = run_locally(run)
    assert summary.counts == {"done": 6}, summary.codes
    changes = [a for a, b in zip(loaded, [*loaded[1:], ""], strict=True) if a != b]
    assert changes == ["float16", "float32"]


class HalfBlind:
    """A proxy maker that draws in float32 only."""

    def __init__(self, maker: Any, dtype: str | None):
        self.maker, self.dtype = maker, dtype

    def make(self, *args: Any) -> Any:
        if self.dtype != "float32":
            raise ItemError("numeric", "the proxy is black all over", stage="proxy")
        return self.maker.make(*args)

    def cut_off(self, prompt: str) -> str:
        return str(self.maker.cut_off(prompt))


@pytest.mark.parametrize("keep", [["prepare", "proxy", "distill", "animate"], ["prepare"]])
def test_a_proxy_that_half_precision_cannot_draw_is_drawn_in_float32(
    keep: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weights: dict[str, Any]
) -> None:
    make = models.proxy_maker

    def blind(params: ProxyParams, device: str) -> Any:
        return HalfBlind(make(params, device), params.dtype)

    monkeypatch.setattr(models, "proxy_maker", blind)
    run = tiny_run(
        write_paintings(tmp_path / "in", 2),
        tmp_path / "out",
        proxy={**weights, "dtype": "bfloat16"},
        execution={"keep": keep, "device": "cpu"},  # drawn in the first pass, or in the second
    )
    summary, collection = run_locally(run)
    assert summary.counts == {"done": 2}, summary.codes
    assert {row["strict_numerics"] for row in manifest(collection).values()} == {True}


def test_a_black_frame_costs_the_rest_of_its_batch_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from epa_core import awakening

    decode, distil = awakening.decode_latents, awakening.distill_latents
    distilled: list[int] = []

    def last_is_black(*args: Any) -> Any:
        clips = decode(*args)
        clips[-1] = np.zeros_like(clips[-1])
        return clips

    def counted(pipeline: Any, images: Any, *args: Any, **own: Any) -> Any:
        distilled.append(len(images))
        return distil(pipeline, images, *args, **own)

    monkeypatch.setattr(awakening, "decode_latents", last_is_black)
    monkeypatch.setattr(awakening, "distill_latents", counted)
    execution = {"batch_size": 2, "device": "cpu"}
    run = tiny_run(write_paintings(tmp_path / "in", 2), tmp_path / "out", execution=execution)
    summary, _ = run_locally(run)
    assert summary.codes == {"numeric": 2}  # alone, each is the last
    assert distilled == [4]  # both paths of both, once
