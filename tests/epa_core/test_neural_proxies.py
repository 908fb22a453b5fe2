"""The neural proxy makers on tiny checkpoints: what they draw, and that it is each work's own."""

import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image
from tiny_pipelines import picture
from tiny_proxies import write_instruct_pix2pix, write_refiner

from epa_core.cards import PROXIES, load_proxy, proxy_identity
from epa_core.errors import ItemError

NAMES = ("sdxl-refiner", "instruct-pix2pix")
PROMPTS = ["the boats sail", "the sea waves", "smoke rises"]
SEEDS = [1, 2, 3]

Load = Callable[..., Any]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("proxies")
    return {
        "sdxl-refiner": write_refiner(place / "refiner"),
        "instruct-pix2pix": write_instruct_pix2pix(place / "pix2pix"),
    }


@pytest.fixture(scope="module")
def load(folders: dict[str, Path]) -> Load:
    def load(name: str, dtype: str = "float32", steps: int = 4, **settings: Any) -> Any:
        settings["num_inference_steps"] = steps
        return load_proxy(name, source=str(folders[name]), dtype=dtype, settings=settings)

    return load


def paintings(width: int = 64, height: int = 48) -> list[Image.Image]:
    return [picture(seed, 64).resize((width, height)) for seed in range(3)]


def apart(one: Any, other: Any) -> float:
    """Largest difference of two pictures, in levels of 255."""
    return float(np.abs(np.asarray(one, np.float32) - np.asarray(other, np.float32)).max())


@pytest.mark.parametrize("name", NAMES)
def test_a_work_is_drawn_alike_alone_and_in_any_company(load: Load, name: str) -> None:
    maker = load(name)
    together = maker.draw(paintings(), PROMPTS, SEEDS)
    assert together.shape == (3, 48, 64, 3)
    assert together.dtype == np.float32
    for i, painting in enumerate(paintings()):
        (alone,) = maker.draw([painting], [PROMPTS[i]], [SEEDS[i]])
        assert apart(alone, together[i]) < 1e-4
    swapped = [picture(7, 64).resize((64, 48)), paintings()[1]]
    with_another = maker.draw(swapped, ["a storm", PROMPTS[1]], [9, SEEDS[1]])
    assert apart(with_another[1], together[1]) < 1e-4
    assert apart(with_another[0], together[0]) > 0.01


@pytest.mark.parametrize("name", NAMES)
def test_painting_prompt_seed_and_settings_each_matter(load: Load, name: str) -> None:
    maker, (one, other, _) = load(name), paintings()
    plain = maker.draw([one], ["the sea"], [1])
    assert apart(plain, maker.draw([one], ["the sea"], [1])) == 0
    assert apart(plain, maker.draw([other], ["the sea"], [1])) > 0.001
    assert apart(plain, maker.draw([one], ["the boats"], [1])) > 0.001
    assert apart(plain, maker.draw([one], ["the sea"], [2])) > 0.01
    changes: list[dict[str, Any]] = [{"guidance_scale": 3.0}, {"negative_prompt": "a bowl"}]
    if name == "sdxl-refiner":
        changes += [{"strength": 0.75}, {"aesthetic_score": 1}, {"negative_aesthetic_score": 5}]
    else:
        changes += [{"image_guidance_scale": 2}, {"steps": 5}]
    for change in changes:
        assert apart(plain, load(name, **change).draw([one], ["the sea"], [1])) > 1e-4, change


def test_the_refiner_draws_what_its_own_pipeline_draws(
    load: Load, folders: dict[str, Path]
) -> None:
    maker = load("sdxl-refiner", steps=6, strength=0.7, negative_prompt="a bowl")
    stock = diffusers.StableDiffusionXLImg2ImgPipeline.from_pretrained(
        folders["sdxl-refiner"], add_watermarker=False
    )
    stock.set_progress_bar_config(disable=True)
    expected = stock(
        prompt=PROMPTS,
        negative_prompt=["a bowl"] * 3,
        image=paintings(70, 50),
        strength=0.7,
        num_inference_steps=6,
        generator=[torch.Generator().manual_seed(seed) for seed in SEEDS],
        output_type="np",
    ).images
    assert apart(maker.draw(paintings(70, 50), PROMPTS, SEEDS), expected) < 1e-5


