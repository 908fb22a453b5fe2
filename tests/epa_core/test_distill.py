"""VSDS: step sizes, one update in every parameterisation, and what is refused."""

import functools
from dataclasses import replace

import diffusers
import numpy as np
import pytest
import torch
from tiny_pipelines import build, picture

from epa_core.awakening import EPASettings, distill_latents
from epa_core.distill import VSDSState, alphas, clip_alpha, distill, residual, vsds
from epa_core.errors import UnsupportedError
from epa_core.noise_levels import NoiseLevel
from epa_core.seam import Window, WindowedScheduler, exchange, plan, using

SHAPE = (1, 4, 3, 2, 2)


def random(seed):
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_stepwise_decreasing_is_the_papers_curve():
    curve = alphas("stepwise-decreasing", 16)
    assert curve[:8] == pytest.approx(np.linspace(10, 1, 8).tolist())
    assert curve[8:] == (1.0,) * 8


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7, 15, 16])
def test_every_curve_has_one_alpha_per_update(count):
    for name in ("stepwise-decreasing", "linear-decreasing"):
        falling = alphas(name, count)
        rising = alphas(name.replace("decreasing", "increasing"), count)
        assert len(falling) == count
        assert list(falling) == sorted(falling, reverse=True)
        assert rising == falling[::-1]


def test_odd_counts_stay_at_the_last_value():
    assert alphas("stepwise-decreasing", 7) == pytest.approx([10, 5.5, 1, 1, 1, 1, 1])
    assert alphas("linear-decreasing", 4) == pytest.approx([10, 7, 4, 1])


def test_unknown_curve_is_refused():
    with pytest.raises(UnsupportedError, match="alpha_curve is 'cosine'"):
        alphas("cosine", 4)


@pytest.mark.parametrize("kappa", [0.1, 1.0, 14.6, 700.0])
def test_no_update_overshoots(kappa):
    level = NoiseLevel(0, 1 / np.hypot(1, kappa), kappa / np.hypot(1, kappa))
    gain = clip_alpha(10.0, level) * kappa / (1 + kappa**2)
    assert gain <= 1 + 1e-12
    assert clip_alpha(0.5, level) == 0.5


@pytest.mark.parametrize("kappa", [0.3, 1.164, 14.61, 700.0])
def test_every_parameterisation_makes_the_same_update(kappa):
    """One estimate of the clean clip, told in five ways, on VP, EDM and flow marginals."""
    z, eps, z0 = random(1), random(2), random(3)
    norm = float(np.hypot(1, kappa))
    vp = NoiseLevel(0, 1 / norm, kappa / norm)
    edm = NoiseLevel(0, 1.0, kappa)
    flow = NoiseLevel(0, 1 / (1 + kappa), kappa / (1 + kappa))
    alpha = 0.9
    gain = alpha * kappa / (1 + kappa**2)

    def eps_theta(level):
        return (level.a * z + level.s * eps - level.a * z0) / level.s

    outputs = [
        ("epsilon", eps_theta(vp), vp),
        ("v_prediction", vp.a * eps_theta(vp) - vp.s * z0, vp),
        ("epsilon", eps_theta(edm), edm),
        ("v_prediction", (eps_theta(edm) - kappa * z0) / norm, edm),
        ("flow", eps_theta(flow) - z0, flow),
        ("sample", z0, vp),
        ("sample", z0, flow),
    ]
    for kind, output, level in outputs:
        update = vsds(kind, output, z, eps, level, alpha)
        torch.testing.assert_close(update, z - gain * (z - z0), rtol=1e-9, atol=1e-9)


def test_no_division_by_zero_signal():
    z, eps, out = random(1), random(2), random(3)
    top = NoiseLevel(1000, 0.0, 1.0)
    for kind in ("v_prediction", "flow", "sample"):
        assert torch.equal(residual(kind, out, z, eps, top), torch.zeros(SHAPE).double())
        assert torch.equal(vsds(kind, out, z, eps, top, 10.0), z)


def test_a_level_without_noise_changes_nothing():
    z, eps, out = random(1), random(2), random(3)
    for kind in ("epsilon", "v_prediction", "flow", "sample"):
        assert torch.equal(vsds(kind, out, z, eps, NoiseLevel(0, 1.0, 0.0), 10.0), z)


