"""`epa awaken`: the released config.yaml, its overrides, GIF, masks, and what is refused."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from paintings import painting
from PIL import Image, ImageSequence
from released_config import RELEASED, released_tree, write_tree
from tiny_animate_anything import write_released_checkpoint

from epa_core.awakening import EPASettings, awaken
from epa_core.cards import load_model
from epa_core.media.images import fit

torch.set_num_threads(1)

TINY = {"width": 32, "height": 24, "num_frames": 4, "num_inference_steps": 4}
EXACT = ("--dtype", "float32")  # as computed on a CPU
Plain = Callable[[Any, Path], NDArray[np.uint8]]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny checkpoint in the released layout; not to be changed."""
    return write_released_checkpoint(tmp_path_factory.mktemp("weights") / "v1.02")


@pytest.fixture
def code(tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The released code's folder, weights and example pictures; it is the working directory."""
    folder = tmp_path / "code"
    (folder / "latent").mkdir(parents=True)
    (folder / "latent" / "animate_anything_512_v1.02").symlink_to(weights)
    (tmp_path / "example").mkdir()
    painting(0, 48, 36).save(tmp_path / "example" / "boat.jpg", quality=95)
    painting(1, 80, 60).save(tmp_path / "example" / "proxy.jpg", quality=95)
    write_tree(folder / "config.yaml", released_tree(**TINY))
    monkeypatch.chdir(folder)
    return folder


def frames_of(file: Path) -> NDArray[np.uint8]:
    with av.open(str(file)) as container:
        frames = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
    return np.stack(frames)


def count(gif: Image.Image) -> int:
    return sum(1 for _ in ImageSequence.Iterator(gif))


def clip(epa: Any, code: Path, *options: object) -> NDArray[np.uint8]:
    """The frames of config.yaml, exact, with some options."""
    answer = epa("awaken", "--config", "config.yaml", "-o", code / "x.mkv", *EXACT, *options)
    assert answer.code == 0, answer.err
    return frames_of(code / "x.mkv")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Plain:
    """The frames of config.yaml without options; made once, for every test starts from the same."""
    file = tmp_path_factory.mktemp("plain") / "frames.npy"

    def frames(epa: Any, code: Path) -> NDArray[np.uint8]:
        if not file.exists():
            np.save(file, clip(epa, code))
        return np.load(file)

    return frames


def test_the_released_file_makes_a_gif_and_an_mp4_in_its_folder(epa: Any, code: Path) -> None:
    # The file as it is; only its size, which would take minutes here, comes from the options.
    (code / "config.yaml").write_text(RELEASED.replace("512\n", "32\n"))
    answer = epa("awaken", "--config", "config.yaml", "--frames", 4, "--steps", 4, *EXACT)
    assert answer.code == 0, answer.err
    name = "boat_The-boats-slowly-sail-towards-the-distance"
    made = sorted(path.name for path in (code / "output/latent").iterdir())
    assert made == [f"{name}.gif", f"{name}.mp4"]
    gif = Image.open(code / "output/latent" / f"{name}.gif")
    with av.open(str(code / "output/latent" / f"{name}.mp4")) as video:
        stream = video.streams.video[0]
        assert (stream.width, stream.height) == gif.size == (40, 24)
        assert (stream.frames, stream.average_rate) == (count(gif), 8) == (4, 8)
    [ignored] = answer.err.splitlines()
    assert ignored.startswith("epa: ignored in config.yaml: dataset_types, ")
    assert "learning_rate" in ignored
    settings = answer.out.splitlines()[0]
    for part in (
        "boat.jpg: animate-anything, float32 on ", "40x24 px", "4 frames", "8 fps", "4 steps",
        "seed 42", "guidance 9", "motion strength 8", "animate_anything_512_v1.02", "proxy.jpg",
        "; The boats slowly sail towards the distance.",
    ):  # fmt: skip
        assert part in settings, settings
    assert sum(line.startswith("wrote ") for line in answer.out.splitlines()) == 2


def test_the_command_computes_what_the_library_does(epa: Any, code: Path, weights: Path) -> None:
    made = clip(epa, code, "--half-slerp", "--one-stream", "--motion", 3, "--seed", 5)
    real = Image.open(code.parent / "example/boat.jpg")
    # As the released code: the proxy to the painting's own size, then both to the canvas.
    given = Image.open(code.parent / "example/proxy.jpg")
    proxy = given.resize(real.size, Image.Resampling.BICUBIC)
    pipeline = load_model("animate-anything", source=str(weights))
    [expected] = awaken(
        pipeline,
        [fit(real, (32, 24))],
        [fit(proxy, (32, 24))],
        prompt="The boats slowly sail towards the distance.",
        seed=5,
        settings=EPASettings(num_inference_steps=4, half_slerp=True, one_stream=True),
        num_frames=4,
        width=32,
        height=24,
        guidance_scale=9.0,
        extras=[{"motion_strength": 3.0}],
    )
    assert np.array_equal(made, expected)


@pytest.mark.parametrize(
    "options",
    [
        ("--prompt", "waves roll"),
        ("--seed", 7),
        ("--frames", 5),
        ("--steps", 3),
        ("--motion", 0),
        ("--one-stream",),
        ("--proxy", "../example/boat.jpg"),
        ("../example/proxy.jpg",),
        ("--mask", "black.png"),
        ("--weights", "other"),
    ],
)
def test_every_option_beside_the_file_counts(
    epa: Any, code: Path, plain: Plain, options: tuple[object, ...]
) -> None:
    Image.new("L", (48, 36)).save("black.png")
    if "other" in options:
        write_released_checkpoint(code / "other", seed=1)
    usual, changed = plain(epa, code), clip(epa, code, *options)
    assert changed.shape != usual.shape or not np.array_equal(changed, usual)


def test_what_is_made_twice_is_the_same(epa: Any, code: Path, plain: Plain) -> None:
    assert np.array_equal(plain(epa, code), clip(epa, code))


@pytest.mark.parametrize(
    "evaluation", [{"strength": 2}, {"guidance_scale": 2.5}, {"mask": "half.png"}, {"width": 64}]
)
def test_every_key_of_the_file_counts(
    epa: Any, code: Path, plain: Plain, evaluation: dict[str, Any]
) -> None:
    half = Image.new("L", (96, 72))
    half.paste(255, (48, 0, 96, 72))
    half.save("half.png")
    usual = plain(epa, code)
    write_tree(code / "config.yaml", released_tree(**{**TINY, **evaluation}))
    changed = clip(epa, code)
    assert changed.shape != usual.shape or not np.array_equal(changed, usual)


def test_half_precision_slerp_is_asked_for(epa: Any, code: Path) -> None:
    write_tree(code / "config.yaml", released_tree(**{**TINY, "num_frames": 8, "strength": 40}))
    answer = epa("awaken", "--config", "config.yaml", "-o", "a.mkv", *EXACT, "--half-slerp")
    assert "half-precision slerp" in answer.out
    assert "half-precision slerp" not in epa(
        "awaken", "--config", "config.yaml", "-o", "b.mkv", *EXACT
    ).out  # fmt: skip


def test_output_names_a_folder_or_a_file(epa: Any, code: Path) -> None:
    (code / "there").mkdir()
    for output, made in (("new/folder", 2), ("there", 2), ("there/one.gif", 1)):
        answer = epa("awaken", "--config", "config.yaml", "-o", output, *EXACT)
        assert answer.code == 0, answer.err
        assert answer.out.count("wrote ") == made
        assert (code / output).exists()
    assert not (code / "output").exists()


def test_names_of_results_survive_odd_prompts_and_endings(epa: Any, code: Path) -> None:
    painting(3, 48, 36).save(code / "boat.one.jpeg")
    prompt = "a gif / of ../gifs, " + "very " * 100
    tree = released_tree(**TINY, prompt=prompt, prompt_image="boat.one.jpeg", proxy_image=None)
    config = ("--config", write_tree(code / "c.yaml", tree))
    answer = epa("awaken", *config, *EXACT, "--proxy-maker", "preview")
    assert answer.code == 0, answer.err
    made = sorted(path.name for path in (code / "output/latent").iterdir())
    assert [Path(name).suffix for name in made] == [".gif", ".mp4"]
    assert all(name.startswith("boat.one_a-gif-of-gifs-very") for name in made)


def test_the_end_of_a_long_prompt_that_is_not_read_is_shown(epa: Any, code: Path) -> None:
    write_tree(code / "config.yaml", released_tree(**TINY, prompt="clouds drift " * 60 + "boat"))
    answer = epa("awaken", "--config", "config.yaml", "-o", "x.gif", *EXACT)
    assert answer.code == 0, answer.err
    assert "does not read the end of the prompt" in answer.out


def test_another_model_takes_from_the_file_what_it_can(epa: Any, code: Path) -> None:
    Image.new("L", (48, 36)).save("black.png")
    write_tree(code / "config.yaml", released_tree(**TINY, mask="black.png"))
    answer = epa("awaken", "--config", "config.yaml", "--model", "preview")
    assert answer.code == 0, answer.err
    for foreign in ("motion strength", "mask", "guidance", "weights"):
        assert foreign not in answer.out
    answer = epa("awaken", "--config", "config.yaml", "--model", "preview", "--weights", "latent")
    assert (answer.code, "takes no source" in answer.err) == (2, True)


# -- without a file


def test_a_gif_without_a_file(epa: Any, tmp_path: Path) -> None:
    painting(3, 96, 64).save(tmp_path / "p.png")
    out = tmp_path / "p.gif"
    tiny = ("--prompt", "clouds drift", "--frames", 4, "--steps", 4)
    answer = epa("awaken", tmp_path / "p.png", "-o", out, *tiny)
    assert answer.code == 0, answer.err
    gif = Image.open(io.BytesIO(out.read_bytes()))
    assert (gif.format, count(gif), gif.info["loop"]) == ("GIF", 4, 0)
    assert "preview" in answer.out.splitlines()[0]
    assert [p.name for p in tmp_path.iterdir() if p.suffix != ".png"] == ["p.gif"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["-o", "x.mp4", "--prompt", "a"], "IMAGE is missing"),
        (["{p}/p.png", "--prompt", "a"], "--output is missing"),
        (["{p}/p.png", "-o", "x.mp4"], "--prompt is missing"),
        (["{p}/p.png", "-o", "x.mp4", "--prompt", "a", "--mask", "{p}/p.png"], "--mask: the model"),
        (["{p}/p.png", "-o", "x.mp4", "--prompt", "a", "--motion", "3"], "--motion: the model"),
        (["{p}/p.png", "-o", "x.mp4", "--prompt", "a", "--motion", "101"], "--motion"),
        (["{p}/p.png", "-o", "x.mp4", "--prompt", "a", "--dtype", "float8"], "--dtype"),
    ],
)
def test_what_is_missing_or_does_not_fit_is_said(
    epa: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    painting(3, 96, 64).save(tmp_path / "p.png")
    answer = epa("awaken", *[a.format(p=tmp_path) for a in arguments])
    assert answer.code == 2
    assert sentence in answer.err
    assert [p.name for p in tmp_path.iterdir()] == ["p.png"]


# -- with a file, refused


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("-o", "x.avi"), "must end in"),
        (("-o", "no/such/x.gif"), "there is no folder no/such"),
        (("-o", "a-file/folder"), "is no writable folder"),
        (("--weights", "a-file"), "a-file"),
        (("--weights", "no-such-folder"), "no-such-folder"),
        (("--prompt", " "), "prompt is empty"),
        (("--proxy", "no.png"), "no.png"),
        (("--mask", "no.png"), "no.png"),
        (("no.png",), "no.png"),
        (("--model", "animate-anythin"), "did you mean 'animate-anything'?"),
        (("--frames", "1"), "num_frames"),
    ],
)
def test_a_wrong_option_beside_the_file_makes_nothing(
    epa: Any, code: Path, options: tuple[str, ...], sentence: str
) -> None:
    (code / "a-file").write_text("")
    before = sorted(code.rglob("*"))
    answer = epa("awaken", "--config", "config.yaml", *EXACT, *options)
    assert answer.code == 2, answer.err
    assert sentence in answer.err.splitlines()[-1]
    assert "Traceback" not in answer.err
    assert sorted(code.rglob("*")) == before


