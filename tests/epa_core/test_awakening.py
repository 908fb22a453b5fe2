"""The whole method on real pipelines at tiny size."""

import functools
import inspect
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_pipelines import BUILDERS, build, ltx, picture

from epa_core.awakening import (
    CallSettings,
    EPASettings,
    animate_latents,
    awaken,
    decode_latents,
    distill_latents,
    static_latents,
)
from epa_core.errors import UnsupportedError
from epa_core.families import family_of
from epa_core.seam import Window, WindowedScheduler, exchange, using

FAMILIES = list(BUILDERS)
BATCHING = ["cogvideox", "ltx", "svd", "cinemo", "preview"]
SHORT = EPASettings(num_inference_steps=4, p=0.5, levels="native")
SEED = 3


@functools.cache
def tiny_of(name):
    return build(name)


def stock_call(tiny, **more):
    """What a user of diffusers would write."""
    call = tiny.call
    given = {"height": call.height, "width": call.width, "num_frames": call.num_frames}
    family = family_of(tiny.pipeline)
    if call.guidance_scale is not None:
        given[family.guidance_argument] = call.guidance_scale
    if "prompt_embeds" not in call.options and family.takes_prompt:
        given["prompt"] = "waves"
    image = {"image": picture(1)}
    if "conditioning_frames" in inspect.signature(type(tiny.pipeline).__call__).parameters:
        image = {"conditioning_frames": [picture(1)], "controlnet_frame_indices": [0]}
    with torch.random.fork_rng():
        torch.manual_seed(SEED)  # some pipelines draw from the global generator too
        return tiny.pipeline(
            generator=torch.Generator().manual_seed(SEED),
            num_inference_steps=SHORT.num_inference_steps,
            **image,
            **given,
            **call.options,
            **more,
        ).frames


@pytest.mark.parametrize("name", FAMILIES)
def test_baseline_is_the_stock_call_bit_for_bit(name):
    tiny = tiny_of(name)
    family = family_of(tiny.pipeline)
    settings = EPASettings(variant="baseline", num_inference_steps=SHORT.num_inference_steps)
    final = animate_latents(
        tiny.pipeline, [picture(1)], ["waves"], [SEED], None, None, settings, tiny.call
    )
    stock = stock_call(tiny, output_type="latent")
    assert torch.equal(final[0], family.unpack(tiny.pipeline, stock, tiny.call)[0])
    (frames,) = decode_latents(tiny.pipeline, final, tiny.call)
    unit = stock_call(tiny, output_type="np")[0]
    cut = name in ("animate_anything", "cinemo")  # as their released code writes
    whole = np.floor if cut else np.round
    assert np.array_equal(frames, whole(unit * 255).astype(np.uint8))


def test_denoising_decoder_of_ltx_decodes_as_the_stock_call():
    tiny = ltx(timestep_conditioning=True)
    settings = EPASettings(variant="baseline", num_inference_steps=SHORT.num_inference_steps)
    final = animate_latents(
        tiny.pipeline, [picture(1)], ["waves"], [SEED], None, None, settings, tiny.call
    )
    (frames,) = decode_latents(tiny.pipeline, final, tiny.call)
    unit = stock_call(tiny, output_type="np")[0]
    assert np.array_equal(frames, (unit * 255).round().astype(np.uint8))
    noisy = replace(tiny.call, options={**tiny.call.options, "decode_timestep": 0.05})
    assert not np.array_equal(decode_latents(tiny.pipeline, final, noisy)[0], frames)


# PIA draws its start sample and then its condition from one generator, so ``latents=`` alone
# changes its condition. The solvers of Wan and AnimateAnything look back at earlier steps, so they
# are exact from step 0 only.
RESTARTS = [
    (name, first)
    for name in FAMILIES
    for first in (0, 2)
    if name != "pia" and not (first and name.startswith(("wan", "animate")))
]


@pytest.mark.parametrize(("name", "first"), RESTARTS)
def test_cut_schedule_on_the_stock_sample_gives_the_stock_latents(name, first):
    """The sample that the stock call has at a step, handed back as ``latents=`` from there on."""
    tiny = tiny_of(name)
    pipeline, family = tiny.pipeline, family_of(tiny.pipeline)
    own, seen = pipeline.scheduler, []
    recorder = exchange(own, WindowedScheduler, Window())
    recorder.__class__ = type("Recorder", (type(own),), {"step": recording(type(own), seen)})
    with using(pipeline, recorder):
        stock = stock_call(tiny, output_type="latent")
    clips = family.unpack(pipeline, stock, tiny.call)
    packed = family.pack(pipeline, seen[first], clips)
    with using(pipeline, exchange(own, WindowedScheduler, Window(first))):
        again = stock_call(tiny, output_type="latent", latents=packed)
    assert torch.equal(again, stock)


