"""The last stage in closed form: for Gaussian data the sampler has an exact answer from any t0."""

import math

import pytest
from gaussian_oracle import MU, TAU, plant
from tiny_pipelines import build, picture

from epa_core.awakening import EPASettings, animate_latents, static_latents
from epa_core.families import family_of
from epa_core.noise_levels import nearest
from epa_core.runner import Batch, runner_of

SEED, STEPS = 3, 100
# UniPC is of second order, the others (Euler, DDIM) of first.
TOLERANCE = {"wan21": 0.005, "wan22_5b": 0.005}


@pytest.mark.parametrize(
    ("name", "kappa0"),
    [
        ("wan21", None),
        ("wan21", 3.0),
        ("wan22_5b", None),
        ("cogvideox", None),
        ("cogvideox", 3.0),
        ("svd", None),
        ("svd", 3.0),
        ("i2vgenxl", None),
        ("i2vgenxl", 3.0),
        ("ltx", 3.0),
    ],
)
def test_probability_flow_from_t0(name, kappa0):
    """z = mu + tau / sqrt(a^2 tau^2 + s^2) (x - a mu), x being the fused latent noised to t0."""
    tiny = build(name)
    assert tiny.oracle is not None
    plant(tiny.oracle, tiny.pipeline)
    family, call = family_of(tiny.pipeline), tiny.call
    settings = EPASettings(variant="V", num_inference_steps=STEPS, kappa0=kappa0)
    runner = runner_of(tiny.pipeline, call, STEPS)
    native = runner.plan(Batch([picture(1)], [""], [SEED])).native()
    default = 0 if name == "i2vgenxl" else nearest(native, 14.6)
    level = native[default if kappa0 is None else nearest(native, kappa0)]
    real = static_latents(tiny.pipeline, [picture(1)], call)
    (final,) = animate_latents(
        tiny.pipeline, [picture(1)], [""], [SEED], real, None, settings, call
    )
    z = family.to_step(real[0][None])
    x = level.a * z + level.s * runner.noise(real[0][None], [SEED], "renoise")
    expected = MU + TAU / math.hypot(level.a * TAU, level.s) * (x - level.a * MU)
    keep = slice(1, None) if name == "wan22_5b" else slice(None)  # frame 0 is the condition's
    error = (family.to_step(final[None]) - expected)[:, :, keep]
    assert float(error.norm() / (expected - MU)[:, :, keep].norm()) < TOLERANCE.get(name, 0.06)
