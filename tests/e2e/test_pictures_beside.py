"""Masks, proxies and motion strengths that do not fit: what they end in, and for whom."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from local_runner import run_locally
from paintings import painting
from paper_runs import rows_of, run_of, write_paper_weights, write_works
from PIL import Image

from catalogs.builders import build_folder
from catalogs.catalog import write_catalog
from epa_core.errors import UnsupportedError
from tasks import models

torch.set_num_threads(1)

PROMPT = {"prompt": "the waves roll"}
HOW: dict[str, dict[str, Any]] = {"mask": {"variant": "V"}, "proxy": {"proxy": {"name": "given"}}}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write_paper_weights(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Weights trained without masks and motion strengths."""
    neither = {"motion_mask": False, "motion_strength": False}
    return write_paper_weights(tmp_path_factory.mktemp("bare"), **neither)


@pytest.fixture(autouse=True)
def _own_models() -> Any:
    models.release()
    yield
    models.release()


# -- what these weights cannot take


def test_what_the_weights_cannot_take_fails_its_work_alone(
    bare: dict[str, Path], tmp_path: Path
) -> None:
    rows = [
        {**PROMPT, "mask": "white.png"},
        {**PROMPT, "motion_strength": "3"},
        {**PROMPT, "motion_strength": "8"},  # what the model stands at anyway
        PROMPT,
    ]
    source = write_works(tmp_path / "in", rows)
    Image.new("L", (48, 32), 255).save(tmp_path / "white.png")
    run = run_of(source, tmp_path / "out", bare, variant="V", execution={"batch_size": 4})
    summary, collection = run_locally(run)
    assert summary.codes == {"unsupported_condition": 2}
    works = rows_of(collection)
    assert "mask_image was given, but these weights" in works["work-0"]["message"]
    assert "motion_strength 3 was given, but these" in works["work-1"]["message"]
    assert [works[f"work-{number}"]["status"] for number in (2, 3)] == ["done", "done"]


def test_options_that_the_weights_were_not_trained_with_stop_the_run(
    bare: dict[str, Path], tmp_path: Path
) -> None:
    source = write_works(tmp_path / "in", [PROMPT])
    options = {"motion_strength": 5}
    model = {"source": str(bare["model"]), "dtype": "float32", "options": options}
    run = run_of(source, tmp_path / "out", bare, model=model, variant="V")
    sentence = "model.options: motion_strength 5 was given, but these weights"
    with pytest.raises(UnsupportedError, match=sentence):
        run_locally(run)
    assert not list((tmp_path / "out").rglob("*.mp4"))


# -- pictures that are not what the catalog says, or are of other sizes


def other_bytes(file: Path) -> None:
    Image.new("RGB", (48, 32), "red").save(file)


def removed(file: Path) -> None:
    file.unlink()


def pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("kind", ["mask", "proxy"])
@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        (other_bytes, "source_changed", "is no longer the one in the catalog"),
        (removed, "no_{kind}", "is not where the catalog says"),
        (pipe, "bad_reference", "is no plain file"),
    ],
)
def test_a_picture_beside_that_changed_fails_its_work_alone(
    kind: str,
    change: Callable[[Path], None],
    code: str,
    message: str,
    weights: dict[str, Path],
    tmp_path: Path,
) -> None:
    rows = [{**PROMPT, kind: "other.png"}, {**PROMPT, kind: "same.png"}]
    folder = write_works(tmp_path / "in", rows)
    for name in ("other.png", "same.png"):
        Image.new("RGB", (48, 32), "blue").save(tmp_path / name)
    catalog = tmp_path / "catalog.parquet"
    write_catalog(build_folder(folder), catalog)
    change(tmp_path / "other.png")
    summary, collection = run_locally(run_of(catalog, tmp_path / "out", weights, **HOW[kind]))
    assert summary.codes == {code.format(kind=kind): 1}
    works = rows_of(collection)
    assert message in works["work-0"]["message"]
    assert kind in works["work-0"]["message"]
    assert works["work-1"]["status"] == "done"


@pytest.mark.parametrize("kind", ["mask", "proxy"])
def test_a_picture_beside_is_judged_by_the_run_s_limits_and_its_painting(
    kind: str, weights: dict[str, Path], tmp_path: Path
) -> None:
    """As long as the painting may be, as small as it likes; what is wrong is said of it."""
    limits = {"max_aspect": 6, "max_pixels": 30_000, "min_side": 16}
    sizes = {"long": (320, 64), "tiny": (10, 2), "wide": (160, 20), "large": (800, 160)}
    folder = write_works(tmp_path / "in", [{**PROMPT, kind: f"{name}.png"} for name in sizes])
    for number, (name, size) in enumerate(sizes.items()):
        painting(number, 160, 32).save(folder / f"work-{number}.png")
        Image.new("RGB", size, "white").save(tmp_path / f"{name}.png")
    settings = {**HOW[kind], "execution": {"limits": limits}}
    summary, collection = run_locally(run_of(folder, tmp_path / "out", weights, **settings))
    assert summary.codes == {f"{kind}_size": 1, "too_large": 1}
    works, what = rows_of(collection), {"mask": "the mask", "proxy": "the given proxy"}[kind]
    assert [works[f"work-{number}"]["status"] for number in (0, 1)] == ["done", "done"]
    assert works["work-2"]["message"].startswith(f"{what} is 160x20, the painting 160x32")
    assert works["work-3"]["message"].startswith(f"{what}: The image has 800 x 160 pixels")
