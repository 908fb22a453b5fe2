"""AnimateAnything's pipeline: what a call is given, whose noise it draws, what it decodes."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import cpu_offload
from diffusers import DPMSolverMultistepScheduler, EulerDiscreteScheduler
from PIL import Image
from tiny_animate_anything import write_released_checkpoint
from tiny_pipelines import picture

from epa_core.models.animate_anything import AnimateAnythingPipeline
from epa_core.models.animate_anything_checkpoint import load_animate_anything
from epa_core.models.animate_anything_inputs import clip_size, mask_tensor

CALL: dict[str, Any] = {"height": 16, "width": 32, "num_frames": 3, "num_inference_steps": 2}
SHAPE = (1, 4, 3, 2, 4)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_released_checkpoint(tmp_path_factory.mktemp("released"))


def loaded(folder: Path, dtype: torch.dtype = torch.float32) -> AnimateAnythingPipeline:
    pipeline = load_animate_anything(folder, dtype)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture
def pipeline(checkpoint: Path) -> AnimateAnythingPipeline:
    return loaded(checkpoint)


def seeded(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def latents_of(pipeline: AnimateAnythingPipeline, **given: Any) -> Any:
    """The frames of a call; latents of a tiny one of one painting, unless ``given`` says else."""
    usual = {"image": picture(1), "prompt": "the sea", "generator": seeded(1)}
    return pipeline(**{**CALL, **usual, "output_type": "latent", **given}).frames


def half_white(size: tuple[int, int] = (32, 32)) -> Image.Image:
    mask = Image.new("L", size)
    mask.paste(255, (0, 0, size[0] // 2, size[1]))
    return mask


def unet_calls(pipeline: AnimateAnythingPipeline) -> list[dict[str, Any]]:
    """What the UNet is called with, from now on."""
    calls: list[dict[str, Any]] = []

    def note(_: Any, args: tuple[torch.Tensor, ...], kwargs: dict[str, Any]) -> None:
        calls.append({"sample": args[0], "timestep": args[1], **kwargs})

    pipeline.unet.register_forward_pre_hook(note, with_kwargs=True)
    return calls


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
    assert torch.equal(calls[0]["mask"], torch.ones(1, 1, 1, 2, 4))


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


@pytest.mark.parametrize("mode", ["P", "L", "RGBA", "CMYK", "1"])
def test_pictures_of_any_mode(pipeline: AnimateAnythingPipeline, mode: str) -> None:
    image = picture(1).convert(mode)
    expected = pipeline.encode_images([image.convert("RGB")], (32, 16))
    assert torch.equal(pipeline.encode_images([image], (32, 16)), expected)


def test_frames_come_as_arrays_tensors_and_pictures(pipeline: AnimateAnythingPipeline) -> None:
    latents = latents_of(pipeline)
    unit = (pipeline.decode_latents(latents) * 0.5 + 0.5).clamp(0, 1)
    array = latents_of(pipeline, output_type="np")
    assert array.shape == (1, 3, 16, 32, 3)
    assert np.array_equal(array[0], unit[0].permute(1, 2, 3, 0).numpy())
    assert torch.equal(latents_of(pipeline, output_type="pt")[0], unit[0].transpose(0, 1))
    (pictures,) = latents_of(pipeline, output_type="pil")
    assert [image.size for image in pictures] == [(32, 16)] * 3
    (only,) = pipeline(picture(1), "", **CALL, output_type="latent", return_dict=False)
    assert only.shape == SHAPE


@pytest.mark.parametrize(("slicing", "together"), [(False, [4, 2]), (True, [1] * 6)])
def test_frames_are_decoded_a_few_at_a_time(
    pipeline: AnimateAnythingPipeline, slicing: bool, together: list[int]
) -> None:
    if slicing:
        pipeline.vae.enable_slicing()
    latents = torch.randn(2, 4, 6, 2, 4, generator=seeded(2)[0])
    with torch.no_grad():
        every = pipeline.vae.decode(latents[1].transpose(0, 1) / 0.18215).sample.transpose(0, 1)
    seen: list[int] = []
    pipeline.vae.decoder.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))
    with torch.no_grad():
        video = pipeline.decode_latents(latents)
    assert seen == together * 2
    torch.testing.assert_close(video[1], every)


def test_callbacks_see_and_change_the_latents(pipeline: AnimateAnythingPipeline) -> None:
    seen: list[tuple[int, int]] = []

    def callback(owner: Any, step: int, t: torch.Tensor, given: dict[str, Any]) -> dict[str, Any]:
        assert owner is pipeline
        seen.append((step, int(t)))
        return {"latents": given["latents"] * 0} if step == 1 else {}

    assert not latents_of(pipeline, callback_on_step_end=callback).any()
    assert seen == [(0, 999), (1, 500)]

    def stop(owner: Any, step: int, t: torch.Tensor, given: dict[str, Any]) -> dict[str, Any]:
        owner.interrupt = True
        return given

    calls = unet_calls(pipeline)
    latents_of(pipeline, callback_on_step_end=stop)
    assert len(calls) == 1
    latents_of(pipeline)  # not interrupted any more
    assert len(calls) == 3


def test_stochastic_solvers_draw_from_each_paintings_generator(
    pipeline: AnimateAnythingPipeline,
) -> None:
    pipeline.scheduler = DPMSolverMultistepScheduler.from_config(
        pipeline.scheduler.config, algorithm_type="sde-dpmsolver++"
    )
    one = latents_of(pipeline, generator=seeded(4))
    torch.rand(5)  # somebody else's use of the global generator
    assert torch.equal(latents_of(pipeline, generator=seeded(4)), one)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_stays_close_and_the_solver_in_float32(
    checkpoint: Path, dtype: torch.dtype
) -> None:
    half = loaded(checkpoint, dtype)
    calls = unet_calls(half)
    latents = latents_of(half)
    assert latents.dtype == torch.float32
    seen = {value.dtype for name, value in calls[0].items() if name in ("sample", "mask")}
    assert seen | {calls[0]["encoder_hidden_states"].dtype} == {dtype}
    assert half.encode_images([picture(1)], (32, 16)).dtype == torch.float32
    assert half.decode_latents(latents).dtype == torch.float32
    frames = latents_of(half, output_type="np")
    exact = latents_of(loaded(checkpoint), output_type="np")
    assert np.abs(frames - exact).mean() < (0.005 if dtype == torch.float16 else 0.05)


def by_model(pipeline: AnimateAnythingPipeline) -> None:
    pipeline.enable_model_cpu_offload(device="cpu")


def by_layer(pipeline: AnimateAnythingPipeline) -> None:
    for network in (pipeline.text_encoder, pipeline.unet, pipeline.vae):
        cpu_offload(network, torch.device("cpu"), offload_buffers=bool(network._parameters))


@pytest.mark.parametrize("offload", [by_model, by_layer])
def test_offloaded_modules_compute_the_same(
    pipeline: AnimateAnythingPipeline, offload: Callable[[AnimateAnythingPipeline], None]
) -> None:
    expected = latents_of(pipeline, output_type="np")
    offload(pipeline)
    run = functools.partial(latents_of, pipeline, output_type="np")
    assert np.array_equal(run(), expected)
    assert np.array_equal(run(), expected)
    if offload is by_layer:
        assert pipeline.unet.device.type == "meta"  # between calls, weights lie elsewhere
