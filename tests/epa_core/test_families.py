"""The common tests of every family, against the pipeline's own behaviour.

A new family is one entry in ``tiny_pipelines.BUILDERS``.
"""

import functools
import inspect
from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline, PiflowScheduler
from diffusers.configuration_utils import FrozenDict
from family_calls import SEED, closed_form, distilled, painting, planted, stock_call, tiny_of
from gaussian_oracle import MU
from tiny_parts import text
from tiny_pipelines import BUILDERS, build, cogvideox, picture

from epa_core.awakening import (
    CallSettings,
    EPASettings,
    animate_latents,
    check_call,
    decode_latents,
    distill_latents,
    static_latents,
)
from epa_core.errors import UnsupportedError
from epa_core.families import Family, family_of, register
from epa_core.families.base import call_default
from epa_core.families.normalising import denormalise, normalise
from epa_core.model_cards.refused import REFUSED
from epa_core.seam import Window, WindowedScheduler, exchange, using

FAMILIES = list(BUILDERS)
#: The preview has an oracle of its own, the paper's model recorded numbers.
ORACLES = [name for name in FAMILIES if tiny_of(name).oracle is not None]
BATCHING = [name for name in FAMILIES if family_of(tiny_of(name).pipeline).batches]
STEPS = 4
SHORT = EPASettings(num_inference_steps=STEPS, p=0.5, levels="native")
BASELINE = EPASettings("baseline", num_inference_steps=STEPS)
LEVELS = pytest.mark.parametrize("levels_", ["native", "matched"])


def animated(tiny, real, proxy, settings, seed=SEED):
    (final,) = animate_latents(
        tiny.pipeline, [painting(tiny)], ["waves"], [seed], real, proxy, settings, tiny.call
    )
    return final


# -- EPA off is the stock call


@pytest.mark.parametrize("name", FAMILIES)
def test_baseline_is_the_stock_call_bit_for_bit(name):
    tiny = tiny_of(name)
    family = family_of(tiny.pipeline)
    final = animated(tiny, None, None, BASELINE)
    stock = family.unpack(tiny.pipeline, stock_call(tiny, STEPS, output_type="latent"), tiny.call)[
        0
    ]
    kept = final[:, -stock.shape[1] :] if tiny.dropped else final
    assert torch.equal(kept, stock)
    (frames,) = decode_latents(tiny.pipeline, [final], tiny.call)
    unit = stock_call(tiny, STEPS, output_type="np")[0] * 255
    expected = (np.floor if tiny.whole else np.round)(unit).astype(np.uint8)
    assert frames.shape == expected.shape
    assert np.abs(frames.astype(int) - expected).max() <= (tiny.rounding > 0)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_painting_changes_the_video(name):
    """Or a condition that gets lost in the tiny pipeline would prove nothing anywhere else."""
    tiny = tiny_of(name)
    steps = replace(BASELINE, num_inference_steps=2)
    one, other = (
        animate_latents(
            tiny.pipeline, [painting(tiny, seed)], ["a"], [SEED], None, None, steps, tiny.call
        )[0]
        for seed in (1, 2)
    )
    # In the last frame, since it may just be copied into the first.
    axis = family_of(tiny.pipeline).frame_axis
    assert not torch.equal(one.select(axis, -1), other.select(axis, -1))


@pytest.mark.parametrize("name", FAMILIES)
def test_cut_schedule_on_the_stock_sample_gives_the_stock_latents(name):
    """The sample that the stock call has at a step, handed back as ``latents=`` from there on."""
    restarted(tiny_of(name))


def test_kandinsky6_without_sound_goes_on_from_its_own_sample():
    """With it, its sound would be drawn anew, and would change the video."""
    tiny = tiny_of("kandinsky6")
    silent = replace(tiny.call, options={**tiny.call.options, "sample_audio": False})
    restarted(replace(tiny, call=silent, restarts=(0, 2)))


