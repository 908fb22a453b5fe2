"""Files of the paper's released code: what is read from them, and what a folder of them becomes."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from local_runner import run_locally
from paintings import painting
from released_config import RELEASED, caller, released_tree, write_tree
from tiny_animate_anything import write_released_checkpoint

from catalogs.catalog import read_catalog, select
from catalogs.errors import ConfigError
from flows.released import ReleasedConfig, parse_released, read_released, released_entries
from flows.released import result_name as name_of
from tasks.runfile import load_run_file


@pytest.fixture
def epa(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    return caller(monkeypatch, capsys)


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The released code's folder and its example pictures; it is the working directory."""
    folder = tmp_path / "code"
    (folder / "latent" / "animate_anything_512_v1.02").mkdir(parents=True)
    (tmp_path / "example").mkdir()
    for number, name in enumerate(("boat", "proxy")):
        painting(number).save(tmp_path / "example" / f"{name}.jpg")
    (folder / "config.yaml").write_text(RELEASED)
    monkeypatch.chdir(folder)
    return folder


# -- reading


def test_the_released_file_is_read_unchanged(code: Path, tmp_path: Path) -> None:
    config = read_released(Path("config.yaml"), {})
    ignored = config.ignored
    assert config == ReleasedConfig(
        model=str(code / "latent/animate_anything_512_v1.02"),
        output=Path("output/latent"),
        painting=tmp_path / "example/boat.jpg",
        proxy=tmp_path / "example/proxy.jpg",
        mask=None,
        prompt="The boats slowly sail towards the distance.",
        seed=42,
        num_frames=16,
        area=512 * 512,
        num_inference_steps=25,
        guidance_scale=9.0,
        strength=8.0,
        fps=8,
        ignored=ignored,
    )
    assert len(ignored) > 50
    assert {"dataset_types", "kwargs", "motion_mask", "validation_data.sample_preview"} <= set(
        ignored
    )
    assert not {"seed", "output_dir", "validation_data", "validation_data.prompt"} & set(ignored)


def test_paths_are_from_the_working_directory_then_from_the_file(
    code: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere" / "deep"
    elsewhere.mkdir(parents=True)
    monkeypatch.chdir(elsewhere)
    assert read_released(code / "config.yaml", {}).painting == tmp_path / "example/boat.jpg"
    mine = tmp_path / "elsewhere" / "example" / "boat.jpg"
    mine.parent.mkdir()
    painting(5).save(mine)
    assert read_released(code / "config.yaml", {}).painting == mine
    mine.unlink()
    (tmp_path / "example/boat.jpg").unlink()
    with pytest.raises(ConfigError) as caught:
        read_released(code / "config.yaml", {})
    for place in (mine, tmp_path / "example/boat.jpg"):
        assert str(place) in str(caught.value)


def test_given_values_win_and_their_keys_need_not_be_there(code: Path, tmp_path: Path) -> None:
    tree = released_tree(prompt=None, prompt_image="gone.jpg", num_frames=8)
    del tree["pretrained_model_path"]
    file = write_tree(code / "c.yaml", tree)
    given = {
        "pretrained_model_path": "some/hub-id",
        "seed": 7,
        "validation_data.prompt": "clouds drift",
        "validation_data.prompt_image": str(tmp_path / "example/proxy.jpg"),
        "validation_data.strength": 3.5,
    }
    config = read_released(file, given)
    assert (config.model, config.seed, config.prompt) == ("some/hub-id", 7, "clouds drift")
    assert (config.painting.name, config.strength, config.num_frames) == ("proxy.jpg", 3.5, 8)


def test_what_a_file_leaves_out_is_as_released(code: Path) -> None:
    tree = {
        "pretrained_model_path": "latent/animate_anything_512_v1.02",
        "validation_data": {"prompt": "waves", "prompt_image": "../example/boat.jpg"},
    }
    short = read_released(write_tree(code / "short.yaml", tree), {})
    whole = read_released(code / "config.yaml", {})
    for name in ("seed", "num_frames", "area", "num_inference_steps", "guidance_scale", "strength"):
        assert getattr(short, name) == getattr(whole, name)
    assert (short.proxy, short.fps) == (None, 8)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"promt": "x"}, "'validation_data.promt'; did you mean 'prompt'?"),
    ({"guidence_scale": 7}, "did you mean 'guidance_scale'?"),
    ({"num_frame": 7}, "did you mean 'num_frames'?"),
    ({"heigth": 7}, "did you mean 'height'?"),
    ({"proxy_images": "x"}, "did you mean 'proxy_image'?"),
    ({"prompt": None}, "'validation_data.prompt' is missing"),
    ({"prompt_image": None}, "'validation_data.prompt_image' is missing"),
    ({"prompt": " "}, "prompt is empty"),
    ({"prompt": True}, "validation_data.prompt = True"),
    ({"prompt": "a" * 2001}, "2001 characters; at most 2000"),
    ({"num_frames": 0}, "validation_data.num_frames = 0"),
    ({"num_frames": 100_000}, "validation_data.num_frames = 100000"),
    ({"num_frames": "16"}, "validation_data.num_frames = '16'"),
    ({"num_frames": True}, "validation_data.num_frames = True"),
    ({"width": -512}, "validation_data.width = -512"),
    ({"height": 10**6}, "validation_data.height = 1000000"),
    ({"num_inference_steps": 2.5}, "validation_data.num_inference_steps = 2.5"),
    ({"guidance_scale": float("nan")}, "validation_data.guidance_scale = nan"),
    ({"guidance_scale": -1}, "validation_data.guidance_scale = -1"),
    ({"strength": 101}, "validation_data.strength = 101"),
    ({"fps": 0}, "validation_data.fps = 0"),
    ({"proxy_image": "no.jpg"}, "validation_data.proxy_image = 'no.jpg': there is no such file"),
    ({"mask": "no.png"}, "validation_data.mask = 'no.png': there is no such file"),
    ({"prompt_image": "../example"}, "there is no such file"),
    ({"prompt_image": "a" * 5000}, "there is no such file"),
    ({"prompt_image": "~nobody-of-that-name/a.jpg"}, "there is no such file"),
    ({"prompt_image": ""}, "there is no such file"),
]