def test_pix2pix_draws_what_its_own_pipeline_draws_without_its_safety_checker(
    load: Load, folders: dict[str, Path]
) -> None:
    maker = load("instruct-pix2pix")
    assert maker.pipeline.safety_checker is None
    stock = diffusers.StableDiffusionInstructPix2PixPipeline.from_pretrained(
        folders["instruct-pix2pix"], safety_checker=None, requires_safety_checker=False
    )
    stock.set_progress_bar_config(disable=True)
    expected = stock(
        prompt=PROMPTS[0],
        image=paintings()[0],
        num_inference_steps=4,
        generator=torch.Generator().manual_seed(1),
        output_type="np",
    ).images
    assert apart(maker.draw(paintings()[:1], PROMPTS[:1], [1]), expected) < 1e-5


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [(64, 48), (75, 50), (63, 64)])
def test_proxies_have_the_paintings_size(load: Load, name: str, size: tuple[int, int]) -> None:
    maker = load(name)
    drawn = maker.draw(paintings(*size), PROMPTS, SEEDS)
    assert drawn.shape == (3, size[1] // 8 * 8, size[0] // 8 * 8, 3)
    made = maker.make(paintings(*size), PROMPTS, SEEDS)
    assert [(proxy.mode, proxy.size) for proxy in made] == [("RGB", size)] * 3
    if drawn.shape[1:3] == size[::-1]:
        assert apart(made[0], drawn[0] * 255) <= 0.51
    assert maker.make([], [], []) == []


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("mode", ["RGBA", "CMYK", "L", "P", "LA"])
def test_paintings_of_any_mode_are_drawn_as_rgb(load: Load, name: str, mode: str) -> None:
    maker, painting = load(name), paintings()[0].convert(mode)
    (proxy,) = maker.make([painting], ["the sea"], [1])
    assert proxy.size == painting.size
    assert apart(proxy, maker.make([painting.convert("RGB")], ["the sea"], [1])[0]) == 0


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_stays_near_and_quiet(
    load: Load, name: str, dtype: str, caplog: pytest.LogCaptureFixture, capfd: Any
) -> None:
    exact = load(name).draw(paintings(), PROMPTS, SEEDS)
    maker = load(name, dtype)
    diffusers.utils.logging.enable_propagation()
    capfd.readouterr()
    try:
        with caplog.at_level(logging.DEBUG, "diffusers"):
            drawn = maker.draw(paintings(), PROMPTS, SEEDS)
            maker.make(paintings(), PROMPTS, SEEDS)
    finally:
        diffusers.utils.logging.disable_propagation()
    assert not caplog.records
    assert not capfd.readouterr().err  # no progress bar either
    assert 0 < apart(exact, drawn) < 0.1
    assert maker.pipeline.unet.dtype == getattr(torch, dtype)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_the_refiners_vae_never_runs_in_half_precision(load: Load, dtype: str) -> None:
    maker = load("sdxl-refiner", dtype)
    for _ in range(2):
        maker.draw(paintings()[:1], ["the sea"], [1])
        assert maker.pipeline.vae.dtype == torch.float32
    # Weights whose decoder overflows in float16 draw the same picture as in float32.
    exact = load("sdxl-refiner")
    for each in (maker, exact):
        # A million times the activation, and a group norm right after it takes it back.
        each.pipeline.vae.decoder.conv_in.weight.data *= 1e6
        each.pipeline.vae.decoder.conv_in.bias.data *= 1e6
    drawn = maker.draw(paintings()[:1], ["the sea"], [1])
    assert apart(drawn, exact.draw(paintings()[:1], ["the sea"], [1])) < 0.1


def test_a_vae_made_for_half_precision_stays_in_it(tmp_path: Path) -> None:
    folder = write_refiner(tmp_path / "refiner")
    config = folder / "vae" / "config.json"
    config.write_text(config.read_text().replace('"force_upcast": true', '"force_upcast": false'))
    maker = load_proxy("sdxl-refiner", source=str(folder), dtype="float16")
    assert maker.pipeline.vae.dtype == torch.float16  # type: ignore[attr-defined]
    assert maker.make(paintings()[:1], ["the sea"], [1])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("value", "said"), [(float("nan"), "values that are no numbers"), (-1e6, "black all over")]
)
def test_output_that_is_no_picture_is_a_failure(
    load: Load, name: str, value: float, said: str
) -> None:
    maker = load(name)
    maker.pipeline.vae.decoder.conv_out.bias.data.fill_(value)
    with pytest.raises(ItemError, match=said) as failure:
        maker.make(paintings(), PROMPTS, SEEDS)
    assert (failure.value.code, failure.value.stage) == ("numeric", "proxy")