def restarted(tiny):
    pipeline, family = tiny.pipeline, family_of(tiny.pipeline)
    own, seen = pipeline.scheduler, []
    recorder = exchange(own, WindowedScheduler, Window())
    recorder.__class__ = type("Recorder", (type(own),), {"step": recording(type(own), seen)})
    with using(pipeline, recorder):
        stock = stock_call(tiny, STEPS, output_type="latent")
    clips = family.unpack(pipeline, stock, tiny.call)
    for first in tiny.restarts:
        packed = family.pack(pipeline, seen[first], clips)
        given = {"image": painting(tiny), "height": tiny.call.height, "width": tiny.call.width}
        given |= {"num_frames": tiny.call.num_frames, "latents": packed}
        with using(pipeline, exchange(own, WindowedScheduler, Window(first))):
            latents = family.prepared(pipeline, given)["latents"]
            again = stock_call(tiny, STEPS, output_type="latent", latents=latents)
        if tiny.rounding:
            torch.testing.assert_close(again, stock, rtol=0, atol=tiny.rounding)
        else:
            assert torch.equal(again, stock)


def recording(scheduler, seen):
    @functools.wraps(scheduler.step)
    def step(self, model_output, timestep, sample, *args, **kwargs):
        seen.append(sample.clone())
        return scheduler.step(self, model_output, timestep, sample, *args, **kwargs)

    return step


# -- distillation


@LEVELS
@pytest.mark.parametrize("name", ORACLES)
def test_a_planted_gaussian_is_distilled_as_its_closed_form_says(name, levels_):
    tiny, settings = planted(name), EPASettings(levels=levels_)
    static, expected = closed_form(tiny, settings)
    refined = distilled(tiny, settings)
    assert refined.dtype == torch.float32
    torch.testing.assert_close(refined, expected, rtol=0, atol=1e-5)
    # The oracle must have moved the clip, or it would prove nothing.
    to_step = family_of(tiny.pipeline).to_step
    before, after = ((to_step(clip[None]) - MU).square().mean() for clip in (static, refined))
    assert after < before / 2


@LEVELS
@pytest.mark.parametrize("name", ORACLES)
def test_resumed_midway_gives_the_same_bits(name, levels_):
    tiny = tiny_of(name)
    settings = EPASettings(num_inference_steps=20, p=0.15, levels=levels_)  # 4 updates
    states, again = [], []
    whole = distilled(tiny, settings, on_update=lambda first, state: states.append(state))
    resumed = distilled(
        tiny, settings, resume={0: states[1]}, on_update=lambda first, state: again.append(state)
    )
    assert torch.equal(whole, resumed)
    assert [state.update for state in states] == [1, 2, 3, 4]
    assert [state.update for state in again] == [3, 4]  # nothing done twice


def test_what_draws_noise_beside_the_video_is_distilled_anew_with_the_same_bits():
    """LTX-2's sound by a scheduler that is random: no state of it could be gone on from."""
    tiny, states, again = build("ltx2"), [], []
    tiny.pipeline.scheduler.register_to_config(stochastic_sampling=True)
    settings = EPASettings(num_inference_steps=20, p=0.1)
    whole = distilled(tiny, settings, on_update=lambda first, state: states.append(state))
    resumed = distilled(
        tiny, settings, resume={0: states[0]}, on_update=lambda first, state: again.append(state)
    )
    assert torch.equal(whole, resumed)
    assert len(again) == len(states) > 1


# -- what the proxy does


@functools.cache
def both_paths(name):
    tiny = tiny_of(name)
    images = [painting(tiny, 1), painting(tiny, 2)]
    return distill_latents(tiny.pipeline, images, ["", ""], [1, 2], SHORT, tiny.call)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_proxy_changes_the_video(name):
    """At a first step without signal it would not."""
    tiny = tiny_of(name)
    real, proxy = both_paths(name)
    with_proxy, without = (animated(tiny, [real], [other], SHORT) for other in (proxy, real))
    # The preview's exact denoiser forgets what it started from.
    assert float((with_proxy - without).abs().max()) > (0.01 if name != "preview" else 0)


# -- batches


@pytest.mark.parametrize("name", BATCHING)
def test_a_batch_of_two_is_two_singles(name):
    tiny = tiny_of(name)
    images, prompts, seeds = [painting(tiny, 1), painting(tiny, 2)], ["water", "smoke"], [1, 2]
    run = functools.partial(distill_latents, tiny.pipeline)
    together = run(images, prompts, seeds, SHORT, tiny.call)
    alone = [run([images[i]], [prompts[i]], [seeds[i]], SHORT, tiny.call)[0] for i in (0, 1)]
    finish = functools.partial(animate_latents, tiny.pipeline)
    finished = finish(images, prompts, seeds, alone, alone[::-1], SHORT, tiny.call)
    for i in (0, 1):
        same(name, together[i], alone[i])
        (final,) = finish(
            [images[i]], [prompts[i]], [seeds[i]], [alone[i]], [alone[1 - i]], SHORT, tiny.call
        )
        same(name, finished[i], final)