@pytest.mark.parametrize(("changed", "sentence"), WRONG)
def test_a_wrong_value_is_one_sentence_and_nothing_is_made(
    epa: Any, code: Path, changed: dict[str, Any], sentence: str
) -> None:
    file = write_tree(code / "wrong.yaml", released_tree(**changed))
    before = sorted(code.rglob("*"))
    for command in (["awaken", "--config", file], ["import-config", file, "-o", code / "out"]):
        answer = epa(*command)
        assert answer.code == 2, answer.err
        assert sentence in answer.err
        assert str(file) in answer.err
        assert answer.err.startswith("epa: ")
        assert answer.err.count("\n") == 1
    assert sorted(code.rglob("*")) == before


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("validation_data: [", "line 1 is not valid YAML"),
        ("a: 1\n b: 2\n", "line 2 is not valid YAML"),
        ("just words", "must hold keys and values"),
        ("", "must hold keys and values"),
        ("[]", "holds no painting"),
        ("- 3\n- 4\n", "entry 1 must hold keys and values"),
        ("date: 2001-99-99", "not valid YAML"),
        ("validation_data: 3", "validation_data must hold keys and values"),
        ("validation_data:", "'pretrained_model_path' is missing"),
        ("{}", "'pretrained_model_path' is missing"),
        ("pretrained_model_paths: x", "did you mean 'pretrained_model_path'?"),
        ("pretrained_model_path: no-such-folder\nvalidation_data: {prompt: a, prompt_image: "
         "../example/boat.jpg}", "there is no such folder: /"),
        ("[" * 5000, "not valid YAML"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_one_sentence(epa: Any, code: Path, text: str, sentence: str) -> None:
    file = code / "wrong.yaml"
    file.write_text(text)
    for command in (["awaken", "--config", file], ["import-config", file, "-o", code / "out"]):
        answer = epa(*command)
        assert answer.code == 2, answer.err
        assert sentence in answer.err
        assert answer.err.count("\n") == 1
    assert not (code / "out").exists()


def test_a_file_that_cannot_be_read_is_one_sentence(epa: Any, code: Path) -> None:
    (code / "binary.yaml").write_bytes(b"\xff\xfe\x00\x01")
    for name, sentence in (("none.yaml", "No such file"), ("binary.yaml", "not valid YAML")):
        answer = epa("awaken", "--config", code / name)
        assert (answer.code, sentence in answer.err) == (2, True), answer.err


def test_result_names_are_safe_and_apart() -> None:
    boat = Path("a/boat.jpeg")
    assert name_of(boat, "The boats sail.") == "boat_The-boats-sail"
    assert name_of(boat, "a gif of gifs") == "boat_a-gif-of-gifs"
    assert name_of(boat, "../../etc/passwd; rm -rf 'x' \n\0") == "boat_etc-passwd-rm-rf-x"
    assert name_of(boat, "!?…") == "boat"
    assert name_of(Path("tar.gz.jpeg"), "水が流れる") == "tar.gz_水が流れる"
    long = [name_of(Path("b" * 250 + ".png"), "水" * 600 + end) for end in ("", "x")]
    assert long[0] != long[1]
    assert max(len(os.fsencode(name + ".gif")) for name in long) <= 255
    assert name_of(Path(os.fsdecode(b"\xff.png")), "a") == os.fsdecode(b"\xff_a")


def test_lists_at_both_places(code: Path) -> None:
    evaluation = released_tree()["validation_data"]
    both = {**released_tree(), "validation_data": [evaluation, {**evaluation, "prompt": "waves"}]}
    file = write_tree(code / "list.yaml", [both, released_tree(prompt="rain")])
    entries = released_entries(file)
    assert [parse_released(e, {}).prompt for e in entries] == [
        evaluation["prompt"], "waves", "rain",
    ]  # fmt: skip
    assert [e.origin.removeprefix(str(file)) for e in entries] == [
        ", entry 1, painting 1", ", entry 1, painting 2", ", entry 2",
    ]  # fmt: skip
    with pytest.raises(ConfigError, match="holds 3 paintings; convert it"):
        read_released(file, {})


# -- conversion


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
    write_tree(source / "b.yml", released_tree(prompt="waves", strength=4.5, mask=str(mask)))
    write_tree(source / "c.yaml", released_tree(prompt_image=pictures["proxy"]))
    (source / "notes.txt").write_text("not of these")
    answer = epa("import-config", source, "-o", "all")
    assert answer.code == 0, answer.err
    assert answer.err.count("\n") == 1
    assert "learning_rate" in answer.err
    assert "3 in, 3 in the catalog" in answer.out
    rows = converted(code / "all")
    assert [row["id"] for row in rows] == ["boat", "boat-2", "proxy"]
    assert [row["motion_strength"] for row in rows] == [None, "4.5", None]
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
