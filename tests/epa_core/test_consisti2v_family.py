"""ConsistI2V in the method: its frame 0, its noise, what it draws, its closed form."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from gaussian_oracle import exact_output, predicted
from tiny_consisti2v import write_released_checkpoint
from tiny_pipelines import picture

from epa_core.awakening import (
    CallSettings,
    EPASettings,
    animate_latents,
    awaken,
    check_call,
    decode_latents,
    distill_latents,
    path_seeds,
    static_latents,
    unread,
)
from epa_core.cards import load_model, model_card
from epa_core.distill import VSDSState, alphas, noised
from epa_core.errors import UnsupportedError
from epa_core.families import family_of
from epa_core.models.consisti2v_inputs import clip_noise
from epa_core.runner import Batch, Draw, runner_of

CALL = CallSettings(32, 32, 4)
SETTINGS = EPASettings(num_inference_steps=4)
PAINTINGS = [picture(seed) for seed in (1, 2, 3)]


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = write_released_checkpoint(tmp_path_factory.mktemp("released"))
    return load_model("consisti2v", source=str(folder))


def test_the_card_agrees_with_the_family(pipeline: Any) -> None:
    card, family = model_card("consisti2v"), family_of(pipeline)
    assert (card.area, card.multiple) == (family.area(pipeline), family.size_multiple(pipeline))
    assert (card.num_frames, card.fps) == (family.num_frames(pipeline), 8)
    assert list(card.per_work) == list(family.per_painting) == ["negative_prompt"]


def test_frame_0_is_the_painting_at_every_stage(pipeline: Any) -> None:
    (static,) = static_latents(pipeline, PAINTINGS[:1], CALL)
    first = pipeline.encode_images(PAINTINGS[:1], (32, 32))[0]
    assert torch.equal(static, first.repeat(1, 4, 1, 1))
    real, proxy = distill_latents(pipeline, PAINTINGS[:2], ["", ""], [1, 2], SETTINGS, CALL)
    assert torch.equal(real[:, 0], first[:, 0])
    assert not torch.allclose(real[:, 1:], static[:, 1:])
    (final,) = animate_latents(pipeline, PAINTINGS[:1], [""], [1], [real], [proxy], SETTINGS, CALL)
    assert torch.equal(final[:, 0], first[:, 0])


def test_vsds_has_its_closed_form(tmp_path: Any) -> None:
    pipeline = load_model("consisti2v", source=str(write_released_checkpoint(tmp_path)))

    def forward(clips: torch.Tensor, timestep: torch.Tensor, **_: Any) -> tuple[torch.Tensor]:
        alpha_bar = float(pipeline.scheduler.alphas_cumprod[int(timestep[0])])
        level = math.sqrt(alpha_bar), math.sqrt(1 - alpha_bar)
        return (exact_output("epsilon", clips, *level),)

    pipeline.unet.forward = forward
    settings = EPASettings()
    (clip,) = distill_latents(pipeline, PAINTINGS[:1], [""], [5], settings, CALL)
    runner = runner_of(pipeline, CALL, 25)
    schedule = runner.plan(Batch(PAINTINGS[:1], [""], [5])).native()[:16]
    static = static_latents(pipeline, PAINTINGS[:1], CALL)[0][None]
    eps = runner.noise(static, [5], "vsds")
    wanted = predicted(static[:, :, 1:], eps, schedule, alphas(settings.alpha_curve, 16))
    torch.testing.assert_close(clip[:, 1:], wanted[0].float(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_resumed_in_the_middle_it_is_the_same_bit_for_bit(pipeline: Any, scale: float) -> None:
    call = CallSettings(32, 32, 4, options={"image_guidance_scale": scale})
    states: list[VSDSState] = []
    given = (pipeline, PAINTINGS[:1], ["the sea"], [1], SETTINGS, call)
    (whole,) = distill_latents(*given, on_update=lambda _, state: states.append(state))
    assert len(states) == 3
    (resumed,) = distill_latents(*given, resume={0: states[0]})
    assert torch.equal(whole, resumed)


@pytest.mark.parametrize("variant", ["baseline", "V", "V+S"])
@pytest.mark.parametrize(
    "options",
    [{}, {"image_guidance_scale": 1.5}, {"frame_init": "fused", "sample_posterior": True}],
    ids=["text", "three-way", "fused"],
)
def test_a_batch_is_its_singles(pipeline: Any, variant: Any, options: dict[str, Any]) -> None:
    prompts, extras = ["the sea", "clouds drift"], [{"negative_prompt": "boat"}, {}]
    size = {"height": 32, "width": 32, "num_frames": 4, **options}
    size["settings"] = EPASettings(variant=variant, num_inference_steps=3)
    proxies = PAINTINGS[1:]
    together = awaken(
        pipeline, PAINTINGS[:2], proxies, prompt=prompts, seed=[1, 2], extras=extras, **size
    )
    for index in range(2):
        given = {"prompt": prompts[index], "seed": index + 1, **size}
        alone = awaken(pipeline, PAINTINGS[index], proxies[index], **given, extras=[extras[index]])
        assert np.abs(together[index].astype(int) - alone).max() <= 2
        other = awaken(pipeline, PAINTINGS[index], proxies[index], **{**given, "seed": 9})
        assert np.abs(other.astype(int) - alone).max() > 2


def test_the_fused_clip_is_renoised_whole(pipeline: Any) -> None:
    clip = torch.randn(4, 4, 4, 4, generator=torch.Generator().manual_seed(1))
    family, runner = family_of(pipeline), runner_of(pipeline, CALL, 4)
    noise = runner.renoising_noise(clip[None], [Draw(3, 0)])
    assert noise.shape == (1, 4, 4, 4, 4)
    level = runner.plan(Batch(PAINTINGS[:1], [""], [5])).native()[0]
    start = family.renoised(pipeline, clip[None], noise, level, CALL)
    assert torch.equal(start, noised(clip[None], noise, level)[:, :, 1:])


@pytest.mark.parametrize("kind", ["pyoco_mixed", "vanilla"])
def test_renoised_by_frame_init_it_keeps_what_is_high_of_the_noise(
    pipeline: Any, kind: Any
) -> None:
    clip = torch.randn(4, 4, 4, 4, generator=torch.Generator().manual_seed(1))
    options = {"frame_init": "fused", "noise": kind, "noise_alpha": 2.0}
    # Limits so low that nothing but noise is left.
    call = CallSettings(32, 32, 4, options={**options, "frame_init_spatial": 0.0})
    family, runner = family_of(pipeline), runner_of(pipeline, call, 4)
    noise = runner.renoising_noise(clip[None], [Draw(3, 0)])
    wanted = clip_noise(kind, 2.0, clip.shape, torch.Generator().manual_seed(3))
    assert torch.equal(noise, wanted)
    level = runner.plan(Batch(PAINTINGS[:1], [""], [5])).native()[0]
    start = family.renoised(pipeline, clip[None], noise, level, call)
    torch.testing.assert_close(start, wanted[:, :, 1:], rtol=0, atol=1e-5)
    call = CallSettings(32, 32, 4, options=options)
    assert not torch.allclose(
        family.renoised(pipeline, clip[None], noise, level, call), start, atol=1e-2
    )


def test_one_stream_draws_each_noise_behind_the_one_before(pipeline: Any) -> None:
    """Three frames for each path, then all four for re-noising, none passed over."""
    clip, seeds = torch.zeros(4, 4, 4, 4), path_seeds(7, EPASettings(one_stream=True))
    runner = runner_of(pipeline, CALL, 4)
    stream = torch.Generator().manual_seed(7)
    for seed in seeds[:2]:
        found = runner.noise(clip[None], [seed], "vsds")
        assert torch.equal(found, torch.randn(1, 4, 3, 4, 4, generator=stream))
    found = runner.renoising_noise(clip[None], [seeds.final])
    assert torch.equal(found, torch.randn(1, 4, 4, 4, 4, generator=stream))


def test_frames_are_cut_to_whole_levels(pipeline: Any) -> None:
    latents = torch.randn(4, 4, 4, 4, generator=torch.Generator().manual_seed(1))
    (frames,) = decode_latents(pipeline, [latents], CALL)
    unit = pipeline.decode_latents(latents[None])[0].permute(1, 2, 3, 0) * 0.5 + 0.5
    assert np.array_equal(frames, np.floor(unit.clamp(0, 1).numpy() * 255))


def test_what_the_call_does_not_read_is_told(pipeline: Any) -> None:
    assert unread(pipeline, "the waves roll " * 40 + "boat").endswith("boat")


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "stride": (
        {"frame_stride": 0},
        "frame_stride is 0; use a whole number of at least 1",
    ),
    "half": ({"frame_stride": 2.5}, r"frame_stride is 2\.5; use a whole number"),
    "image": ({"image_guidance_scale": -1}, "image_guidance_scale is -1; use a number of at"),
    "words": ({"noise_alpha": "much"}, "noise_alpha is 'much'; use a number of at least 0"),
    "truth": ({"eta": True}, "eta is True; use a number of at least 0"),
    "nan": ({"eta": float("nan")}, "eta is nan; use a number of at least 0"),
    "noise": ({"noise": "pink"}, "noise is 'pink'; use pyoco_mixed, vanilla"),
    "init": ({"frame_init": True}, "frame_init is True; use still, fused, off"),
    "filter": ({"frame_init_filter": "hat"}, "frame_init_filter is 'hat'; use gaussian"),
    "level": ({"frame_init_timestep": 1000}, "frame_init_timestep is 1000; use a whole number"),
    "both": (
        {"guidance_rescale": 0.7, "image_guidance_scale": 2},
        r"guidance_rescale is 0\.7 with image_guidance_scale 2; .*use one of them",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_wrong_options_are_refused_in_a_sentence(pipeline: Any, what: str) -> None:
    options, message = WRONG[what]
    with pytest.raises(UnsupportedError, match=message):
        check_call(pipeline, options, 4, 8)
    with pytest.raises(UnsupportedError, match=message):
        static_latents(pipeline, PAINTINGS[:1], CallSettings(32, 32, 4, options=options))


def test_a_clip_of_one_frame_or_of_half_patches_is_refused(pipeline: Any) -> None:
    with pytest.raises(UnsupportedError, match=r"num_frames is 1; ConsistI2V.* takes 2 or more"):
        static_latents(pipeline, PAINTINGS[:1], CallSettings(32, 32, 1))
    with pytest.raises(UnsupportedError, match=r"width is 36; .* multiples of 8"):
        static_latents(pipeline, PAINTINGS[:1], CallSettings(32, 36, 4))
