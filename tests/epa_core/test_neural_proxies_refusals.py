"""What the neural proxy makers refuse: settings, weights and paintings, each in one sentence."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tiny_pipelines import picture
from tiny_proxies import write_instruct_pix2pix, write_refiner

from epa_core.cards import PROXIES, load_proxy, proxy_identity
from epa_core.errors import ItemError, UnsupportedError
from epa_core.proxies.settings import RANGES, TEXTS
from epa_core.proxy_cards import proxy_settings

REFINER, EDITOR = "sdxl-refiner", "instruct-pix2pix"


@pytest.mark.parametrize(
    ("proxy", "settings", "said"),
    [
        (REFINER, {"strenght": 0.5}, "no setting 'strenght'; did you mean 'strength'"),
        (REFINER, {"image_guidance_scale": 1.5}, "no setting 'image_guidance_scale'"),
        (EDITOR, {"strength": 0.5}, "'instruct-pix2pix' has no setting 'strength'; it takes num_"),
        ("preview", {"strength": 0.5}, "'preview' has no setting 'strength'; it takes none"),
        (REFINER, {"strength": 0}, "strength = 0 of .* a number above 0 and at most 1"),
        (REFINER, {"strength": 1.01}, "strength = 1.01 of the proxy 'sdxl-refiner' must be"),
        (REFINER, {"strength": True}, "strength = True"),
        (REFINER, {"strength": "0.5"}, "strength = '0.5'"),
        (REFINER, {"strength": None}, "strength = None"),
        (REFINER, {"num_inference_steps": 0}, "a whole number of at least 1 and at most 1000"),
        (REFINER, {"num_inference_steps": 1001}, "num_inference_steps = 1001"),
        (EDITOR, {"num_inference_steps": 10.5}, "num_inference_steps = 10.5 .* a whole number"),
        (REFINER, {"guidance_scale": -1}, "guidance_scale = -1 .* a number of at least 0"),
        (REFINER, {"guidance_scale": float("nan")}, "guidance_scale = nan"),
        (REFINER, {"guidance_scale": float("inf")}, "guidance_scale = inf"),
        (REFINER, {"aesthetic_score": 11}, "aesthetic_score = 11 .* at most 10"),
        (REFINER, {"negative_aesthetic_score": -1}, "negative_aesthetic_score = -1"),
        (REFINER, {"negative_prompt": 5}, "negative_prompt = 5 .* must be a text"),
        (EDITOR, {"image_guidance_scale": 0.5}, "image_guidance_scale = 0.5 .* of at least 1"),
        (EDITOR, {"guidance_scale": 1}, "guidance_scale = 1 .* switch off image_guidance_scale"),
    ],
)
def test_bad_settings_are_refused(proxy: str, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UnsupportedError, match=said):
        proxy_settings(proxy, settings)
    with pytest.raises(UnsupportedError, match=said):  # before anything is looked for
        load_proxy(proxy, source="./nowhere", settings=settings)


def test_too_few_steps_for_the_strength_are_refused() -> None:
    for steps, strength in ((1, 0.5), (3, 0.3), (10, 0.09)):
        with pytest.raises(
            UnsupportedError,
            match=f"num_inference_steps = {steps} and strength = {strength} .* at least 1",
        ):
            proxy_settings(REFINER, {"num_inference_steps": steps, "strength": strength})
    assert proxy_settings(REFINER, {"num_inference_steps": 2})["num_inference_steps"] == 2
    assert proxy_settings(REFINER, {"num_inference_steps": 1, "strength": 1})["strength"] == 1.0


def test_good_settings_overlay_the_defaults_in_the_types_of_the_call() -> None:
    settings = proxy_settings(REFINER, {"num_inference_steps": 20.0, "guidance_scale": 0})
    assert settings == {
        **PROXIES[REFINER].defaults,
        "num_inference_steps": 20,
        "guidance_scale": 0.0,
    }
    assert type(settings["num_inference_steps"]) is int
    assert type(settings["guidance_scale"]) is float
    assert proxy_settings("none") == {}


@pytest.mark.parametrize("name", PROXIES)
def test_every_default_is_one_that_is_allowed(name: str) -> None:
    card = PROXIES[name]
    assert proxy_settings(name) == dict(card.defaults)
    assert set(card.defaults) <= {*RANGES, *TEXTS}
    assert bool(card.defaults) == bool(card.weights) == bool(card.pipeline_class)
    assert card.licence
    assert "estimate" in card.memory or not card.weights


def test_settings_are_checked_without_torch() -> None:
    code = (
        "import sys, epa_core.proxy_cards as p; p.proxy_settings('sdxl-refiner', {}); "
        "sys.exit(any(m in sys.modules for m in ('torch', 'diffusers', 'transformers', 'PIL')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", [REFINER, EDITOR])
@pytest.mark.parametrize("read", [load_proxy, proxy_identity])
def test_hub_weights_need_a_revision(name: str, read: Any) -> None:
    with pytest.raises(UnsupportedError, match=rf"proxy '{name}' .* needs a revision: .* proxy\.r"):
        read(name)
    with pytest.raises(UnsupportedError, match="neither a folder that exists nor a hub id"):
        read(name, source="./nowhere")


@pytest.mark.parametrize("read", [load_proxy, proxy_identity])
def test_folders_of_other_models_are_refused(tmp_path: Path, read: Any) -> None:
    editor = write_instruct_pix2pix(tmp_path / "editor")
    with pytest.raises(
        UnsupportedError,
        match=r"holds a StableDiffusionInstructPix2PixPipeline \(that of instruct-pix2pix\), but "
        "the proxy 'sdxl-refiner' needs StableDiffusionXLPipeline or Stable",
    ):
        read(REFINER, source=str(editor))
    with pytest.raises(UnsupportedError, match=r"model_index\.json is missing"):
        read(REFINER, source=str(tmp_path))


@pytest.mark.parametrize(
    "index",
    [
        {"requires_aesthetics_score": False},
        {"requires_aesthetics_score": None},
        {"text_encoder": ["transformers", "CLIPTextModel"]},
        {"_class_name": "StableDiffusionXLPipeline", "requires_aesthetics_score": False},
    ],
)
def test_sdxl_base_is_no_refiner(tmp_path: Path, index: dict[str, Any]) -> None:
    folder = write_refiner(tmp_path / "base")
    file = folder / "model_index.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **index}))
    with pytest.raises(
        UnsupportedError, match=r"are no SDXL refiner .*; SDXL base looks like that"
    ):
        load_proxy(REFINER, source=str(folder))


def test_a_folder_without_its_weights_is_refused(tmp_path: Path) -> None:
    folder = write_refiner(tmp_path / "refiner")
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(UnsupportedError, match="proxy 'sdxl-refiner' could not be loaded from"):
        load_proxy(REFINER, source=str(folder))


def test_built_in_makers_take_no_source_and_no_dtype_is_made_up() -> None:
    with pytest.raises(UnsupportedError, match="proxy 'preview' is built in and takes no source"):
        load_proxy("preview", source="somewhere")
    with pytest.raises(UnsupportedError, match="dtype 'int8' is not one of"):
        load_proxy(REFINER, dtype="int8")


@pytest.mark.parametrize("name", [REFINER, EDITOR])
def test_paintings_that_do_not_fit_one_call_are_refused(tmp_path: Path, name: str) -> None:
    write = write_refiner if name == REFINER else write_instruct_pix2pix
    maker = load_proxy(name, source=str(write(tmp_path / name)), dtype="float32")
    wide, tall = picture(1, 64).resize((64, 48)), picture(2, 64).resize((48, 64))
    with pytest.raises(ValueError, match="must be of one size, got 48x64, 64x48"):
        maker.make([wide, tall], ["the sea", "the sea"], [1, 2])
    with pytest.raises(ValueError, match="got 2 paintings, 1 prompts, 2 seeds"):
        maker.make([wide, wide], ["the sea"], [1, 2])
    with pytest.raises(ItemError, match="7 x 48 pixels; each side needs 8") as failure:
        maker.make([wide.resize((7, 48))], ["the sea"], [1])
    assert failure.value.code == "too_small"