def recording(scheduler, seen):
    @functools.wraps(scheduler.step)
    def step(self, model_output, timestep, sample, *args, **kwargs):
        seen.append(sample.clone())
        return scheduler.step(self, model_output, timestep, sample, *args, **kwargs)

    return step


@functools.cache
def both_paths(name):
    tiny = tiny_of(name)
    return distill_latents(
        tiny.pipeline, [picture(1), picture(2)], ["", ""], [1, 2], SHORT, tiny.call
    )


def finals(name, real, proxy, settings=SHORT):
    tiny = tiny_of(name)
    return animate_latents(
        tiny.pipeline, [picture(1)], [""], [SEED], [real], [proxy], settings, tiny.call
    )[0]


@pytest.mark.parametrize("name", [name for name in FAMILIES if name != "preview"])
def test_proxy_changes_the_video(name):
    """At a first step without signal it would not."""
    real, proxy = both_paths(name)
    change = (finals(name, real, proxy) - finals(name, real, real)).abs().max()
    assert float(change) > 0.01


def test_proxy_changes_the_preview():
    real, proxy = both_paths("preview")
    assert not torch.equal(finals("preview", real, proxy), finals("preview", real, real))


@pytest.mark.parametrize("name", ["cogvideox", "ltx"])
def test_without_signal_at_t0_the_proxy_is_lost(name):
    """Why t0 is a noise level: on top of these schedules the fused latent is multiplied by 0."""
    real, proxy = both_paths(name)
    top = EPASettings(num_inference_steps=4, kappa0=1e6)
    assert torch.equal(finals(name, real, proxy, top), finals(name, real, real, top))


@pytest.mark.parametrize("name", BATCHING)
def test_a_batch_of_two_is_two_singles(name):
    tiny = tiny_of(name)
    images, prompts, seeds = [picture(1), picture(2)], ["water", "smoke"], [1, 2]
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


def same(name, one, other):
    if name == "preview":  # elementwise throughout, so nothing is rounded differently
        assert torch.equal(one, other)
    else:
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["i2vgenxl", "svd", "preview"])
def test_global_random_state_is_left_alone_and_does_not_matter(name):
    tiny = tiny_of(name)
    results = []
    for seed in (11, 12):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        results.append(
            distill_latents(tiny.pipeline, [picture(1)], ["a"], [1], SHORT, tiny.call)[0]
        )
        assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(results[0], results[1])


def test_seeds_matter_and_paths_have_their_own_noise():
    tiny = tiny_of("cogvideox")
    run = functools.partial(distill_latents, tiny.pipeline, [picture(1)], [""])
    one, other = (run([seed], SHORT, tiny.call)[0] for seed in (1, 2))
    assert not torch.allclose(one, other)


def test_variants_differ_as_they_should():
    tiny = tiny_of("cogvideox")
    real, proxy = both_paths("cogvideox")
    final = {
        variant: finals(
            "cogvideox", real, proxy, EPASettings(variant=variant, num_inference_steps=4)
        )
        for variant in ("baseline", "V", "S", "V+U", "V+S")
    }
    assert torch.equal(final["S"], final["V+S"])  # they differ in the latents they are given
    for one, other in [("baseline", "V"), ("V", "V+U"), ("V+U", "V+S")]:
        assert not torch.allclose(final[one], final[other])
    only_real = animate_latents(
        tiny.pipeline,
        [picture(1)],
        [""],
        [SEED],
        [real],
        None,
        EPASettings(variant="V", num_inference_steps=4),
        tiny.call,
    )[0]
    assert torch.equal(only_real, final["V"])


def test_latents_cached_in_half_precision_are_noised_in_single():
    real, proxy = (clip.half() for clip in both_paths("cogvideox"))
    assert torch.equal(
        finals("cogvideox", real, proxy), finals("cogvideox", real.float(), proxy.float())
    )


def test_missing_latents_are_named():
    tiny = tiny_of("cogvideox")
    arguments = (tiny.pipeline, [picture(1)], [""], [SEED])
    with pytest.raises(UnsupportedError, match=r"'V\+S' needs the latents of the real path"):
        animate_latents(*arguments, None, None, SHORT, tiny.call)
    static = static_latents(tiny.pipeline, [picture(1)], tiny.call)
    with pytest.raises(UnsupportedError, match=r"'V\+S' needs the latents of the proxy path"):
        animate_latents(*arguments, static, None, SHORT, tiny.call)


