"""`epa awaken` with a model that has weights: who draws the proxy, and overflow."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from paintings import painting
from PIL import Image
from released_config import released_tree, write_tree
from safetensors.torch import load_file, save_file
from tiny_animate_anything import write_released_checkpoint
from tiny_proxies import write_refiner

from epa_core.awakening import EPASettings, awaken
from epa_core.cards import PROXIES, load_model, load_proxy
from epa_core.media.images import fit
from tasks import models

torch.set_num_threads(1)

PROMPT = "The boats slowly sail towards the distance."
TINY = {"width": 32, "height": 24, "num_frames": 4, "num_inference_steps": 4}
EXACT = ("--dtype", "float32")
CONFIG = ("awaken", "--config", "config.yaml")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny checkpoints in the released layouts; not to be changed."""
    folder = tmp_path_factory.mktemp("weights")
    write_released_checkpoint(folder / "model")
    write_refiner(folder / "refiner")
    return folder


@pytest.fixture
def code(tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a painting and a config.yaml that names no proxy_image."""
    painting(0, 96, 72).save(tmp_path / "boat.png")
    painting(1, 96, 72).save(tmp_path / "proxy.png")
    config(tmp_path, weights)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def small_refiner(monkeypatch: pytest.MonkeyPatch) -> None:
    """The refiner's card for a small canvas and few steps."""
    card = PROXIES["sdxl-refiner"]
    few = {**card.defaults, "num_inference_steps": 4}
    monkeypatch.setitem(PROXIES, card.name, replace(card, area=64 * 48, defaults=few))


def config(folder: Path, weights: Path, **evaluation: Any) -> None:
    given = {**TINY, "prompt_image": "boat.png", "proxy_image": None, "prompt": PROMPT}
    tree = released_tree(**{**given, **evaluation})
    tree["pretrained_model_path"] = str(weights / "model")
    write_tree(folder / "config.yaml", tree)


def frames_of(file: str) -> np.ndarray[Any, Any]:
    import av

    with av.open(file) as container:
        return np.stack([f.to_ndarray(format="rgb24") for f in container.decode(video=0)])


# -- who draws the proxy


def test_without_a_proxy_nothing_is_made(epa: Any, code: Path, weights: Path) -> None:
    before = sorted(code.rglob("*"))
    plain = ("awaken", "boat.png", "--prompt", PROMPT, "-o", "x.gif")
    model = ("--model", "animate-anything", "--weights", weights / "model")
    for command in ((*CONFIG, *EXACT), (*plain, *model, *EXACT)):
        answer = epa(*command)
        assert answer.code == 2, answer.err
        sentence = answer.err.splitlines()[-1]
        for way in ("--proxy ", "validation_data.proxy_image", "--proxy-maker"):
            assert way in sentence
    assert sorted(code.rglob("*")) == before


def test_the_preview_draws_for_a_model_with_weights_when_asked(epa: Any, code: Path) -> None:
    answer = epa(*CONFIG, *EXACT, "--proxy-maker", "preview", "-o", "x.gif")
    assert answer.code == 0, answer.err
    assert "proxy drawn by preview" in answer.out


def test_the_preview_model_needs_no_word_of_it(epa: Any, code: Path) -> None:
    answer = epa(*CONFIG, "--model", "preview", "-o", "x.gif")
    assert answer.code == 0, answer.err
    assert "proxy drawn by preview" in answer.out


@pytest.mark.parametrize("proxy_image", [None, "proxy.png"])
@pytest.mark.usefixtures("small_refiner")
def test_a_named_maker_draws_on_its_own_canvas(
    epa: Any, code: Path, weights: Path, proxy_image: str | None
) -> None:
    config(code, weights, proxy_image=proxy_image)  # options override the file
    refiner = ("--proxy-maker", "sdxl-refiner", "--proxy-weights", weights / "refiner")
    answer = epa(*CONFIG, *EXACT, *refiner, "-o", "x.mkv")
    assert answer.code == 0, answer.err
    assert f"proxy drawn by sdxl-refiner ({weights / 'refiner'})" in answer.out
    real = Image.open("boat.png")
    maker = load_proxy("sdxl-refiner", source=str(weights / "refiner"), dtype="float32")
    [proxy] = maker.make([fit(real, (64, 48))], [PROMPT], [42])
    [expected] = awaken(
        load_model("animate-anything", source=str(weights / "model")),
        [fit(real, (32, 24))],
        [fit(proxy, (32, 24))],
        prompt=PROMPT,
        seed=42,
        settings=EPASettings(num_inference_steps=4),
        num_frames=4,
        width=32,
        height=24,
        guidance_scale=9.0,
        extras=[{"motion_strength": 8.0}],
    )
    assert np.array_equal(frames_of("x.mkv"), expected)


@pytest.mark.usefixtures("small_refiner")
def test_the_end_of_a_prompt_that_the_maker_does_not_read_is_shown(
    epa: Any, code: Path, weights: Path
) -> None:
    config(code, weights, prompt="clouds drift " * 60)
    refiner = ("--proxy-maker", "sdxl-refiner", "--proxy-weights", weights / "refiner")
    answer = epa(*CONFIG, *EXACT, *refiner, "-o", "x.gif")
    assert answer.code == 0, answer.err
    assert "the proxy maker does not read the end of the prompt" in answer.out


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--proxy-maker", "preview", "--proxy", "proxy.png"], "--proxy and --proxy-maker"),
        (["--proxy", "proxy.png", "--proxy-weights", "x"], "--proxy-maker"),
        (["--proxy-revision", "main"], "--proxy-maker"),
        (["--proxy-maker", "sdxl-refine"], "did you mean 'sdxl-refiner'"),
        (["--proxy-maker", "given"], "--proxy"),
        (["--proxy-maker", "preview", "--proxy-weights", "x"], "takes no source"),
        (["--proxy-maker", "sdxl-refiner"], "--proxy-revision"),
        (["--proxy-maker", "sdxl-refiner", "--proxy-weights", "./nowhere"], "./nowhere"),
    ],
)
def test_a_maker_that_cannot_draw_is_refused(
    epa: Any, code: Path, options: list[str], sentence: str
) -> None:
    before = sorted(code.rglob("*"))
    answer = epa(*CONFIG, *EXACT, *options, "-o", "x.gif")
    assert answer.code == 2, answer.err
    assert sentence in answer.err.splitlines()[-1]
    assert sorted(code.rglob("*")) == before