@pytest.mark.parametrize(
    ("size", "option", "failure"),
    [((36, 48), "--mask", "[mask_size]"), ((36, 48), "--proxy", "[proxy_size]")],
)
def test_pictures_of_another_shape_fail_the_painting(
    epa: Any, code: Path, size: tuple[int, int], option: str, failure: str
) -> None:
    painting(9, *size).save("other.png")
    answer = epa("awaken", "--config", "config.yaml", *EXACT, option, "other.png")
    assert answer.code == 1
    assert failure in answer.err
    assert not (code / "output").exists()


def test_a_checkpoint_that_lacks_a_part_is_named(epa: Any, code: Path) -> None:
    tree = {**released_tree(**TINY), "pretrained_model_path": "../example"}
    answer = epa("awaken", "--config", write_tree(code / "c.yaml", tree), *EXACT)
    assert answer.code == 2
    assert "model_index.json" in answer.err
    assert not (code / "output").exists()


@pytest.mark.parametrize("option", [("--mask", "mask.png"), ("--motion", 3)])
def test_what_the_weights_were_not_trained_with_fails_the_painting(
    epa: Any, code: Path, option: tuple[object, ...]
) -> None:
    write_released_checkpoint(code / "bare", motion_mask=False, motion_strength=False)
    Image.new("L", (48, 36), 255).save("mask.png")
    answer = epa("awaken", "--config", "config.yaml", *EXACT, "--weights", "bare", *option)
    assert answer.code == 1
    assert "[unsupported_condition]" in answer.err
    assert "these weights were trained without" in answer.err
    assert "Traceback" not in answer.err
    assert not (code / "output").exists()
