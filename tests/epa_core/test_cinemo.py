"""Cinemo's pipeline and what it is in the method."""

from typing import Any

import numpy as np
import pytest
import torch
from tiny_cinemo import tiny_cinemo
from tiny_pipelines import picture

from epa_core.awakening import (
    CallSettings,
    EPASettings,
    awaken,
    check_call,
    decode_latents,
    static_latents,
)
from epa_core.cards import model_card
from epa_core.errors import UnsupportedError
from epa_core.families import family_of
from epa_core.levers import Levers
from epa_core.loading import place

CALL: dict[str, Any] = {"height": 16, "width": 32, "num_frames": 4, "num_inference_steps": 2}
PAINTINGS = [picture(seed).resize((32, 16)) for seed in (1, 2)]


@pytest.fixture(scope="module")
def pipeline() -> Any:
    return tiny_cinemo()


def latents_of(pipeline: Any, *seeds: int, **given: Any) -> Any:
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    usual = {"image": PAINTINGS[0], "prompt": "the sea", "output_type": "latent"}
    return pipeline(**{**CALL, **usual, **given}, generator=generators).frames


def test_the_card_agrees_with_the_family(pipeline: Any) -> None:
    card, family = model_card("cinemo"), family_of(pipeline)
    assert (card.area, card.multiple) == (family.area(pipeline), family.size_multiple(pipeline))
    assert card.num_frames == family.num_frames(pipeline) == 16


def test_two_paintings_together_are_two_alone(pipeline: Any) -> None:
    given: dict[str, Any] = {
        "prompt": ["the sea", "clouds"],
        "negative_prompt": ["boat", None],
        "motion_bucket_id": [95, 20],
        "motion_strength": [None, 30.0],
    }
    both = latents_of(pipeline, 1, 2, image=PAINTINGS, **given)
    for index in range(2):
        own = {name: values[index] for name, values in given.items()}
        alone = latents_of(pipeline, index + 1, image=PAINTINGS[index], **own)
        torch.testing.assert_close(both[index : index + 1], alone, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(both[0], both[1], atol=0.1)


def test_a_motion_strength_is_a_hundred_minus_the_bucket(pipeline: Any) -> None:
    by_bucket = latents_of(pipeline, 1, motion_bucket_id=70)
    assert torch.equal(by_bucket, latents_of(pipeline, 1, motion_strength=30))
    assert not torch.equal(by_bucket, latents_of(pipeline, 1))
    assert torch.equal(latents_of(pipeline, 1), latents_of(pipeline, 1, motion_bucket_id=95))


def test_the_first_frame_is_the_painting_s_latent(pipeline: Any) -> None:
    latents = latents_of(pipeline, 1)
    x = pipeline.encode_images(PAINTINGS[:1], (32, 16))
    assert torch.equal(latents[:, :, :1], x)
    (static,) = static_latents(pipeline, PAINTINGS[:1], CallSettings(16, 32, 4))
    assert torch.equal(static[None], x.repeat(1, 1, 4, 1, 1))


def test_a_sampled_image_latent_is_the_same_in_every_call(pipeline: Any) -> None:
    call = CallSettings(16, 32, 4, options={"image_latent": "sample"})
    (static,) = static_latents(pipeline, PAINTINGS[:1], call)
    sampled = latents_of(pipeline, 7, image_latent="sample")
    assert torch.equal(sampled[0, :, :1], static[:, :1])
    assert not torch.equal(sampled[:, :, :1], latents_of(pipeline, 7)[:, :, :1])


def test_noise_alone_is_another_start_than_with_dct_init(pipeline: Any) -> None:
    # A share of 0 takes nothing from the painting.
    bare = latents_of(pipeline, 1, dct_init=False)
    assert torch.allclose(bare, latents_of(pipeline, 1, dct_percentage=0), atol=1e-4)
    assert not torch.allclose(bare, latents_of(pipeline, 1, dct_percentage=0.9), atol=1e-4)


@pytest.mark.parametrize(
    "reading", ["absolute", "all-frames", "residual", "doubled", "painting-base"]
)
def test_each_reading_gives_other_frames(pipeline: Any, reading: str) -> None:
    given: dict[str, Any] = {
        "prompt": "the sea", "height": 16, "width": 32, "num_frames": 4,
        "settings": EPASettings(num_inference_steps=3),
    }  # fmt: skip
    usual = awaken(pipeline, PAINTINGS[0], PAINTINGS[1], **given)
    frames = awaken(pipeline, PAINTINGS[0], PAINTINGS[1], **given, epa_reading=reading)
    assert np.array_equal(usual, frames) == (reading == "absolute")


def test_a_proxy_on_the_painting_s_base_is_told_its_painting(pipeline: Any) -> None:
    """Each of two proxies its own; the paths of the paintings are as they were."""
    bases: list[torch.Tensor] = []
    given: dict[str, Any] = {
        "prompt": "the sea", "height": 16, "width": 32, "num_frames": 4,
        "settings": EPASettings(num_inference_steps=2), "epa_reading": "painting-base",
    }  # fmt: skip
    hook = pipeline.unet.register_forward_pre_hook(
        lambda _, args, kwargs: bases.append(kwargs["base_content"]), with_kwargs=True
    )
    awaken(pipeline, PAINTINGS, PAINTINGS[::-1], **given)
    hook.remove()
    x = pipeline.encode_images(PAINTINGS, (32, 16))
    assert torch.equal(bases[0], torch.cat([x, x, x, x]))  # both halves of both paths


def test_the_decoder_s_chunk_is_read(pipeline: Any) -> None:
    call = CallSettings(16, 32, 4)
    (static,) = static_latents(pipeline, PAINTINGS[:1], call)
    latents = static + torch.randn(static.shape, generator=torch.Generator().manual_seed(1))
    singly = CallSettings(16, 32, 4, options={"decode_chunk_size": 1})
    whole, parts = (decode_latents(pipeline, [latents], one)[0] for one in (call, singly))
    assert whole.shape == parts.shape == (4, 16, 32, 3)
    assert not np.array_equal(whole, parts)


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "bucket": (
        {"motion_bucket_id": -1},
        "motion_bucket_id is -1; use a number of at",
    ),
    "word": ({"motion_bucket_id": "much"}, "motion_bucket_id is 'much'; use a number"),
    "strength": (
        {"motion_strength": 101},
        "motion_strength is 101; use a number of at",
    ),
    "share": ({"dct_percentage": 23}, "dct_percentage is 23; use a number of at least 0"),
    "level": ({"dct_timestep": 1000}, "dct_timestep is 1000; use a whole number"),
    "latent": ({"image_latent": "mean"}, "image_latent is 'mean'; use mode, sample"),
    "reading": ({"epa_reading": "naive"}, "epa_reading is 'naive'; use absolute, all-frames"),
    "chunk": ({"decode_chunk_size": 0}, "decode_chunk_size is 0; use a whole number"),
}


