"""The paper's model and proxy through the whole line, on tiny weights in their released layouts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from local_runner import run_locally
from paper_runs import rows_of, run_of, write_paper_weights, write_works
from PIL import Image

from epa_core.errors import UnsupportedError
from tasks import models
from tasks.collection import Collection

torch.set_num_threads(1)

LONG = " ".join(["the waves roll"] * 60) + " and the last words are lost"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write_paper_weights(tmp_path_factory.mktemp("weights"))


@pytest.fixture(autouse=True)
def _own_models() -> Any:
    models.release()
    yield
    models.release()


def test_the_preset_animates_with_model_and_proxy_of_the_paper(
    weights: dict[str, Path], tmp_path: Path
) -> None:
    source = write_works(tmp_path / "in", [{"prompt": "the waves roll"}, {"prompt": LONG}])
    summary, collection = run_locally(run_of(source, tmp_path / "out", weights))
    assert summary.counts == {"done": 2}, summary.codes
    rows = rows_of(collection)
    for row in rows.values():
        assert (row["model"], row["proxy"], row["variant"]) == (
            "animate-anything",
            "sdxl-refiner",
            "V+S",
        )
        assert (row["frames"], row["fps"]) == (3, 8)
        assert {file["name"] for file in row["outputs"]} >= {"video.mp4", "video.gif"}
        assert row["model_identity"].startswith("local:")
    # The end of a prompt that the text encoders cannot read is named.
    assert rows["work-0"]["prompt_cut"] is None
    assert rows["work-1"]["prompt_cut"].endswith("and the last words are lost")
    assert rows["work-1"]["proxy_prompt_cut"].endswith("and the last words are lost")
    # The proxy was drawn at its own canvas, and kept there.
    stored = sorted((tmp_path / "out" / "cache" / "proxy").rglob("*.png"))
    assert len(stored) == 2
    width, height = Image.open(stored[0]).size
    assert abs(width * height - 4096) < 1000
    assert width % 16 == height % 16 == 0


def test_each_work_may_have_a_mask_a_motion_and_a_negative_prompt(
    weights: dict[str, Path], tmp_path: Path
) -> None:
    prompt = {"prompt": "the waves roll"}
    rows = [
        {**prompt, "mask": "black.png"},
        {**prompt, "mask": "half.png"},
        {**prompt, "motion_strength": "2"},
        {**prompt, "negative_prompt": "the boat"},
        prompt,
        prompt,
    ]
    source = write_works(tmp_path / "in", rows)
    Image.new("L", (48, 32), 0).save(tmp_path / "black.png")
    half = Image.new("L", (480, 320), 0)  # of another resolution, but the painting's shape
    half.paste(255, (0, 0, 240, 320))
    half.save(tmp_path / "half.png")
    # Where all draw the same noise, only what is a work's own can tell two works apart.
    run = run_of(source, tmp_path / "out", weights, one_stream=True, proxy={"name": "none"})
    summary, collection = run_locally(run)
    assert summary.codes == {}, summary.codes
    videos = {name: row["frames_sha256"] for name, row in rows_of(collection).items()}
    works = [videos[f"work-{number}"] for number in range(6)]
    assert works[4] == works[5]
    assert len(set(works[:5])) == 5


@pytest.mark.parametrize(
    ("row", "code"),
    [
        ({"mask": "square.png"}, "mask_size"),
        ({"mask": "nowhere.png"}, "no_mask"),
        ({"mask": "text.png"}, "decode_failed"),
        ({"motion_strength": "a lot"}, "bad_motion"),
        ({"motion_strength": "-1"}, "bad_motion"),
        ({"motion_strength": "nan"}, "bad_motion"),
    ],
)
def test_a_bad_mask_or_motion_fails_its_work_alone(
    row: dict[str, str], code: str, weights: dict[str, Path], tmp_path: Path
) -> None:
    prompt = {"prompt": "the waves roll"}
    source = write_works(tmp_path / "in", [{**prompt, **row}, prompt])
    Image.new("L", (32, 32), 255).save(tmp_path / "square.png")
    (tmp_path / "text.png").write_text("not a picture")
    run = run_of(source, tmp_path / "out", weights, variant="V")
    summary, collection = run_locally(run)
    assert summary.codes == {code: 1}
    assert rows_of(collection)["work-1"]["status"] == "done"


def test_a_proxy_of_another_shape_fails_its_work_alone(
    weights: dict[str, Path], tmp_path: Path
) -> None:
    prompt = {"prompt": "the waves roll"}
    source = write_works(
        tmp_path / "in", [{**prompt, "proxy": "tall.png"}, {**prompt, "proxy": "fits.png"}]
    )
    Image.new("RGB", (32, 48), "blue").save(tmp_path / "tall.png")
    Image.new("RGB", (96, 64), "blue").save(tmp_path / "fits.png")
    run = run_of(source, tmp_path / "out", weights, proxy={"name": "given"})
    summary, collection = run_locally(run)
    assert summary.codes == {"proxy_size": 1}
    assert rows_of(collection)["work-1"]["status"] == "done"


def test_one_proxy_serves_two_models(weights: dict[str, Path], tmp_path: Path) -> None:
    source = write_works(tmp_path / "in", [{"prompt": "the waves roll"}])
    run_locally(run_of(source, tmp_path / "out", weights))
    stored = {file: file.stat().st_mtime_ns for file in tmp_path.glob("out/cache/proxy/**/*.png")}
    assert len(stored) == 1
    models.release()
    other = {"name": "preview", "num_frames": 3, "options": {}}
    run = run_of(source, tmp_path / "out", weights, model=other, prepare={"area": 2304})
    summary, collection = run_locally(run)
    assert summary.counts == {"done": 1}, summary.codes
    assert rows_of(collection)["work-0"]["model"] == "preview"
    again = {file: file.stat().st_mtime_ns for file in tmp_path.glob("out/cache/proxy/**/*.png")}
    assert again == stored


def test_settings_of_the_maker_vary_without_loading_it_again(
    weights: dict[str, Path], tmp_path: Path
) -> None:
    source = write_works(tmp_path / "in", [{"prompt": "the waves roll"}])
    matrix = {"proxy.strength": [0.3, 0.8]}
    run = run_of(source, tmp_path / "out", weights, variant="S", matrix=matrix)
    summary, collection = run_locally(run)
    assert summary.counts == {"done": 2}, summary.codes
    drawn = {file.read_bytes() for file in tmp_path.glob("out/cache/proxy/**/*.png")}
    assert len(drawn) == 2
    videos = collection.results().to_pylist()
    assert {row["cell"] for row in videos} == {"proxy.strength=0.3", "proxy.strength=0.8"}
    assert len({row["frames_sha256"] for row in videos}) == 2
    assert models._proxy.cache_info().misses == 1


def test_a_folder_of_another_model_stops_before_any_work(
    weights: dict[str, Path], tmp_path: Path
) -> None:
    source = write_works(tmp_path / "in", [{"prompt": "the waves roll"}])
    swapped = {"model": weights["proxy"], "proxy": weights["model"]}
    with pytest.raises(UnsupportedError, match="needs LatentToVideoPipeline or AnimateAnything"):
        Collection.open(run_of(source, tmp_path / "out", swapped))
