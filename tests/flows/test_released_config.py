"""Files of the paper's released code: what is read from them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from paintings import painting
from released_config import released_tree, write_code, write_tree

from catalogs.errors import ConfigError
from flows.released import ReleasedConfig, parse_released, read_released, released_entries
from flows.released import result_name as name_of


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(folder := write_code(tmp_path))
    return folder


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