def test_nothing_to_do():
    tiny = tiny_of("preview")
    assert distill_latents(tiny.pipeline, [], [], [], SHORT, tiny.call) == []
    assert animate_latents(tiny.pipeline, [], [], [], [], [], SHORT, tiny.call) == []


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("variant", "VS", "variant is 'VS'; allowed are baseline"),
        ("alpha_curve", "flat", "alpha_curve is 'flat'"),
        ("levels", "paper", "levels is 'paper'"),
        ("p", -0.1, "p is -0.1"),
        ("num_inference_steps", 0, "num_inference_steps is 0"),
        ("kappa0", 0.0, "kappa0 is 0.0"),
    ],
)
def test_wrong_settings_stop_before_any_work(field, value, message):
    with pytest.raises(UnsupportedError, match=message):
        EPASettings(**{field: value})


def test_awaken_one_painting_and_a_list():
    pipeline = tiny_of("preview").pipeline
    size = {"height": 32, "width": 40, "num_frames": 3}
    one = awaken(pipeline, picture(1), picture(2), prompt="water", seed=7, settings=SHORT, **size)
    assert one.shape == (3, 32, 40, 3)
    assert one.dtype == np.uint8
    several = awaken(
        pipeline,
        [picture(3), picture(1)],
        [picture(4), picture(2)],
        prompt=["smoke", "water"],
        seed=[8, 7],
        settings=SHORT,
        **size,
    )
    assert np.array_equal(several[1], one)


def test_awaken_sizes_follow_the_painting():
    pipeline = tiny_of("preview").pipeline
    wide = picture(1).resize((64, 32))
    baseline = EPASettings(variant="baseline", num_inference_steps=1)
    frames = awaken(
        pipeline,
        [wide, wide.rotate(90, expand=True)],
        prompt="water",
        settings=baseline,
        num_frames=2,
    )
    assert [clip.shape[1:3] for clip in frames] == [(200, 408), (408, 200)]
    (given,) = awaken(pipeline, [wide], prompt="water", settings=baseline, num_frames=2, width=128)
    assert given.shape[1:3] == (64, 128)


def test_awaken_is_the_sum_of_its_steps_and_passes_options_on():
    tiny = tiny_of("svd")
    call = CallSettings(16, 16, 4, 3.0, {"fps": 7, "motion_bucket_id": 200})
    clips = static_latents(tiny.pipeline, [picture(1, 16), picture(2, 16)], call)
    settings = EPASettings(variant="S", num_inference_steps=3)
    final = animate_latents(
        tiny.pipeline, [picture(1, 16)], [""], [SEED], clips[:1], clips[1:], settings, call
    )
    (expected,) = decode_latents(tiny.pipeline, final, call)
    frames = awaken(
        tiny.pipeline,
        picture(1, 16),
        picture(2, 16),
        prompt="",
        seed=SEED,
        settings=settings,
        num_frames=4,
        height=16,
        width=16,
        guidance_scale=3.0,
        fps=7,
        motion_bucket_id=200,
    )
    assert np.array_equal(frames, expected)


def test_awaken_takes_the_number_of_steps_like_any_pipeline():
    pipeline = tiny_of("preview").pipeline
    run = functools.partial(
        awaken, pipeline, picture(1), prompt="water", height=32, width=32, num_frames=2
    )
    baseline = EPASettings(variant="baseline", num_inference_steps=3)
    by_argument = run(settings=EPASettings(variant="baseline"), num_inference_steps=3)
    assert np.array_equal(run(settings=baseline), by_argument)


def test_lists_of_different_lengths_are_refused():
    tiny = tiny_of("preview")
    with pytest.raises(ValueError, match="2 images were given with 1 prompts and 1 seeds"):
        distill_latents(tiny.pipeline, [picture(1)] * 2, ["a"], [1], SHORT, tiny.call)


@pytest.mark.parametrize("name", ["wan21", "cogvideox", "svd", "i2vgenxl"])
def test_half_precision_pipelines_keep_float32_state(name):
    tiny = build(name)
    tiny.pipeline.to(torch.bfloat16)
    embeds = {
        key: value.bfloat16() if torch.is_tensor(value) else value
        for key, value in tiny.call.options.items()
    }
    call = replace(tiny.call, options=embeds)
    run = functools.partial(distill_latents, tiny.pipeline, [picture(1)], [""], [1], SHORT, call)
    (half,) = run()
    (full,) = distill_latents(tiny_of(name).pipeline, [picture(1)], [""], [1], SHORT, tiny.call)
    assert half.dtype == torch.float32
    assert not torch.equal(half, half.bfloat16().float())
    error = (half - full).norm() / (full - full.mean()).norm()
    assert float(error) < 0.1
    final = animate_latents(
        tiny.pipeline, [picture(1)], [""], [1], [half], [half.flip(-1)], SHORT, call
    )
    assert final[0].isfinite().all()


def test_awaken_without_the_proxy_it_needs():
    with pytest.raises(UnsupportedError, match=r"needs one proxy per painting"):
        awaken(tiny_of("preview").pipeline, picture(1), prompt="water")