@pytest.mark.parametrize("scheduler", ["DDIMScheduler", "EulerDiscreteScheduler"])
def test_noise_predicted_without_signal_is_not_distilled(scheduler):
    tiny = build("sparsectrl")
    pipeline = tiny.pipeline
    pipeline.scheduler = getattr(diffusers, scheduler).from_config(
        pipeline.scheduler.config, rescale_betas_zero_snr=True, timestep_spacing="trailing"
    )
    run = functools.partial(distill_latents, pipeline, [picture(1)], [""], [1], call=tiny.call)
    settings = EPASettings(num_inference_steps=4, p=0.5)
    with pytest.raises(UnsupportedError, match=r"starts without signal.*use 'auto' or 'matched'"):
        run(settings=replace(settings, levels="native"))
    (clip,) = run(settings=settings)
    assert clip.isfinite().all()


HEUN = [
    diffusers.HeunDiscreteScheduler,
    diffusers.KDPM2DiscreteScheduler,
    diffusers.FlowMatchHeunDiscreteScheduler,
]


@pytest.mark.parametrize("scheduler", HEUN)
def test_heun_type_schedulers_are_refused(scheduler):
    tiny = build("ltx")
    tiny.pipeline.scheduler = scheduler()
    with pytest.raises(UnsupportedError, match=r"Heun type.*use a scheduler of order 1"):
        plan(tiny.pipeline, lambda: None)


def test_exchanged_scheduler_keeps_class_config_and_signature():
    import inspect

    stock = diffusers.FlowMatchEulerDiscreteScheduler(shift=7.0)
    mine = exchange(stock, WindowedScheduler, Window())
    assert isinstance(mine, diffusers.FlowMatchEulerDiscreteScheduler)
    assert mine.config == stock.config
    assert inspect.signature(mine.set_timesteps) == inspect.signature(stock.set_timesteps)
    assert mine.init_noise_sigma == 1
    assert type(stock) is diffusers.FlowMatchEulerDiscreteScheduler


def test_window_cuts_timesteps_and_sigmas():
    stock = diffusers.EulerDiscreteScheduler()
    stock.set_timesteps(10)
    mine = exchange(diffusers.EulerDiscreteScheduler(), WindowedScheduler, Window(3, 7))
    mine.set_timesteps(10)
    assert torch.equal(mine.timesteps, stock.timesteps[3:7])
    assert torch.equal(mine.sigmas, stock.sigmas[3:8])


def test_an_unplanned_schedule_is_refused():
    stock = diffusers.DDIMScheduler()
    expected = [NoiseLevel(1.0, 0.5, 0.5)] * 10
    mine = exchange(stock, WindowedScheduler, Window(expected=expected))
    with pytest.raises(RuntimeError, match="differs from the planned"):
        mine.set_timesteps(10)


def test_own_scheduler_comes_back_after_an_error():
    pipeline = build("ltx").pipeline
    own = pipeline.scheduler
    with pytest.raises(KeyError), using(pipeline, exchange(own, WindowedScheduler, Window())):
        raise KeyError
    assert pipeline.scheduler is own


def test_a_wrong_sample_shape_is_refused():
    pipeline = build("ltx").pipeline
    state = VSDSState(torch.zeros(1, 2), torch.zeros(1, 2))

    def call(x):
        pipeline.scheduler.set_timesteps(2)
        for t in pipeline.scheduler.timesteps:
            pipeline.scheduler.step(torch.zeros(1, 3), t, torch.zeros(1, 3))

    pipeline.scheduler = diffusers.DDIMScheduler()
    schedule = plan(pipeline, lambda: pipeline.scheduler.set_timesteps(2)).native()
    with pytest.raises(UnsupportedError, match="register a family"):
        distill(pipeline, call, state, schedule, (1.0, 1.0))


def test_a_pipeline_that_skips_steps_is_refused():
    pipeline = build("ltx").pipeline
    pipeline.scheduler = diffusers.DDIMScheduler()
    state = VSDSState(torch.zeros(1, 2), torch.zeros(1, 2))
    schedule = plan(pipeline, lambda: pipeline.scheduler.set_timesteps(2)).native()
    with pytest.raises(UnsupportedError, match="made 0 of 2 scheduler steps"):
        distill(
            pipeline, lambda x: pipeline.scheduler.set_timesteps(2), state, schedule, (1.0, 1.0)
        )
    with pytest.raises(UnsupportedError, match="never calls its scheduler's set_timesteps"):
        plan(pipeline, lambda: None)