@pytest.mark.parametrize("name", NAMES)
def test_what_the_text_encoder_does_not_read_is_told(load: Load, name: str) -> None:
    maker = load(name)
    long = " ".join(["boats"] * 75)
    assert maker.cut_off(long) == ""
    assert maker.cut_off(f"{long} À la mer") == "À la mer"
    ends = [f"{long} the sea", f"{long} a storm"]
    one, other = maker.draw([paintings()[0]] * 2, ends, [1, 1])
    assert apart(one, other) < 1e-4  # the encoder, too, reads nothing of it


@pytest.mark.parametrize("name", ["preview", "none"])
def test_built_in_makers_read_whole_prompts(name: str) -> None:
    assert load_proxy(name).cut_off("boats " * 1000) == ""


@pytest.mark.parametrize("name", NAMES)
def test_loading_takes_the_cards_defaults(folders: dict[str, Path], name: str) -> None:
    maker: Any = load_proxy(name, source=str(folders[name]))
    assert maker.settings == dict(PROXIES[name].defaults)
    assert maker.pipeline.unet.dtype == torch.float16
    assert maker.pipeline.vae.use_slicing
    assert getattr(maker.pipeline, "watermark", None) is None


@pytest.mark.parametrize("name", NAMES)
def test_proxies_are_identified_by_their_weights(
    folders: dict[str, Path], name: str, tmp_path: Path
) -> None:
    card = PROXIES[name]
    assert proxy_identity(name, revision="abc") == f"{name}@1 {card.weights}@abc"
    assert proxy_identity(name, "me/mine", "main") == f"{name}@1 me/mine@main"
    local = proxy_identity(name, str(folders[name]))
    assert local.startswith(f"{name}@1 local:")
    write = write_refiner if name == "sdxl-refiner" else write_instruct_pix2pix
    moved = write(tmp_path / "moved")
    assert proxy_identity(name, str(moved)) == local
    (moved / "scheduler" / "scheduler_config.json").write_text("{}")
    assert proxy_identity(name, str(moved)) != local


def test_files_of_the_fp16_variant_are_read_where_they_are_wanted(tmp_path: Path) -> None:
    folder = write_refiner(tmp_path / "refiner")

    def drawn(dtype: str) -> Any:
        return load_proxy("sdxl-refiner", source=str(folder), dtype=dtype).draw(
            paintings()[:1], ["the sea"], [1]
        )

    exact, half = drawn("float32"), drawn("float16")
    marked = diffusers.UNet2DConditionModel.from_pretrained(folder / "unet")
    marked.conv_out.bias.data += 0.1
    marked.half().save_pretrained(folder / "unet", variant="fp16")
    assert apart(drawn("float32"), exact) == 0
    assert apart(drawn("float16"), half) > 0.01  # the marked file
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    assert apart(drawn("float32"), exact) > 0.01  # there is no other


def test_weights_of_the_hub_are_read_from_its_cache(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    commits = {"plain": "c0ffee" + "0" * 34, "variant": "c0ffee" + "1" * 34}
    snapshots = tmp_path / "models--me--mine" / "snapshots"
    for commit in commits.values():
        shutil.copytree(folders["sdxl-refiner"], snapshots / commit)
    unet = diffusers.UNet2DConditionModel.from_pretrained(snapshots / commits["variant"] / "unet")
    unet.conv_out.bias.data.fill_(7)
    unet.half().save_pretrained(snapshots / commits["variant"] / "unet", variant="fp16")
    # The hub's client looks at its variables when it is imported.
    code = (
        "from epa_core.cards import load_proxy\n"
        f"for name, commit in {commits}.items():\n"
        "    maker = load_proxy('sdxl-refiner', source='me/mine', revision=commit)\n"
        "    assert (maker.pipeline.unet.conv_out.bias == 7).all() == (name == 'variant'), name\n"
    )
    offline = {"HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(tmp_path), "PYTHONPATH": "."}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=os.environ | offline, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