@pytest.mark.parametrize("what", WRONG)
def test_options_out_of_range_are_refused(pipeline: Any, what: str) -> None:
    options, message = WRONG[what]
    with pytest.raises(UnsupportedError, match=message):
        check_call(pipeline, options, 4, 8)
    with pytest.raises(UnsupportedError, match=message):
        latents_of(pipeline, 1, **options)


def test_sizes_and_frames_that_do_not_fit_are_refused(pipeline: Any) -> None:
    with pytest.raises(UnsupportedError, match="num_frames is 1; CinemoPipeline takes 2 or more"):
        static_latents(pipeline, PAINTINGS[:1], CallSettings(16, 32, 1))
    with pytest.raises(ValueError, match="36x16 is not a positive multiple of 8"):
        latents_of(pipeline, 1, width=36)
    with pytest.raises(ValueError, match=r"latents are \(1, 4, 4, 2, 4\), not \(1, 4, 3, 2, 4\)"):
        latents_of(pipeline, 1, latents=torch.zeros(1, 4, 4, 2, 4))


def test_a_decoder_over_time_has_no_slices(pipeline: Any) -> None:
    with pytest.raises(UnsupportedError, match="cannot decode in slices"):
        place(pipeline, "cpu", Levers(vae_slicing=True))
    sliced = place(tiny_cinemo(temporal_decoder=False), "cpu", Levers(vae_slicing=True))
    assert sliced.vae.use_slicing
