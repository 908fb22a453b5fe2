"""Sizes on the cards against what the models behind them can take, for paintings of any aspect."""

import functools
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers.configuration_utils import FrozenDict
from tiny_pipelines import Tiny, build, cogvideox, picture

from epa_core.awakening import (
    CallSettings,
    EPASettings,
    animate_latents,
    decode_latents,
    distill_latents,
)
from epa_core.cards import MODELS, load_model
from epa_core.errors import UnsupportedError
from epa_core.families import Family, family_of
from epa_core.families.animate_anything import AnimateAnything
from epa_core.families.cinemo import Cinemo
from epa_core.families.stock import (
    LTX,
    CogVideoX,
    StableVideoDiffusion,
    UNetVideo,
    Wan,
    WanFirstFrame,
)
from epa_core.media.images import canvas_size

ASPECTS = np.geomspace(1 / 3, 3, 20)


def transformer(factor: int, patch: int | tuple[int, ...]) -> SimpleNamespace:
    config = FrozenDict(patch_size=patch)
    return SimpleNamespace(
        vae_scale_factor_spatial=factor, transformer=SimpleNamespace(config=config)
    )


def unet(factor: int, channels: tuple[int, ...]) -> SimpleNamespace:
    config = FrozenDict(block_out_channels=channels)
    return SimpleNamespace(vae_scale_factor=factor, unet=SimpleNamespace(config=config))


WAN = transformer(8, (1, 2, 2))
UNET = unet(8, (320, 640, 1280, 1280))
# The numbers in the released configs that bind sizes: the VAE's factor, the denoiser's patch or
# the widths of its levels (each but the first halves the latents).
RELEASED: dict[str, tuple[Family, SimpleNamespace]] = {
    "wan2.1-i2v-480p": (Wan(), WAN),
    "wan2.1-i2v-720p": (Wan(), WAN),
    "wan2.2-i2v-a14b": (Wan(), WAN),
    "wan2.2-ti2v-5b": (WanFirstFrame(), transformer(16, (1, 2, 2))),
    "cogvideox1.5-5b-i2v": (CogVideoX(), transformer(8, 2)),
    "ltx-video": (LTX(), SimpleNamespace(vae_spatial_compression_ratio=32)),
    "svd": (StableVideoDiffusion(), UNET),
    "svd-xt": (StableVideoDiffusion(), UNET),
    "i2vgen-xl": (UNetVideo(), UNET),
    "animate-anything": (AnimateAnything(), UNET),
    "cinemo": (Cinemo(), UNET),
}
TINY = {"wan2.1-i2v-480p": "wan21", "wan2.1-i2v-720p": "wan21", "wan2.2-i2v-a14b": "wan22"} | {
    "wan2.2-ti2v-5b": "wan22_5b",
    "ltx-video": "ltx",
    "svd": "svd",
    "svd-xt": "svd",
    "i2vgen-xl": "i2vgenxl",
    "animate-anything": "animate_anything",
    "cinemo": "cinemo",
    "preview": "preview",
}


@functools.cache
def tiny_of(card: str) -> Tiny:
    return build(TINY[card]) if card in TINY else cogvideox(patch_size_t=2)


@pytest.mark.parametrize("name", MODELS)
def test_multiples_of_cards_satisfy_the_released_configs(name: str) -> None:
    if name == "preview":
        pipeline = load_model("preview")
        needed = family_of(pipeline).size_multiple(pipeline)
    else:
        family, released = RELEASED[name]
        needed = family.size_multiple(released)  # type: ignore[arg-type] # the part that is read
    assert MODELS[name].multiple % needed == 0


@pytest.mark.parametrize("name", MODELS)
def test_a_painting_of_any_aspect_gets_a_size_its_model_takes(name: str) -> None:
    card, pipeline = MODELS[name], tiny_of(name).pipeline
    for aspect in ASPECTS:
        width, height = canvas_size(round(1000 * aspect), 1000, card.area, card.multiple)
        call = CallSettings(height, width, card.num_frames)
        family_of(pipeline).check(pipeline, call)


@pytest.mark.parametrize("size", [(32, 48), (64, 32), (96, 32)])
def test_cogvideox_15_takes_other_aspects(size: tuple[int, int]) -> None:
    tiny = tiny_of("cogvideox1.5-5b-i2v")
    width, height = size
    call = CallSettings(height, width, 9, 6.0, tiny.call.options)
    settings = EPASettings(num_inference_steps=2, p=0.5, variant="V")
    pictures = [picture(1).resize(size), picture(2).resize(size)]
    entries = (pictures, ["", ""], [1, 2])
    tiny.pipeline.set_progress_bar_config(disable=True)
    real = distill_latents(tiny.pipeline, *entries, settings, call)
    for clip in animate_latents(tiny.pipeline, *entries, real, None, settings, call):
        assert clip.shape == (4, 4, height // 8, width // 8)
        assert torch.isfinite(clip).all()


def test_sizes_without_positions_are_refused() -> None:
    pipeline = build("cogvideox").pipeline
    with pytest.raises(UnsupportedError, match=r"48x32; .*learned positions for 32x32 only"):
        family_of(pipeline).check(pipeline, CallSettings(48, 32, 9))
    pipeline = tiny_of("cogvideox1.5-5b-i2v").pipeline
    with pytest.raises(UnsupportedError, match=r"32x2416; .*positions for 2400x2400 at most"):
        family_of(pipeline).check(pipeline, CallSettings(32, 2416, 9))
    assert family_of(pipeline).area(pipeline) == 768 * 1360


@pytest.mark.parametrize("name", MODELS)
def test_models_run_in_the_dtype_of_their_card(name: str) -> None:
    tiny = cogvideox(patch_size_t=2) if name not in TINY else build(TINY[name])
    dtype = getattr(torch, MODELS[name].dtype)
    pipeline = tiny.pipeline.to(dtype)
    pipeline.set_progress_bar_config(disable=True)
    options = {
        key: value.to(dtype) if torch.is_tensor(value) and value.is_floating_point() else value
        for key, value in tiny.call.options.items()
    }
    call = replace(tiny.call, options=options)
    settings = EPASettings(num_inference_steps=2, p=0.5, variant="V")
    entries = ([picture(1, call.width)], [""], [1])
    real = distill_latents(pipeline, *entries, settings, call)
    (final,) = animate_latents(pipeline, *entries, real, None, settings, call)
    (frames,) = decode_latents(pipeline, [final], call)
    assert real[0].dtype == final.dtype == torch.float32
    assert torch.isfinite(final).all()
    assert frames.shape == (call.num_frames, call.height, call.width, 3)
    assert pipeline.vae.dtype == (torch.float32 if name == "preview" else dtype)


def test_a_model_is_loaded_in_the_dtype_that_is_asked_for(tmp_path: Path) -> None:
    build("svd").pipeline.save_pretrained(tmp_path)
    pipeline = load_model("svd", source=str(tmp_path), dtype=MODELS["svd"].dtype)
    assert {module.dtype for module in (pipeline.unet, pipeline.vae)} == {torch.float16}
    assert load_model("svd", source=str(tmp_path)).unet.dtype == torch.float32
