"""VSDS against its closed form for Gaussian data: the preview, any scheduler, which levels."""

import diffusers
import pytest
import torch
from family_calls import PROMPT, closed_form, distilled, planted
from gaussian_oracle import plant_for_any_scheduler
from tiny_pipelines import build, picture

from epa_core.awakening import EPASettings


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


def test_levels_auto_matches_where_the_schedule_starts_without_signal():
    for name, count in [("cogvideox", 16), ("svd", 16), ("wan21", 16), ("i2vgenxl", 7)]:
        counts = []
        settings = EPASettings(num_inference_steps=10)
        distilled(
            planted(name), settings, on_update=lambda _, state, seen=counts: seen.append(state)
        )
        assert len(counts) == count, name
