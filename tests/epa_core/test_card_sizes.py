"""Sizes on the cards against what the models behind them can take, for paintings of any aspect."""

import functools
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers.configuration_utils import FrozenDict
from tiny_pipelines import TINY_OF_CARD, Tiny, build, picture

from epa_core import weights
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
from epa_core.families.consisti2v import ConsistI2V
from epa_core.families.hunyuan import HunyuanVideo, HunyuanVideo15
from epa_core.families.inpainting import EasyAnimate, WanVACE
from epa_core.families.ltx import LTX, LTX2
from epa_core.families.others import Kandinsky5, Kandinsky6, MotifVideo, SanaVideo
from epa_core.families.stock import (
    CogVideoX,
    SkyReels,
    StableVideoDiffusion,
    UNetVideo,
    Wan,
    WanFirstFrame,
)
from epa_core.media.images import canvas_size
from epa_core.recommend import size_of

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
    "animatediff-sparsectrl": (UNetVideo(), UNET),
    "pia": (UNetVideo(), UNET),
    "cogvideox-5b-i2v": (CogVideoX(), transformer(8, 2)),
    "ltx-2": (LTX2(), SimpleNamespace(vae_spatial_compression_ratio=32)),
    "hunyuanvideo-i2v": (HunyuanVideo(), transformer(8, 2)),
    "hunyuanvideo1.5-i2v-480p": (HunyuanVideo15(), transformer(16, 1)),
    "skyreels-v2-i2v-720p": (SkyReels(), WAN),
    "sana-video-480p": (SanaVideo(), transformer(8, (1, 2, 2))),
    "kandinsky5-i2v-pro": (Kandinsky5(), transformer(8, (1, 2, 2))),
    "kandinsky6-lite": (Kandinsky6(), transformer(8, (1, 2, 2))),
    "kandinsky6-pro": (Kandinsky6(), transformer(8, (1, 2, 2))),
    "motif-video-2b": (MotifVideo(), transformer(8, 2)),
    "wan2.1-vace-1.3b": (WanVACE(), WAN),
    "wan2.1-vace-14b": (WanVACE(), WAN),
    "easyanimate5.1-12b-inp": (EasyAnimate(), transformer(8, 2)),
    "consisti2v": (ConsistI2V(), UNET),
    "cinemo": (Cinemo(), UNET),
}


@functools.cache
def tiny_of(card: str) -> Tiny:
    return build(TINY_OF_CARD[card])


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


@pytest.mark.parametrize("name", MODELS)
def test_the_size_that_is_shown_is_one_the_model_computes_at(name: str) -> None:
    card, pipeline = MODELS[name], tiny_of(name).pipeline
    width, height = size_of(card)
    assert width % card.multiple == height % card.multiple == 0
    assert width * height == pytest.approx(card.area, rel=0.07)
    family_of(pipeline).check(pipeline, CallSettings(height, width, card.num_frames))
    # At one size only: whatever is asked for, that is what the family makes of it.
    calls = [CallSettings(*size, card.num_frames) for size in ((64, 128), (256, 64), (128, 128))]
    sizes = {
        (native.height, native.width)
        for native in (family_of(pipeline).native(pipeline, call) for call in calls)
    }
    assert (card.fixed is not None) == (len(sizes) == 1)


def test_cogvideox_10_is_fixed_at_the_size_of_its_released_configuration() -> None:
    released = transformer(8, 2)
    released.transformer.config = FrozenDict(
        sample_height=60, sample_width=90, use_learned_positional_embeddings=True
    )
    call = CogVideoX().native(released, CallSettings(768, 512, 49))  # type: ignore[arg-type] # the part that is read
    assert (call.height, call.width) == MODELS["cogvideox-5b-i2v"].fixed


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
    pipeline = tiny_of("cogvideox1.5-5b-i2v").pipeline
    with pytest.raises(UnsupportedError, match=r"32x2416; .*positions for 2400x2400 at most"):
        family_of(pipeline).check(pipeline, CallSettings(32, 2416, 9))
    assert family_of(pipeline).area(pipeline) == 768 * 1360


@pytest.mark.parametrize("name", MODELS)
def test_models_run_in_the_dtype_of_their_card(name: str) -> None:
    tiny = build(TINY_OF_CARD[name])
    # Kandinsky's weights keep their time embedding in float32 as they are loaded (tested below).
    dtype = torch.float32 if name.startswith("kandinsky") else getattr(torch, MODELS[name].dtype)
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
    assert frames.shape == (call.num_frames - tiny.dropped, call.height, call.width, 3)
    assert pipeline.vae.dtype == (torch.float32 if name == "preview" else dtype)


def test_a_model_is_loaded_in_the_dtype_that_is_asked_for(tmp_path: Path) -> None:
    build("svd").pipeline.save_pretrained(tmp_path)
    pipeline = load_model("svd", source=str(tmp_path), dtype=MODELS["svd"].dtype)
    assert {module.dtype for module in (pipeline.unet, pipeline.vae)} == {torch.float16}
    assert load_model("svd", source=str(tmp_path)).unet.dtype == torch.float32


@pytest.mark.parametrize(
    "name",
    ["animatediff-sparsectrl", "pia", "ltx-2", "hunyuanvideo1.5-i2v-480p", "kandinsky5-i2v-pro"],
)
def test_a_saved_pipeline_is_loaded_by_its_card_and_gives_the_same_video(
    name: str, tmp_path: Path
) -> None:
    tiny = build(TINY_OF_CARD[name])
    tiny.pipeline.save_pretrained(tmp_path)
    settings = EPASettings("baseline", num_inference_steps=2)
    entries = ([picture(1, tiny.call.width)], [""], [1], None, None, settings)
    without = {part: None for part, kept in tiny.pipeline.components.items() if kept is None}
    load = functools.partial(weights.from_pretrained, "model", MODELS[name], tmp_path, None)
    whole = load("float32", **without)
    (expected,) = animate_latents(tiny.pipeline, *entries, tiny.call)
    (found,) = animate_latents(whole, *entries, tiny.call)
    # Weights of a file lie in memory as they lie in it, where kernels may round otherwise.
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    half = load("bfloat16", **without)
    embeddings = {
        key: value.bfloat16() if torch.is_tensor(value) and value.is_floating_point() else value
        for key, value in tiny.call.options.items()
    }
    (rough,) = animate_latents(half, *entries, replace(tiny.call, options=embeddings))
    assert torch.isfinite(rough).all()
    assert not torch.allclose(rough, expected, rtol=0, atol=1e-4)
