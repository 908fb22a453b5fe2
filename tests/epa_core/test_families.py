"""Each family's layouts, normalisation and decoding against the pipeline's own."""

import functools
import inspect

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline
from tiny_pipelines import BUILDERS, build, cogvideox, picture

from epa_core.awakening import (
    CallSettings,
    EPASettings,
    animate_latents,
    decode_latents,
    static_latents,
)
from epa_core.errors import UnsupportedError
from epa_core.families import Family, family_of, register
from epa_core.families.base import call_default, denormalise, normalise

FAMILIES = list(BUILDERS)


@functools.cache
def tiny_of(name):
    return build(name)


def as_frames(pipeline, video):
    unit = pipeline.video_processor.postprocess_video(video, output_type="np")[0]
    return (unit * 255).round().astype(np.uint8)


def round_trip(name, pipeline, pixels, frames):
    """The VAE alone on the still clip, as the documentation of each VAE uses it."""
    vae = pipeline.vae
    if name in ("svd", "i2vgenxl", "sparsectrl", "pia", "animate_anything", "cinemo"):
        z = vae.encode(pixels).latent_dist.mode().repeat(frames, 1, 1, 1)
        extra = {"num_frames": frames} if name in ("svd", "cinemo") else {}
        return vae.decode(z, **extra).sample[None].transpose(1, 2)
    still = pixels.unsqueeze(2).repeat(1, 1, frames, 1, 1)
    return vae.decode(vae.encode(still).latent_dist.mode()).sample


@pytest.mark.parametrize("name", FAMILIES)
def test_static_latents_decode_to_the_vaes_own_round_trip(name):
    tiny = tiny_of(name)
    pipeline, call = tiny.pipeline, tiny.call
    static = static_latents(pipeline, [picture(1)], call)
    (frames,) = decode_latents(pipeline, static, call)
    pixels = family_of(pipeline).pixels(pipeline, picture(1), call)
    with torch.no_grad():
        expected = as_frames(pipeline, round_trip(name, pipeline, pixels, call.num_frames))
    assert frames.shape == expected.shape == (call.num_frames, call.height, call.width, 3)
    assert np.abs(frames.astype(int) - expected).max() <= 1  # a rounding apart


@pytest.mark.parametrize("name", FAMILIES)
def test_static_latents_are_normalised(name):
    tiny = tiny_of(name)
    pipeline, call = tiny.pipeline, tiny.call
    family = family_of(pipeline)
    (static,) = static_latents(pipeline, [picture(1)], call)
    assert static.dtype == torch.float32
    assert static.device.type == "cpu"
    pixels = family.pixels(pipeline, picture(1), call)
    with torch.no_grad():
        if family.video_vae:
            pixels = pixels.unsqueeze(2).repeat(1, 1, call.num_frames, 1, 1)
        raw = pipeline.vae.encode(pixels).latent_dist.mode()
    first_raw = raw[0] if raw.ndim == 4 else raw[0, :, 0]
    config = pipeline.vae.config
    if name.startswith("wan"):
        mean, std = torch.tensor(config.latents_mean), torch.tensor(config.latents_std)
    elif name == "ltx":
        mean, std = pipeline.vae.latents_mean, pipeline.vae.latents_std
    else:
        mean, std = torch.zeros(len(first_raw)), 1 / config["scaling_factor"]
    expected = ((first_raw.movedim(0, -1) - mean) / std).movedim(-1, 0)
    torch.testing.assert_close(static.select(family.frame_axis, 0), expected)


