"""Each mistake that an implementation could make fails the very check that looks for it.

A mutation exchanges one function of the product for a mistaken one. The check passes without it,
so the failure is the mutation's.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial, wraps
from pathlib import Path
from typing import Any

import animate_anything_stages as stages
import animate_anything_whole as whole
import pytest
import sdxl_refiner_stages as refiner
from animate_anything_case import AnimateAnythingCase
from golden_case import GoldenCase
from kinds import checks_of
from method_mutations import (
    Patch,
    constant_step_size,
    lerp_for_slerp,
    one_angle_for_all_frames,
    one_angle_per_pixel,
    one_update_less,
    rounded_frames,
    weight_of_one,
)
from sdxl_refiner_case import RefinerCase
from torch import Tensor
from watching import watching

from epa_core import fuse
from epa_core.models.animate_anything_unet import MaskedMotionUNet3D
from epa_core.noise_levels import NoiseLevel
from epa_core.proxies.sdxl_refiner import SDXLRefinerProxy
from epa_core.runner import Batch, Draw, Runner

GOLDEN = Path(__file__).parents[1] / "golden"


def _cases() -> list[GoldenCase]:
    return [case for _, _, case in checks_of(GOLDEN) if case is not None]


@pytest.fixture(scope="module")
def animated() -> AnimateAnythingCase:
    return next(case for case in _cases() if isinstance(case, AnimateAnythingCase))


@pytest.fixture(scope="module")
def drawn() -> RefinerCase:
    """A guided call of several paintings."""
    cases = [case for case in _cases() if isinstance(case, RefinerCase)]
    return next(case for case in cases if case.guided and len(case.facts["prompts"]) > 1)


def _ignoring(argument: str) -> Callable[[Patch, AnimateAnythingCase], None]:
    def patch(patch: Patch, case: AnimateAnythingCase) -> None:
        forward = MaskedMotionUNet3D.forward

        @wraps(forward)
        def ignoring(*given: Any, **named: Any) -> Any:
            return forward(*given, **named | {argument: None})

        patch.setattr(MaskedMotionUNet3D, "forward", ignoring)

    return patch


def condition_frame_kept(patch: Patch, case: AnimateAnythingCase) -> None:
    """As many frames as there should be, but from the condition frame on."""
    forward = MaskedMotionUNet3D.forward

    @wraps(forward)
    def keeping(unet: Any, sample: Tensor, *given: Any, **named: Any) -> Any:
        with watching(unet.conv_out) as calls:
            forward(unet, sample, *given, **named)
        frames = calls[0].answer.unflatten(0, (len(sample), -1))
        return (frames[:, :-1].transpose(1, 2),)

    patch.setattr(MaskedMotionUNet3D, "forward", keeping)


def weight_of_signal(patch: Patch, case: AnimateAnythingCase) -> None:
    patch.setattr(NoiseLevel, "weight", property(lambda level: level.a**2))


def slerp_for_lerp(patch: Patch, case: AnimateAnythingCase) -> None:
    own = fuse.fuse
    patch.setattr(fuse, "fuse", lambda real, proxy, axis, *_, **__: own(real, proxy, axis))


def one_noise_for_all(patch: Patch, case: AnimateAnythingCase) -> None:
    own = Runner.noise

    def first_draw(runner: Runner, clips: Tensor, seeds: Sequence[Draw], purpose: str) -> Tensor:
        return own(runner, clips, [Draw(seed.seed, 0) for seed in seeds], purpose)

    patch.setattr(Runner, "noise", first_draw)


def condition_is_the_painting(patch: Patch, case: AnimateAnythingCase) -> None:
    """The proxy's path sees the painting, not the proxy."""
    own, painting = Runner.run, case.images["real"]

    def run(runner: Runner, batch: Batch, *rest: Any) -> Tensor:
        return own(runner, replace(batch, images=[painting] * len(batch.images)), *rest)

    patch.setattr(Runner, "run", run)


def animated_from_the_proxy(patch: Patch, case: AnimateAnythingCase) -> None:
    """The final pass sees the proxy, not the painting."""
    own, proxy = Runner.run, case.images["proxy"]

    def run(runner: Runner, batch: Batch, *rest: Any) -> Tensor:
        if rest[-1:] == ("animate",):
            batch = replace(batch, images=[proxy] * len(batch.images))
        return own(runner, batch, *rest)

    patch.setattr(Runner, "run", run)


def guidance_too_strong(patch: Patch, case: AnimateAnythingCase) -> None:
    own = Runner.run

    def run(runner: Runner, batch: Batch, *rest: Any) -> Tensor:
        scale = (runner.call.guidance_scale or 0.0) + 0.1
        return own(replace(runner, call=replace(runner.call, guidance_scale=scale)), batch, *rest)

    patch.setattr(Runner, "run", run)


def last_level_without_noise(patch: Patch, case: AnimateAnythingCase) -> None:
    own = case.pipeline.scheduler
    changed = type(own).from_config(own.config, final_sigmas_type="zero")
    patch.setattr(case.pipeline, "scheduler", changed)


def other_spacing(patch: Patch, case: AnimateAnythingCase) -> None:
    own = case.pipeline.scheduler
    patch.setattr(
        case.pipeline, "scheduler", type(own).from_config(own.config, timestep_spacing="trailing")
    )


