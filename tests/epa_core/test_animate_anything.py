"""AnimateAnything's pipeline: what a call is given, whose noise it draws, what it refuses."""

from pathlib import Path
from typing import Any

import pytest
import torch
from animate_anything_calls import SHAPE, half_white, latents_of, loaded, seeded, unet_calls
from diffusers import EulerDiscreteScheduler
from PIL import Image
from tiny_animate_anything import write_released_checkpoint
from tiny_pipelines import picture

from epa_core.models.animate_anything import AnimateAnythingPipeline
from epa_core.models.animate_anything_inputs import mask_tensor
from epa_core.models.call_inputs import clip_size


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_released_checkpoint(tmp_path_factory.mktemp("released"))


@pytest.fixture
def pipeline(checkpoint: Path) -> AnimateAnythingPipeline:
    return loaded(checkpoint)


def test_its_own_sampling_starts_from_the_still_painting_noised_by_one_draw(
    pipeline: AnimateAnythingPipeline,
) -> None:
    calls = unet_calls(pipeline)
    latents_of(pipeline)
    still = pipeline.encode_images([picture(1)], (32, 16)).repeat(1, 1, 3, 1, 1)
    noise = torch.randn(SHAPE, generator=seeded(1)[0])
    pipeline.scheduler.set_timesteps(2)
    expected = pipeline.scheduler.add_noise(still, noise, pipeline.scheduler.timesteps[:1])
    assert torch.equal(calls[0]["sample"], torch.cat([expected, expected]))
    assert torch.equal(calls[0]["condition_latent"], still[:, :, :1].repeat(2, 1, 1, 1, 1))
    assert calls[0]["timestep"].tolist() == [999, 999]
    assert calls[0]["motion"].tolist() == [8, 8]
    assert torch.equal(calls[0]["mask"], torch.ones(2, 1, 1, 2, 4))


def test_given_latents_are_scaled_by_the_scheduler_and_used(
    pipeline: AnimateAnythingPipeline,
) -> None:
    given = torch.randn(SHAPE, generator=seeded(5)[0])
    calls = unet_calls(pipeline)
    one = latents_of(pipeline, latents=given, generator=None)
    assert torch.equal(calls[0]["sample"][:1], given)
    assert torch.equal(latents_of(pipeline, latents=given, generator=seeded(9)), one)
    pipeline.scheduler = EulerDiscreteScheduler()
    calls.clear()
    latents_of(pipeline, latents=given)
    scheduler = EulerDiscreteScheduler()
    scheduler.set_timesteps(2)
    expected = scheduler.scale_model_input(
        given * scheduler.init_noise_sigma, scheduler.timesteps[0]
    )
    torch.testing.assert_close(expected, calls[0]["sample"][:1])


def test_guidance_acts_on_the_text_alone(pipeline: AnimateAnythingPipeline) -> None:
    calls = unet_calls(pipeline)
    latents_of(pipeline, negative_prompt="sky", guidance_scale=3.0)
    texts = pipeline.encode_texts(["sky", "the sea"])
    assert torch.equal(calls[0]["encoder_hidden_states"], texts)
    with torch.no_grad():
        sky, sea = pipeline.unet.forward(**calls[0])[0].chunk(2)
    pipeline.scheduler.set_timesteps(2)
    start = calls[0]["sample"][:1]
    guided = sky + 3.0 * (sea - sky)
    expected = pipeline.scheduler.step(guided, 999, start, return_dict=False)[0]
    assert torch.equal(calls[1]["sample"][:1], expected)
    calls.clear()
    latents_of(pipeline, guidance_scale=1.0)
    assert torch.equal(calls[0]["encoder_hidden_states"], texts[1:])
    assert len(calls[0]["sample"]) == 1


@pytest.mark.parametrize("negative", [None, "", [None], [""]])
def test_no_negative_prompt_is_the_empty_one(
    pipeline: AnimateAnythingPipeline, negative: Any
) -> None:
    assert torch.equal(
        latents_of(pipeline, negative_prompt=negative), latents_of(pipeline, negative_prompt="")
    )
    assert not torch.equal(latents_of(pipeline, negative_prompt="sky"), latents_of(pipeline))


def test_paintings_of_a_call_keep_their_own_arguments_and_noise(
    pipeline: AnimateAnythingPipeline,
) -> None:
    each: dict[str, list[Any]] = {
        "image": [picture(1), picture(2), picture(3)],
        "prompt": ["the sea", "clouds drift", "the sea"],
        "negative_prompt": [None, "boat", None],
        "mask_image": [half_white(), None, None],
        "motion_strength": [None, 2.0, 5],
    }
    together = latents_of(pipeline, **each, generator=seeded(1, 2, 3))
    for index in range(3):
        alone = {name: values[index] for name, values in each.items()}
        one = latents_of(pipeline, **alone, generator=seeded(index + 1)[0])
        torch.testing.assert_close(together[index : index + 1], one, atol=1e-3, rtol=0)
    plain = latents_of(
        pipeline, image=each["image"], prompt=each["prompt"], generator=seeded(1, 2, 3)
    )
    for index in range(3):  # each of the three arguments had its effect
        assert (plain[index] - together[index]).abs().max() > 0.1


def test_distinct_texts_of_a_call_are_encoded_once(pipeline: AnimateAnythingPipeline) -> None:
    seen: list[int] = []
    pipeline.text_encoder.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))
    images = [picture(1), picture(2), picture(3)]
    texts = ["the sea", "sky", "the sea"]
    latents_of(pipeline, image=images, prompt=texts, generator=seeded(1, 2, 3))
    assert seen == [1, 1, 1]  # the sea, sky, and the empty one


