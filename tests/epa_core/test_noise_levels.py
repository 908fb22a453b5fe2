"""Noise levels against each scheduler's own forward process."""

import math

import diffusers
import pytest
import torch

from epa_core.errors import UnsupportedError
from epa_core.noise_levels import (
    NoiseLevel,
    at_kappas,
    levels,
    nearest,
    paper_kappas,
    prediction_type,
    update_count,
)

STEPS = 25
SCHEDULERS = {
    "ddim": lambda: diffusers.DDIMScheduler(timestep_spacing="trailing"),
    "ddim-zero-snr": lambda: diffusers.DDIMScheduler(
        rescale_betas_zero_snr=True, timestep_spacing="trailing", prediction_type="v_prediction"
    ),
    "ddpm": lambda: diffusers.DDPMScheduler(),
    "dpm++": lambda: diffusers.DPMSolverMultistepScheduler(),
    "dpm++-karras": lambda: diffusers.DPMSolverMultistepScheduler(use_karras_sigmas=True),
    "deis": lambda: diffusers.DEISMultistepScheduler(),
    "unipc-flow": lambda: diffusers.UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
    ),
    "euler": lambda: diffusers.EulerDiscreteScheduler(),
    "euler-edm": lambda: diffusers.EulerDiscreteScheduler(
        sigma_max=700.0,
        sigma_min=0.002,
        use_karras_sigmas=True,
        timestep_type="continuous",
        prediction_type="v_prediction",
    ),
    "flow-euler": lambda: diffusers.FlowMatchEulerDiscreteScheduler(shift=7.0),
}


def scheduled(name):
    scheduler = SCHEDULERS[name]()
    scheduler.set_timesteps(STEPS)
    return scheduler


@pytest.mark.parametrize("name", SCHEDULERS)
def test_levels_are_what_the_scheduler_adds_noise_with(name):
    scheduler = scheduled(name)
    z, eps = torch.full((1, 1, 1, 1), 3.0), torch.full((1, 1, 1, 1), -2.0)
    add = getattr(scheduler, "add_noise", None) or scheduler.scale_noise
    for level, t in zip(levels(scheduler), scheduler.timesteps, strict=True):
        if name == "flow-euler":
            expected = scheduler.scale_noise(z, t[None], eps)
        else:
            expected = add(z, eps, t[None])
        mine = level.a * z + level.s * eps
        torch.testing.assert_close(mine, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_kappas_are_met(name):
    scheduler = scheduled(name)
    timesteps, sigmas = at_kappas(scheduler, paper_kappas())
    assert len(timesteps) == 16
    scheduler.timesteps = timesteps
    if sigmas is not None:
        assert len(sigmas) == 17
        assert sigmas[-1] == 0
        scheduler.sigmas = sigmas
    exact = name in ("unipc-flow", "euler-edm", "flow-euler")
    for level, kappa in zip(levels(scheduler), paper_kappas(), strict=True):
        assert level.kappa == pytest.approx(kappa, rel=1e-5 if exact else 0.05)


def test_the_papers_levels():
    kappas = paper_kappas()
    assert len(kappas) == 16
    assert kappas[0] == pytest.approx(14.61, abs=0.01)
    assert kappas[-1] == pytest.approx(1.164, abs=0.001)
    assert list(kappas) == sorted(kappas, reverse=True)
    # The released code's sampler, on Stable Diffusion's betas.
    paper = diffusers.DPMSolverMultistepScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear"
    )
    paper.set_timesteps(STEPS)
    native = [level.kappa for level in levels(paper)[:16]]
    assert native == pytest.approx(list(kappas), rel=1e-4)


def test_weight_is_one_minus_alpha_bar():
    scheduler = scheduled("ddim")
    for level in levels(scheduler):
        alpha_bar = float(scheduler.alphas_cumprod[int(level.timestep)])
        assert level.weight == pytest.approx(1 - alpha_bar, rel=1e-6)
    flow = NoiseLevel(900, 0.1, 0.9)
    assert flow.weight == pytest.approx(0.81 / 0.82)
    assert flow.kappa == pytest.approx(9)


def test_no_signal_is_infinite_noise():
    assert NoiseLevel(1000, 0.0, 1.0).kappa == math.inf
    assert NoiseLevel(1000, 0.0, 1.0).weight == 1


def test_nearest_by_logarithm_and_with_an_infinite_first_level():
    schedule = levels(scheduled("flow-euler"))
    assert schedule[0].kappa == math.inf
    assert schedule[nearest(schedule, 14.6)].kappa == pytest.approx(14.6, rel=0.3)
    assert nearest(schedule, 1e6) == 0
    three = [NoiseLevel(0, 1.0, s) for s in (100.0, 12.0, 1.0)]
    assert nearest(three, 40.0) == 0  # 40 is nearer to 12 by difference, to 100 by ratio


@pytest.mark.parametrize(
    ("steps", "share", "count"),
    [(25, 0.6, 16), (10, 0.6, 7), (25, 0.0, 0), (25, 1.0, 25), (50, 0.58, 30), (1, 0.6, 1)],
)
def test_update_count(steps, share, count):
    assert update_count(steps, share) == count


def test_update_count_refuses_shares_outside_unit_range():
    with pytest.raises(UnsupportedError, match=r"p is 1\.5"):
        update_count(25, 1.5)


def test_prediction_types():
    assert prediction_type(SCHEDULERS["ddim"]()) == "epsilon"
    assert prediction_type(SCHEDULERS["euler-edm"]()) == "v_prediction"
    assert prediction_type(SCHEDULERS["unipc-flow"]()) == "flow"
    assert prediction_type(SCHEDULERS["flow-euler"]()) == "flow"
    with pytest.raises(UnsupportedError, match="EDMEulerScheduler"):
        prediction_type(diffusers.EDMEulerScheduler())
    with pytest.raises(UnsupportedError, match="prediction type None"):
        prediction_type(diffusers.KarrasVeScheduler())