@pytest.mark.parametrize("name", FAMILIES)
def test_normalisation_is_undone(name):
    vae = tiny_of(name).pipeline.vae
    channels = vae.config.get("latent_channels") or vae.config.get("z_dim") or 192
    z = torch.randn(1, channels, 2, 3, 3, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(denormalise(vae, normalise(vae, z)), z)


@pytest.mark.parametrize("name", FAMILIES)
def test_step_layout_is_undone(name):
    tiny = tiny_of(name)
    family = family_of(tiny.pipeline)
    clips = torch.stack(static_latents(tiny.pipeline, [picture(1), picture(2)], tiny.call))
    assert torch.equal(family.from_step(family.to_step(clips), clips), clips)


def test_cogvideox_15_pads_its_latent_frames():
    tiny = cogvideox(patch_size_t=2)
    pipeline, call = tiny.pipeline, tiny.call
    (static,) = static_latents(pipeline, [picture(1)], call)
    assert static.shape[0] == 4  # 9 frames are 3 latent frames, padded to 2 temporal patches
    (frames,) = decode_latents(pipeline, [static], call)
    assert frames.shape == (9, 32, 32, 3)


def test_subclasses_use_their_base_family():
    pipeline = tiny_of("ltx").pipeline
    derived = type("MyLTX", (type(pipeline),), {})
    instance = derived(**pipeline.components)
    assert family_of(instance) is family_of(pipeline)


class Unheard(DiffusionPipeline):
    """A pipeline nobody registered."""


def test_unknown_class_is_refused_by_name_until_registered():
    with pytest.raises(UnsupportedError, match=r"Unheard is not supported.*WanImageToVideo"):
        family_of(Unheard())

    class Registered(Unheard):
        pass

    mine = Family()
    register(Registered, mine)
    assert family_of(Registered()) is mine


@pytest.mark.parametrize(
    ("name", "call", "message"),
    [
        ("wan21", CallSettings(40, 32, 9), "height is 40"),
        ("wan21", CallSettings(32, 32, 10), "num_frames is 10"),
        ("svd", CallSettings(16, 18, 4), "width is 18"),
        ("ltx", CallSettings(32, 32, 0), "num_frames is 0"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(name, call, message):
    with pytest.raises(UnsupportedError, match=message):
        static_latents(tiny_of(name).pipeline, [picture(1)], call)


@pytest.mark.parametrize("name", FAMILIES)
def test_defaults_are_known(name):
    pipeline = tiny_of(name).pipeline
    family = family_of(pipeline)
    assert family.area(pipeline) > 0
    assert family.num_frames(pipeline) > 1
    parameters = inspect.signature(type(pipeline).__call__).parameters
    assert family.guidance_argument in parameters
    assert family.image_argument in parameters
    assert family.takes_prompt == ("prompt" in parameters)
    assert call_default(pipeline, "no_such_argument") is None


def out_of_memory(module, inputs):
    raise torch.OutOfMemoryError("out of memory")


@pytest.mark.parametrize("whose", ["the family's", "the pipeline's"])
def test_a_failed_encoding_leaves_the_vae_in_half_precision(whose):
    tiny = build("svd")
    pipeline, call = tiny.pipeline.to(torch.float16), tiny.call
    assert pipeline.vae.config.force_upcast
    settings = EPASettings("baseline", num_inference_steps=2)
    ours = functools.partial(static_latents, pipeline, [picture(1)], call)
    stock = functools.partial(
        animate_latents, pipeline, [picture(1)], [""], [1], None, None, settings, call
    )
    hook = pipeline.vae.encoder.register_forward_pre_hook(out_of_memory)
    with pytest.raises(torch.OutOfMemoryError):
        (ours if whose == "the family's" else stock)()
    assert pipeline.vae.dtype == torch.float16
    hook.remove()
    (final,) = stock()
    assert final.isfinite().all()


def test_arguments_for_several_paintings():
    family = Family()
    embeds = torch.arange(3.0).view(1, 1, 3)
    call = CallSettings(32, 32, 9, 5.0, {"prompt_embeds": embeds, "fps": 7})
    arguments = family.arguments([picture(1), picture(2)], ["a", "b"], call)
    assert torch.equal(arguments["prompt_embeds"], torch.cat([embeds, embeds]))
    assert "prompt" not in arguments
    assert arguments["fps"] == 7
    assert arguments["guidance_scale"] == 5.0
    assert len(arguments["image"]) == 2
    plain = family.arguments([picture(1)], ["a"], CallSettings(32, 32, 9))
    assert plain["prompt"] == "a"
    assert "guidance_scale" not in plain
