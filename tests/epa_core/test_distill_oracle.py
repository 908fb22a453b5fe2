"""VSDS in real pipelines against its closed form for Gaussian data, and resuming it."""

import functools

import diffusers
import pytest
import torch
from gaussian_oracle import MU, plant, plant_for_any_scheduler, predicted
from tiny_pipelines import build, picture

from epa_core.awakening import EPASettings, distill_latents, static_latents
from epa_core.distill import alphas
from epa_core.families import family_of
from epa_core.noise_levels import paper_kappas
from epa_core.runner import Batch, runner_of

FAMILIES = [
    "wan21",
    "wan22",
    "wan22_5b",
    "cogvideox",
    "ltx",
    "svd",
    "i2vgenxl",
    "sparsectrl",
    "pia",
    "cinemo",
]
SEED, PROMPT = 5, "water"


@functools.cache
def planted(name):
    tiny = build(name)
    plant(name, tiny.pipeline)
    return tiny


@functools.cache
def fresh(name):
    return build(name)


def closed_form(tiny, settings, **gaussian):
    """The clip that VSDS should give, from the planned levels and the noise of the path."""
    family = family_of(tiny.pipeline)
    runner = runner_of(tiny.pipeline, tiny.call, settings.num_inference_steps)
    planned = runner.plan(Batch([picture(1)], [PROMPT], [SEED]))
    matched = settings.levels == "matched"
    schedule = planned.matched(paper_kappas()) if matched else planned.native()[:16]
    static = static_latents(tiny.pipeline, [picture(1)], tiny.call)[0][None]
    eps = runner.noise(static, [SEED], "vsds")
    curve = alphas(settings.alpha_curve, 16)
    z = predicted(family.to_step(static), eps, schedule, curve, **gaussian)
    return static[0], family.from_step(z.float(), static)[0]


def distilled(tiny, settings, **more):
    (clip,) = distill_latents(
        tiny.pipeline, [picture(1)], [PROMPT], [SEED], settings, tiny.call, **more
    )
    return clip


@pytest.mark.parametrize("levels_", ["native", "matched"])
@pytest.mark.parametrize("name", FAMILIES)
def test_gaussian_oracle(name, levels_):
    tiny, settings = planted(name), EPASettings(levels=levels_)
    static, expected = closed_form(tiny, settings)
    refined = distilled(tiny, settings)
    assert refined.dtype == torch.float32
    torch.testing.assert_close(refined, expected, rtol=0, atol=1e-5)
    # The oracle must have moved the clip, or it would prove nothing.
    to_step = family_of(tiny.pipeline).to_step
    before, after = ((to_step(clip[None]) - MU).square().mean() for clip in (static, refined))
    assert after < before / 2


@pytest.mark.parametrize("levels_", ["native", "matched"])
def test_gaussian_oracle_of_the_preview(levels_):
    """Its own denoiser is exact, for a mean that differs from latent to latent."""
    tiny, settings = build("preview"), EPASettings(levels=levels_)
    call = tiny.call
    size = (call.width, call.height)
    mu = tiny.pipeline._mean([picture(1)], [PROMPT], size, call.num_frames).double()
    tau = tiny.pipeline.denoiser.config.tau
    static, expected = closed_form(tiny, settings, mu=mu, tau=tau)
    refined = distilled(tiny, settings)
    torch.testing.assert_close(refined, expected, rtol=0, atol=1e-5)
    assert not torch.allclose(refined, static, atol=1e-3)


SCHEDULERS = {
    "ddim-sample": lambda: diffusers.DDIMScheduler(prediction_type="sample", clip_sample=False),
    "ddpm": lambda: diffusers.DDPMScheduler(clip_sample=False),
    "dpm++": lambda: diffusers.DPMSolverMultistepScheduler(),
    "dpm++-sde-karras": lambda: diffusers.DPMSolverMultistepScheduler(
        algorithm_type="sde-dpmsolver++", use_karras_sigmas=True
    ),
    "dpm++-single": lambda: diffusers.DPMSolverSinglestepScheduler(),
    "unipc": lambda: diffusers.UniPCMultistepScheduler(prediction_type="v_prediction"),
    "deis": lambda: diffusers.DEISMultistepScheduler(),
    "pndm": lambda: diffusers.PNDMScheduler(skip_prk_steps=True),
    "lcm": lambda: diffusers.LCMScheduler(),
    "euler": lambda: diffusers.EulerDiscreteScheduler(),
    "euler-v": lambda: diffusers.EulerDiscreteScheduler(prediction_type="v_prediction"),
    "euler-ancestral": lambda: diffusers.EulerAncestralDiscreteScheduler(),
    "lms": lambda: diffusers.LMSDiscreteScheduler(),
}


@pytest.mark.parametrize("levels_", ["native", "matched"])
@pytest.mark.parametrize("name", SCHEDULERS)
def test_gaussian_oracle_with_any_scheduler(name, levels_):
    tiny = build("i2vgenxl")
    tiny.pipeline.scheduler = SCHEDULERS[name]()
    plant_for_any_scheduler(tiny.pipeline)
    settings = EPASettings(levels=levels_)
    _, expected = closed_form(tiny, settings)
    torch.testing.assert_close(distilled(tiny, settings), expected, rtol=0, atol=1e-5)


def test_odd_number_of_updates():
    tiny, settings = planted("cogvideox"), EPASettings(num_inference_steps=10, levels="native")
    seen = []
    distilled(tiny, settings, on_update=lambda first, state: seen.append((first, state.update)))
    assert seen == [(0, update) for update in range(1, 8)]


@pytest.mark.parametrize("levels_", ["native", "matched"])
@pytest.mark.parametrize("name", FAMILIES)
def test_resumed_midway_gives_the_same_bits(name, levels_):
    tiny = fresh(name)
    settings = EPASettings(num_inference_steps=20, p=0.15, levels=levels_)  # 4 updates
    states = []
    whole = distilled(tiny, settings, on_update=lambda first, state: states.append(state))
    assert torch.equal(whole, distilled(tiny, settings, resume={0: states[1]}))
    assert torch.equal(whole, distilled(tiny, settings, resume={0: states[-1]}))


def test_levels_auto_matches_where_the_schedule_starts_without_signal():
    for name, count in [("cogvideox", 16), ("svd", 16), ("wan21", 16), ("i2vgenxl", 7)]:
        counts = []
        settings = EPASettings(num_inference_steps=10)
        distilled(
            planted(name), settings, on_update=lambda _, state, seen=counts: seen.append(state)
        )
        assert len(counts) == count, name