def motion_off_by_one(patch: Patch, case: AnimateAnythingCase) -> None:
    forward = MaskedMotionUNet3D.forward

    @wraps(forward)
    def faster(*given: Any, **named: Any) -> Any:
        return forward(*given, **named | {"motion": named["motion"] + 1})

    patch.setattr(MaskedMotionUNet3D, "forward", faster)


ANIMATED = [
    (_ignoring("mask"), partial(stages.check_unet, mask=True, motion=True), "unet.out.mask_motion"),
    (_ignoring("mask"), partial(stages.check_unet, mask=True, motion=False), "unet.out.mask_nomo"),
    (_ignoring("mask"), stages.check_unet_batch, "unet.b4.out"),
    (_ignoring("motion"), partial(stages.check_unet, mask=True, motion=True), "mask_motion"),
    (_ignoring("motion"), partial(stages.check_unet, mask=False, motion=True), "nomask_motion"),
    (motion_off_by_one, stages.check_unet_batch, "unet.b4.out"),
    (condition_frame_kept, partial(stages.check_unet, mask=True, motion=True), "mask_motion is"),
    (weight_of_one, stages.check_schedule, "schedule.w"),
    (weight_of_one, partial(stages.check_updates, path="real", updates=[-1]), "each update"),
    (weight_of_signal, partial(stages.check_updates, path="real", updates=[0]), "each update"),
    (one_angle_for_all_frames, partial(stages.check_fusion, how="slerp"), "fuse.slerp_fp64"),
    (one_angle_for_all_frames, stages.check_angles, "fuse.theta"),
    (one_angle_for_all_frames, stages.check_half_fusion, "half steps"),
    (one_angle_per_pixel, partial(stages.check_fusion, how="slerp"), "fuse.slerp_fp64"),
    (lerp_for_slerp, partial(stages.check_fusion, how="slerp"), "fuse.slerp_fp64"),
    (slerp_for_lerp, partial(stages.check_fusion, how="lerp"), "fuse.lerp"),
    (slerp_for_lerp, stages.check_half_fusion, "half steps"),
    (one_update_less, partial(stages.check_updates, path="proxy", updates=[-1]), "was not made"),
    (constant_step_size, partial(stages.check_updates, path="real", updates=[1]), "each update"),
    (one_noise_for_all, stages.check_noise, "noise.vsds_proxy"),
    (
        condition_is_the_painting,
        partial(stages.check_updates, path="proxy", updates=[0]),
        "vsds.proxy, each update",
    ),
    (
        guidance_too_strong,
        partial(stages.check_updates, path="real", updates=[0]),
        "vsds.real, each update",
    ),
    (last_level_without_noise, stages.check_schedule, "schedule.sigmas"),
    (other_spacing, stages.check_schedule, "timesteps"),
    (rounded_frames, whole.check_decoding, "share differing"),
    (animated_from_the_proxy, partial(whole.check_variant, recorded="S_fp64"), "S_fp64"),
]


def _fails(case: GoldenCase, check: Callable[[Any], None], patch: Any, sentence: str) -> None:
    check(case.fresh())
    with pytest.MonkeyPatch.context() as monkeypatch:
        patch(monkeypatch, case)
        with pytest.raises(AssertionError) as failure:
            check(case.fresh())
    assert sentence in str(failure.value)


@pytest.mark.parametrize(("patch", "check", "sentence"), ANIMATED)
def test_animate_anything(
    animated: AnimateAnythingCase, patch: Any, check: Any, sentence: str
) -> None:
    _fails(animated, check, patch, sentence)


def _sampling(change: Callable[[Any, Any], Any]) -> Callable[[Patch, RefinerCase], None]:
    """``change`` may alter the maker, and gives the generators to use."""

    def patch(patch: Patch, case: RefinerCase) -> None:
        own = SDXLRefinerProxy._sample

        def sample(maker: Any, images: Any, prompts: Any, generators: Any) -> Any:
            settings = dict(maker.settings)
            try:
                return own(maker, images, prompts, change(maker, generators))
            finally:
                maker.settings = settings

        patch.setattr(SDXLRefinerProxy, "_sample", sample)

    return patch


def _swap_scores(maker: Any, generators: Any) -> Any:
    good, bad = maker.settings["aesthetic_score"], maker.settings["negative_aesthetic_score"]
    maker.settings |= {"aesthetic_score": bad, "negative_aesthetic_score": good}
    return generators


def _one_step_more(maker: Any, generators: Any) -> Any:
    maker.settings["strength"] += 1 / maker.settings["num_inference_steps"]
    return generators


def _guide_more(maker: Any, generators: Any) -> Any:
    maker.settings["guidance_scale"] += 0.1
    return generators


REFINED = [
    (_sampling(_swap_scores), refiner.check_prompt, "time_ids"),
    (_sampling(lambda _, own: [own[0]] * len(own)), refiner.check_start, "start_latents"),
    (_sampling(lambda _, own: own[::-1]), refiner.check_start, "start_latents"),
    (_sampling(_one_step_more), refiner.check_schedule, "steps were made"),
    (_sampling(_guide_more), refiner.check_latents, "eps_raw"),
]


@pytest.mark.parametrize(("patch", "check", "sentence"), REFINED)
def test_sdxl_refiner(drawn: RefinerCase, patch: Any, check: Any, sentence: str) -> None:
    _fails(drawn, check, patch, sentence)