@pytest.mark.parametrize("name", BATCHING)
def test_a_batch_by_the_stock_call_is_two_singles(name):
    tiny = tiny_of(name)
    images, prompts, seeds = [painting(tiny, 1), painting(tiny, 2)], ["water", "smoke"], [1, 2]
    steps = EPASettings("baseline", num_inference_steps=2)
    run = functools.partial(animate_latents, tiny.pipeline, real=None, proxy=None, settings=steps)
    together = run(images, prompts, seeds, call=tiny.call)
    for i in (0, 1):
        (alone,) = run([images[i]], [prompts[i]], [seeds[i]], call=tiny.call)
        # SVD starts at a noise of 700, whose rounding shows.
        same(name, together[i], alone, atol=5e-4 if name == "svd" else 1e-4)


def same(name, one, other, atol=1e-4):
    if name == "preview":  # elementwise throughout, so nothing is rounded differently
        assert torch.equal(one, other)
    else:
        torch.testing.assert_close(one, other, rtol=1e-4, atol=atol)


# -- latents and frames


def as_frames(pipeline, video):
    unit = pipeline.video_processor.postprocess_video(video, output_type="np")[0]
    return (unit * 255).round().astype(np.uint8)


def round_trip(tiny, pixels):
    """The VAE alone on the still clip, as the documentation of each VAE uses it."""
    vae, family, frames = tiny.pipeline.vae, family_of(tiny.pipeline), tiny.call.num_frames
    if not family.video_vae:
        z = vae.encode(pixels).latent_dist.mode().repeat(frames, 1, 1, 1)
        parameters = inspect.signature(vae.decode).parameters
        extra = {"num_frames": frames} if "num_frames" in parameters else {}
        return vae.decode(z, **extra).sample[None].transpose(1, 2)
    padded = family.encoded_frames(tiny.pipeline, tiny.call)
    still = pixels.unsqueeze(2).repeat(1, 1, padded, 1, 1)
    z = vae.encode(still).latent_dist.mode()
    if padded != frames:
        z = z[:, :, (padded - frames) // tiny.pipeline.vae_scale_factor_temporal :]
    return vae.decode(z).sample[:, :, tiny.dropped :]


@pytest.mark.parametrize("name", FAMILIES)
def test_static_latents_decode_to_the_vaes_own_round_trip(name):
    tiny = tiny_of(name)
    pipeline, call = tiny.pipeline, tiny.call
    static = static_latents(pipeline, [painting(tiny)], call)
    (frames,) = decode_latents(pipeline, static, call)
    pixels = family_of(pipeline).pixels(pipeline, painting(tiny), call)
    with torch.no_grad():
        expected = as_frames(pipeline, round_trip(tiny, pixels))
    assert expected.shape == (call.num_frames - tiny.dropped, call.height, call.width, 3)
    assert frames.shape == expected.shape
    assert np.abs(frames.astype(int) - expected).max() <= 1  # a rounding apart


@pytest.mark.parametrize("name", FAMILIES)
def test_static_latents_are_normalised(name):
    tiny = tiny_of(name)
    pipeline, call = tiny.pipeline, tiny.call
    family, vae = family_of(pipeline), pipeline.vae
    (static,) = static_latents(pipeline, [painting(tiny)], call)
    assert static.dtype == torch.float32
    assert static.device.type == "cpu"
    pixels = family.pixels(pipeline, painting(tiny), call)
    with torch.no_grad():
        if family.video_vae:
            frames = family.encoded_frames(pipeline, call)
            pixels = pixels.unsqueeze(2).repeat(1, 1, frames, 1, 1)
        raw = vae.encode(pixels).latent_dist.mode()
    first_raw = raw[0] if raw.ndim == 4 else raw[0, :, 0]
    if vae.config.get("latents_mean") is not None:
        mean, std = torch.tensor(vae.config.latents_mean), torch.tensor(vae.config.latents_std)
    elif torch.is_tensor(getattr(vae, "latents_mean", None)):
        mean, std = vae.latents_mean, vae.latents_std
    else:
        mean, std = torch.zeros(len(first_raw)), 1 / vae.config["scaling_factor"]
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
    pictures = [painting(tiny, 1), painting(tiny, 2)]
    clips = torch.stack(static_latents(tiny.pipeline, pictures, tiny.call))
    assert torch.equal(family.from_step(family.to_step(clips), clips), clips)


# -- single families


def test_cogvideox_15_pads_its_latent_frames():
    tiny = cogvideox(patch_size_t=2)
    pipeline, call = tiny.pipeline, tiny.call
    (static,) = static_latents(pipeline, [picture(1)], call)
    assert static.shape[0] == 4  # 9 frames are 3 latent frames, padded to 2 temporal patches
    (frames,) = decode_latents(pipeline, [static], call)
    assert frames.shape == (9, 32, 32, 3)


@pytest.mark.parametrize(("name", "native"), [("cogvideox", (32, 32)), ("hunyuan15", (16, 12))])
def test_where_sizes_are_given_the_painting_is_squeezed_and_the_video_stretched_back(name, native):
    tiny = tiny_of(name)
    pipeline, family = tiny.pipeline, family_of(tiny.pipeline)
    call = replace(tiny.call, height=48, width=32)
    computed = family.native(pipeline, call)
    assert (computed.height, computed.width) == native
    wide = picture(1).resize((32, 48))
    baseline, variant = BASELINE, replace(SHORT, variant="V")
    for settings in (baseline, variant):
        real = None
        if settings.distils:
            real = distill_latents(pipeline, [wide], ["a"], [1], settings, call)
        latents = animate_latents(pipeline, [wide], ["a"], [1], real, None, settings, call)
        (frames,) = decode_latents(pipeline, latents, call)
        (small,) = decode_latents(pipeline, latents, computed)
        assert frames.shape == (call.num_frames, 48, 32, 3)
        assert small.shape == (call.num_frames, *native, 3)


@pytest.mark.parametrize("name", ["hunyuan", "hunyuan15", "motif"])
def test_guidance_reaches_families_that_have_another_name_for_it(name):
    tiny = tiny_of(name)
    guider = getattr(tiny.pipeline, "guider", None)
    weak, strong = (
        animate_latents(
            *(tiny.pipeline, [painting(tiny)], ["a"], [1], None, None, BASELINE),
            replace(tiny.call, guidance_scale=scale),
        )[0]
        for scale in (1.5, 6.0)
    )
    assert not torch.allclose(weak, strong)
    assert getattr(tiny.pipeline, "guider", None) is guider


def test_true_guidance_has_a_negative_prompt_without_which_it_would_be_off():
    family = family_of(tiny_of("hunyuan").pipeline)
    asked = family.arguments([picture(1)], ["a"], CallSettings(32, 32, 9, 6.0))
    assert (asked["true_cfg_scale"], asked["negative_prompt"]) == (6.0, "")
    assert "negative_prompt" not in family.arguments([picture(1)], ["a"], CallSettings(32, 32, 9))
    two = ([picture(1), picture(2)], ["a", "b"])
    assert family.arguments(*two, CallSettings(32, 32, 9, 6.0))["negative_prompt"] == ["", ""]
    said = CallSettings(32, 32, 9, 6.0, {"negative_prompt": "blur"})
    assert family.arguments(*two, said)["negative_prompt"] == ["blur", "blur"]


def test_easyanimate_is_given_the_negative_prompt_that_its_call_fails_without():
    family = family_of(tiny_of("easyanimate").pipeline)
    call = CallSettings(32, 32, 9)
    assert family.arguments([picture(1)], ["a"], call)["negative_prompt"] == ""
    own = family.arguments([picture(1)], ["a"], call, [{"negative_prompt": "blur"}])
    assert own["negative_prompt"] == "blur"
    embedded = replace(call, options=text(16, 16, mask=True))
    assert "negative_prompt" not in family.arguments([picture(1)], ["a"], embedded)


def test_easyanimate_without_what_its_call_reads_of_the_vae_is_refused():
    tiny = build("easyanimate")
    config = {name: kept for name, kept in tiny.pipeline.vae.config.items() if "cache" not in name}
    tiny.pipeline.vae._internal_dict = FrozenDict(config)
    with pytest.raises(UnsupportedError, match='add "cache_mag_vae": true'):
        static_latents(tiny.pipeline, [painting(tiny)], tiny.call)


@pytest.mark.parametrize("name", ["wan_vace", "easyanimate"])
def test_only_the_first_frame_of_the_given_video_is_kept(name):
    tiny = tiny_of(name)
    given = family_of(tiny.pipeline).arguments([painting(tiny)], ["a"], tiny.call)
    mask = given.get("mask_video")
    if mask is None:
        mask = torch.stack([torch.tensor(np.asarray(frame)) for frame in given["mask"]])[None, None]
    assert mask.shape[2] == tiny.call.num_frames
    assert not mask[:, :, 0].any()
    assert (mask[:, :, 1:] == 255).all()


def test_few_step_weights_and_too_short_videos_are_refused():
    tiny = build("hunyuan15")
    tiny.pipeline.transformer.register_to_config(use_meanflow=True)
    with pytest.raises(UnsupportedError, match="step-distilled"):
        static_latents(tiny.pipeline, [painting(tiny)], tiny.call)
    tiny = tiny_of("kandinsky5")
    with pytest.raises(UnsupportedError, match=r"num_frames is 9; Kandinsky5.* takes 17 or more"):
        static_latents(tiny.pipeline, [painting(tiny)], replace(tiny.call, num_frames=9))
    with pytest.raises(UnsupportedError, match=r"model\.num_frames is 9; Kandinsky5"):
        check_call(tiny.pipeline, {}, 9, 16)


def test_kandinsky_is_given_the_condition_channels_its_own_call_makes():
    tiny, seen = tiny_of("kandinsky5"), []

    def keep(module, args, kwargs):
        seen.append(kwargs["hidden_states"])

    hook = tiny.pipeline.transformer.register_forward_pre_hook(keep, with_kwargs=True)
    stock_call(tiny, 1, output_type="latent")
    hook.remove()
    family = family_of(tiny.pipeline)
    clips = torch.stack(static_latents(tiny.pipeline, [painting(tiny)], tiny.call))
    packed = family.pack(tiny.pipeline, family.to_step(clips), clips)
    assert packed.shape == seen[0].shape
    assert torch.equal(packed[..., 4:], seen[0][..., 4:])


def test_kandinsky6_distilled_to_few_steps_is_refused():
    tiny = build("kandinsky6")
    tiny.pipeline.scheduler = PiflowScheduler()
    with pytest.raises(UnsupportedError, match="distilled to few steps"):
        static_latents(tiny.pipeline, [painting(tiny)], tiny.call)
    with pytest.raises(UnsupportedError, match="distilled to few steps"):
        check_call(tiny.pipeline, {}, tiny.call.num_frames, 16)


def test_ltx2_sees_the_painting_recompressed_as_its_call_does():
    tiny = tiny_of("ltx2")
    family, plain = family_of(tiny.pipeline), replace(tiny.call, options={"image_crf": 0})
    own, untouched = (
        family.pixels(tiny.pipeline, painting(tiny), call) for call in (tiny.call, plain)
    )
    assert not torch.equal(own, untouched)
    (clip,) = static_latents(tiny.pipeline, [painting(tiny)], tiny.call)
    (stock,) = family.unpack(tiny.pipeline, stock_call(tiny, 2, output_type="latent"), tiny.call)
    torch.testing.assert_close(clip[:, 0], stock[:, 0], rtol=0, atol=1e-4)


def test_subclasses_use_their_base_family():
    pipeline = tiny_of("ltx").pipeline
    derived = type("MyLTX", (type(pipeline),), {})
    instance = derived(**pipeline.components)
    assert family_of(instance) is family_of(pipeline)


class Unheard(DiffusionPipeline):
    """A pipeline nobody registered."""


@pytest.mark.parametrize("name", REFUSED)
def test_a_class_that_is_not_driven_is_refused_with_the_reason(name):
    assert inspect.isclass(getattr(__import__("diffusers"), name))
    pipeline = type(name, (DiffusionPipeline,), {})()
    with pytest.raises(UnsupportedError, match=f"{name} cannot be driven, because it"):
        family_of(pipeline)


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
    assert family.guidance_argument in parameters or hasattr(pipeline, "guider")
    assert family.frames_argument in parameters
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
