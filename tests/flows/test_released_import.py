"""Files of the paper's released code: what a folder of them becomes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from local_runner import run_locally
from paintings import painting
from released_config import released_tree, write_code, write_tree
from tiny_animate_anything import write_released_checkpoint

from catalogs.catalog import read_catalog, select
from tasks.runfile import load_run_file


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(folder := write_code(tmp_path))
    return folder


def converted(folder: Path) -> list[dict[str, Any]]:
    return pq.read_table(folder / "catalog.parquet").to_pylist()


def test_a_folder_of_equal_settings_becomes_one_catalog_and_one_run_file(
    epa: Any, code: Path, tmp_path: Path
) -> None:
    source = tmp_path / "configs"
    (source / "sub").mkdir(parents=True)
    mask = tmp_path / "example/mask.png"
    painting(8).save(mask)
    pictures = {"boat": "../example/boat.jpg", "proxy": "../example/proxy.jpg"}
    write_tree(source / "a.yaml", released_tree())
    write_tree(
        source / "b.yml", released_tree(prompt="waves", strength=4.512345678, mask=str(mask))
    )
    write_tree(source / "c.yaml", released_tree(prompt_image=pictures["proxy"]))
    (source / "notes.txt").write_text("not of these")
    answer = epa("import-config", source, "-o", "all")
    assert answer.code == 0, answer.err
    assert answer.err.count("\n") == 1
    assert "learning_rate" in answer.err
    assert "3 in, 3 in the catalog" in answer.out
    rows = converted(code / "all")
    assert [row["id"] for row in rows] == ["boat", "boat-2", "proxy"]
    assert [row["motion_strength"] for row in rows] == [None, "4.512345678", None]
    assert [row["mask_uri"] for row in rows] == [None, str(mask), None]
    assert rows[0]["image_uri"] == str(tmp_path / "example/boat.jpg")
    assert rows[0]["proxy_uri"] == str(tmp_path / "example/proxy.jpg")
    assert rows[0]["image_sha256"]
    assert rows[1]["prompt"] == "waves"
    assert sorted(p.name for p in (code / "all").iterdir()) == ["catalog.parquet", "run.yaml"]
    run = load_run_file("all/run.yaml")
    assert run.where is None
    assert run.catalog == str(code / "all/catalog.parquet")
    assert run.output == str(code / "all/animated")
    assert (run.preset, run.seed, run.proxy.name) == ("paper", 42, "given")
    assert run.model.name == "animate-anything"
    assert run.model.source == str(code / "latent/animate_anything_512_v1.02")
    assert (run.model.num_frames, run.model.guidance_scale) == (16, 9)
    assert run.model.options == {"motion_strength": 8}
    assert (run.prepare.area, run.encode.fps, run.encode.gif) == (512 * 512, 8, True)
    assert (run.distill.num_inference_steps, run.animate.num_inference_steps) == (25, 25)


def test_works_of_other_settings_get_a_run_file_of_their_own(
    epa: Any, code: Path, tmp_path: Path
) -> None:
    odd = tmp_path / "example" / "it's.jpg"
    painting(6).save(odd)
    odd_tree = {**released_tree(prompt_image=str(odd)), "seed": 7}
    trees = [released_tree(), odd_tree, released_tree(proxy_image=None, prompt="rain")]
    file = write_tree(code / "list.yaml", [*trees, released_tree(prompt="waves")])
    answer = epa("import-config", file, "-o", code / "all")
    assert answer.code == 0, answer.err
    assert "3 different settings" in answer.out
    assert "run-3.yaml: these works name no proxy_image" in answer.out
    catalog = read_catalog(code / "all/catalog.parquet")
    runs = [load_run_file(str(code / "all" / f"run-{n}.yaml")) for n in (1, 2, 3)]
    chosen = [select(catalog, run.where, None)["id"].to_pylist() for run in runs]
    assert chosen == [["boat", "boat-3"], ["it's"], ["boat-2"]]
    assert [run.seed for run in runs] == [42, 7, 42]
    assert [run.proxy.name for run in runs] == ["given", "given", "sdxl-refiner"]
    assert len({run.output for run in runs}) == 3


@pytest.mark.parametrize(
    "changed",
    [
        {"num_frames": 8},
        {"guidance_scale": 7.5},
        {"num_inference_steps": 10},
        {"width": 256},
        {"fps": 12},
        {"proxy_image": None},
    ],
)
def test_every_setting_that_a_run_file_says_once_parts_the_works(
    epa: Any, code: Path, changed: dict[str, Any]
) -> None:
    file = write_tree(code / "list.yaml", [released_tree(), released_tree(**changed)])
    assert epa("import-config", file, "-o", code / "all").code == 0
    runs = [load_run_file(str(code / "all" / f"run-{n}.yaml")) for n in (1, 2)]
    assert runs[0].where == "id IN ('boat')"
    dumped = [r.model_dump(exclude={"where", "output"}) for r in runs]
    assert dumped[0] != dumped[1]


def test_the_commonest_strength_is_the_runs_and_equal_works_are_one(epa: Any, code: Path) -> None:
    trees = [released_tree(strength=s, prompt=f"p{s}") for s in (3, 5)]
    more = [released_tree(strength=5, prompt="again"), released_tree(strength=5, prompt="again")]
    file = write_tree(code / "list.yaml", [*trees, *more])
    answer = epa("import-config", file, "-o", code / "all")
    assert "said twice, taken once: 1" in answer.out
    assert load_run_file("all/run.yaml").model.options == {"motion_strength": 5}
    assert [row["motion_strength"] for row in converted(code / "all")] == ["3", None, None]


def test_nothing_is_overwritten_and_unwritable_folders_are_named(epa: Any, code: Path) -> None:
    for name in ("catalog.parquet", "run.yaml"):
        out = code / f"with-{name}"
        out.mkdir()
        (out / name).write_text("precious")
        answer = epa("import-config", "config.yaml", "-o", out)
        assert (answer.code, f"{name} exists already" in answer.err) == (2, True)
        assert [p.read_text() for p in out.iterdir()] == ["precious"]
    (code / "a-file").write_text("")
    answer = epa("import-config", "config.yaml", "-o", code / "a-file" / "all")
    assert (answer.code, "cannot be written" in answer.err) == (2, True)
    (code / "empty").mkdir()
    answer = epa("import-config", code / "empty", "-o", "all")
    assert (answer.code, "no file in this folder" in answer.err) == (2, True)


def test_one_wrong_file_among_many_stops_and_errors_are_counted(epa: Any, code: Path) -> None:
    source = code / "configs"
    source.mkdir()
    write_tree(source / "a.yaml", released_tree())
    write_tree(source / "b.yaml", released_tree(width=0))
    (source / "c.yaml").write_text("nothing")
    answer = epa("import-config", source, "-o", "all")
    assert answer.code == 2
    assert "b.yaml" in answer.err
    assert "(and 1 more error" in answer.err
    assert not (code / "all").exists()


def test_weights_of_another_place(epa: Any, code: Path) -> None:
    tree = {**released_tree(), "pretrained_model_path": "nowhere"}
    file = write_tree(code / "c.yaml", tree)
    assert epa("import-config", file, "-o", "all").code == 2
    assert epa("import-config", file, "-o", "all", "--weights", "latent").code == 0
    assert yaml.safe_load((code / "all/run.yaml").read_text())["model"]["source"] == str(
        code / "latent"
    )


def test_a_converted_run_makes_videos_with_the_works_own_motion(epa: Any, code: Path) -> None:
    write_released_checkpoint(code / "latent" / "animate_anything_512_v1.02")
    small = {"width": 40, "height": 32, "num_frames": 4, "num_inference_steps": 4}
    one, two = released_tree(**small), released_tree(**small, prompt="waves roll", strength=3)
    file = write_tree(code / "list.yaml", [one, two])
    assert epa("import-config", file, "-o", "all").code == 0
    run_file = code / "all/run.yaml"
    tree = yaml.safe_load(run_file.read_text())
    tree["model"]["dtype"] = "float32"
    run = load_run_file(str(write_tree(run_file, tree)))
    summary, _ = run_locally(run)
    assert summary.counts["done"] == 2
    videos = sorted((code / "all/animated/videos").rglob("video.*"))
    assert [v.name for v in videos] == ["video.gif", "video.mp4"] * 2
    [part] = (code / "all/animated/manifest/parts").glob("*.parquet")
    material = {r["item_id"]: json.loads(r["material"]) for r in pq.read_table(part).to_pylist()}
    assert {name: facts.get("motion_strength") for name, facts in material.items()} == {
        "boat": None,
        "boat-2": "3",
    }
    assert len({video.read_bytes() for video in videos}) == 4