# -- half precision


@pytest.fixture
def overflowing(code: Path) -> Path:
    """A checkpoint whose first layer gives more than float16 holds."""
    folder = write_released_checkpoint(code / "overflowing")
    file = folder / "unet/diffusion_pytorch_model.safetensors"
    layers = load_file(file)
    layers["conv_in2.weight"] = layers["conv_in2.weight"].float().sign().mul(6e4).half()
    save_file(layers, file, metadata={"format": "pt"})
    return folder


def test_overflow_in_half_precision_is_done_again_in_float32(
    epa: Any, code: Path, overflowing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = (*CONFIG, "--weights", overflowing, "--proxy", "proxy.png")
    answer = epa(*given, *EXACT, "-o", "exact.mkv")
    assert answer.code == 0, answer.err
    assert "once more" not in answer.out
    released: list[bool] = []
    release = models.release
    monkeypatch.setattr(models, "release", lambda: (released.append(True), release()))
    answer = epa(*given, "-o", "half.mkv")
    assert answer.code == 0, answer.err
    said = [line for line in answer.out.splitlines() if "once more in float32" in line]
    assert len(said) == len(released) == 1
    assert "float16" in said[0]
    assert np.array_equal(frames_of("half.mkv"), frames_of("exact.mkv"))


def test_overflow_in_float32_fails_at_once(epa: Any, code: Path, weights: Path) -> None:
    folder = write_released_checkpoint(code / "broken")
    file = folder / "unet/diffusion_pytorch_model.safetensors"
    layers = load_file(file)
    layers["conv_in2.weight"] = torch.full_like(layers["conv_in2.weight"], torch.nan)
    save_file(layers, file, metadata={"format": "pt"})
    given = (*CONFIG, "--weights", folder, "--proxy", "proxy.png", "-o", "x.gif")
    for options, goes in ((EXACT, 1), ((), 2)):
        answer = epa(*given, *options)
        assert answer.code == 1
        assert "[numeric]" in answer.err
        assert answer.out.count("once more in float32") == goes - 1
    assert not (code / "x.gif").exists()