def test_given_embeddings_replace_texts(pipeline: AnimateAnythingPipeline) -> None:
    texts = pipeline.encode_texts(["the sea", "sky"])
    expected = latents_of(pipeline, negative_prompt="sky")
    seen: list[int] = []
    pipeline.text_encoder.register_forward_pre_hook(lambda *_: seen.append(1))
    given = {"prompt": None, "prompt_embeds": texts[:1], "negative_prompt_embeds": texts[1:]}
    assert torch.equal(latents_of(pipeline, **given), expected)
    assert not seen
    two = latents_of(pipeline, **given, image=[picture(1), picture(2)], generator=seeded(1, 2))
    torch.testing.assert_close(two[:1], expected, atol=1e-3, rtol=0)


def test_texts_beyond_the_encoder_are_cut(pipeline: AnimateAnythingPipeline) -> None:
    long = "the sea " * 60
    pipeline.tokenizer.model_max_length = 10**30  # as where its files do not say
    assert pipeline.encode_texts([long]).shape == (1, 77, 16)
    assert torch.equal(pipeline.encode_texts([long]), pipeline.encode_texts([long + "sky"]))


def test_masks_are_scaled_to_the_latents() -> None:
    mask = Image.new("L", (32, 16))
    mask.putdata([x * 8 for _ in range(16) for x in range(32)])
    (scaled,) = mask_tensor([picture(1).resize((32, 16))], [mask], (2, 4), trained=True)
    # Bilinear without a filter: the mean of the two middle pixels of each block of eight.
    expected = torch.tensor([(3.5 + 8 * block) * 8 / 255 for block in range(4)])
    torch.testing.assert_close(scaled, expected.expand(1, 1, 2, 4))
    for mode in ("1", "P", "RGB", "RGBA"):
        white = Image.new("L", (32, 32), 255).convert(mode)
        ones = mask_tensor([picture(1)], [white], (4, 4), trained=True)
        assert torch.equal(ones, torch.ones(1, 1, 1, 4, 4)), mode


def test_a_white_mask_is_no_mask_and_a_black_one_is_another(
    pipeline: AnimateAnythingPipeline,
) -> None:
    white, black = (Image.new("L", (32, 32), level) for level in (255, 0))
    assert torch.equal(latents_of(pipeline, mask_image=white), latents_of(pipeline))
    assert not torch.equal(latents_of(pipeline, mask_image=black), latents_of(pipeline))


def test_weights_trained_without_mask_or_motion_get_none(tmp_path: Path) -> None:
    folder = write_released_checkpoint(tmp_path, motion_mask=False, motion_strength=False)
    pipeline = loaded(folder)
    calls = unet_calls(pipeline)
    latents_of(pipeline, motion_strength=[None])
    assert calls[0]["mask"] is calls[0]["motion"] is None
    with pytest.raises(ValueError, match=r"mask_image was given, but .* trained without masks"):
        latents_of(pipeline, mask_image=half_white())
    with pytest.raises(ValueError, match=r"motion_strength 5 was given, but .* trained without it"):
        latents_of(pipeline, motion_strength=5)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "mask size": (
        {"mask_image": half_white((30, 32))},
        "the mask is 30x32 px, but its painting is 32x32 px",
    ),
    "masks": ({"mask_image": [None, None]}, "mask_image holds 2 values for 1 paintings"),
    "no images": ({"image": []}, "image holds no painting"),
    "prompts": ({"prompt": ["a", "b"]}, "prompt holds 2 values for 1 paintings"),
    "no prompt": ({"prompt": None}, "prompt is missing; give it or prompt_embeds"),
    "motion": ({"motion_strength": -1}, "motion_strength is -1; use a number of at least 0"),
    "motion nan": ({"motion_strength": float("nan")}, "motion_strength is nan"),
    "frames": ({"num_frames": 1}, "num_frames is 1; at least 2 are needed"),
    "generators": ({"generator": seeded(1, 2)}, "2 generators were given for 1 paintings"),
    "size": ({"height": 20}, "the size 32x20 is not a positive multiple of 8"),
    "side": ({"height": None}, "give both height and width, or neither"),
    "output": ({"output_type": "gif"}, "output_type is 'gif'; use latent, np, pt or pil"),
    "latents": ({"latents": torch.zeros(1, 4, 2, 2, 4)}, r"latents are \(1, 4, 2, 2, 4\), not"),
    "embeddings": ({"negative_prompt_embeds": torch.zeros(3, 77, 16)}, "prompt_embeds are 3 for 1"),
    "callback": (
        {"callback_on_step_end_tensor_inputs": ["prompt_embeds"]},
        "shown the latents only, not prompt_embeds",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_does_not_fit_is_refused(pipeline: AnimateAnythingPipeline, what: str) -> None:
    given, message = REFUSED[what]
    with pytest.raises(ValueError, match=message):
        latents_of(pipeline, **given)


def test_the_default_size_is_the_paintings_aspect_at_512() -> None:
    wide = Image.new("RGB", (1024, 768))
    assert clip_size([wide], None, None, 8) == (592, 440)
    assert clip_size([wide, wide], None, None, 8) == (592, 440)
    with pytest.raises(ValueError, match="would be animated at 2 sizes; give height and width"):
        clip_size([wide, picture(1)], None, None, 8)
    assert clip_size([wide, picture(1)], 16, 32, 8) == (32, 16)
