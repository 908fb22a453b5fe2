"""VSDS in real pipelines against its closed form for Gaussian data, and resuming it."""

import functools

import pytest
import torch
from gaussian_oracle import MU, plant, predicted
from tiny_pipelines import build, picture

from epa_core.awakening import EPASettings, distill_latents, static_latents
from epa_core.distill import alphas
from epa_core.families import family_of
from epa_core.noise_levels import paper_kappas
from epa_core.runner import Batch, runner_of

FAMILIES = ["wan21", "wan22", "wan22_5b", "cogvideox", "ltx", "svd", "i2vgenxl"]
SEED = 5


@functools.cache
def planted(name):
    tiny = build(name)
    plant(name, tiny.pipeline)
    return tiny


@functools.cache
def fresh(name):
    return build(name)


def closed_form(tiny, settings):
    """The clip that VSDS should give, from the planned levels and the noise of the path."""
    family = family_of(tiny.pipeline)
    runner = runner_of(tiny.pipeline, tiny.call, settings.num_inference_steps)
    batch = Batch([picture(1)], [""], [SEED])
    planned = runner.plan(batch)
    matched = settings.levels == "matched"
    schedule = planned.matched(paper_kappas()) if matched else planned.native()[:16]
    static = static_latents(tiny.pipeline, [picture(1)], tiny.call)[0][None]
    eps = runner.noise(static, [SEED], "vsds")
    z = predicted(family.to_step(static), eps, schedule, alphas(settings.alpha_curve, 16))
    return static[0], family.from_step(z.float(), static)[0]


@pytest.mark.parametrize("levels_", ["native", "matched"])
@pytest.mark.parametrize("name", FAMILIES)
def test_gaussian_oracle(name, levels_):
    tiny, settings = planted(name), EPASettings(levels=levels_)
    static, expected = closed_form(tiny, settings)
    (refined,) = distill_latents(tiny.pipeline, [picture(1)], [""], [SEED], settings, tiny.call)
    assert refined.dtype == torch.float32
    torch.testing.assert_close(refined, expected, rtol=0, atol=1e-5)
    # The oracle must have moved the clip, or it would prove nothing.
    to_step = family_of(tiny.pipeline).to_step
    before, after = ((to_step(clip[None]) - MU).square().mean() for clip in (static, refined))
    assert after < before / 2


def test_odd_number_of_updates():
    tiny, settings = planted("cogvideox"), EPASettings(num_inference_steps=10, levels="native")
    seen = []
    distill_latents(
        tiny.pipeline,
        [picture(1)],
        [""],
        [SEED],
        settings,
        tiny.call,
        on_update=lambda first, state: seen.append((first, state.update)),
    )
    assert seen == [(0, update) for update in range(1, 8)]


@pytest.mark.parametrize("levels_", ["native", "matched"])
@pytest.mark.parametrize("name", FAMILIES)
def test_resumed_midway_gives_the_same_bits(name, levels_):
    tiny = fresh(name)
    settings = EPASettings(num_inference_steps=8, p=0.5, levels=levels_)
    arguments = (tiny.pipeline, [picture(1)], [""], [SEED], settings, tiny.call)
    states = []
    (whole,) = distill_latents(*arguments, on_update=lambda first, state: states.append(state))
    (resumed,) = distill_latents(*arguments, resume={0: states[2]})
    assert torch.equal(whole, resumed)
    (done,) = distill_latents(*arguments, resume={0: states[-1]})
    assert torch.equal(whole, done)


def test_levels_auto_matches_where_the_schedule_starts_without_signal():
    for name, matched in [("cogvideox", True), ("svd", True), ("wan21", True), ("i2vgenxl", False)]:
        tiny, counts = planted(name), []
        settings = EPASettings(num_inference_steps=10)
        distill_latents(
            tiny.pipeline,
            [picture(1)],
            [""],
            [SEED],
            settings,
            tiny.call,
            on_update=lambda first, state, counts=counts: counts.append(state.update),
        )
        assert counts[-1] == (16 if matched else 7), name
