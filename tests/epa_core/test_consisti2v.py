"""The pipeline of ConsistI2V, called directly: batches, guidance, noise, devices of its own."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_consisti2v import write_released_checkpoint
from tiny_pipelines import picture
from watching_unet import unet_calls

from epa_core.models.consisti2v import ConsistI2VPipeline
from epa_core.models.consisti2v_checkpoint import load_consisti2v
from epa_core.models.consisti2v_inputs import Filter, clip_noise, low_pass, prepared

CALL: dict[str, Any] = {"height": 32, "width": 32, "num_frames": 4, "num_inference_steps": 3}
Pipeline = ConsistI2VPipeline


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_released_checkpoint(tmp_path_factory.mktemp("released"))


@pytest.fixture(scope="module")
def pipeline(folder: Path) -> Pipeline:
    loaded = load_consisti2v(folder)
    loaded.set_progress_bar_config(disable=True)
    return loaded


def seeded(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def latents_of(pipeline: Pipeline, **given: Any) -> Any:
    usual = {"image": picture(1), "prompt": "the sea", "generator": seeded(1)}
    return pipeline(**{**CALL, **usual, "output_type": "latent", **given}).frames


@pytest.mark.parametrize("more", [{}, {"image_guidance_scale": 2.0}, {"guidance_scale": 1.0}])
def test_two_paintings_are_two_calls(pipeline: Pipeline, more: dict[str, Any]) -> None:
    own: list[dict[str, Any]] = [
        {"image": picture(1), "prompt": "the sea", "negative_prompt": "boat", "frame_stride": 1},
        {"image": picture(2), "prompt": "clouds", "negative_prompt": None, "frame_stride": 5},
    ]
    lists = {name: [one[name] for one in own] for name in own[0]}
    given = {"sample_posterior": True, **more}
    together = latents_of(pipeline, generator=seeded(1, 2), **lists, **given)
    for index, one in enumerate(own):
        alone = latents_of(pipeline, generator=seeded(index + 1), **one, **given)
        torch.testing.assert_close(together[index], alone[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "more",
    [
        {"frame_stride": 5},
        {"image_guidance_scale": 2.0},
        {"guidance_rescale": 0.7},
        {"guidance_scale": 5.0},
        {"noise": "vanilla"},
        {"noise_alpha": 3.0},
        {"frame_init": "off"},
        {"frame_init_timestep": 500},
        {"frame_init_filter": "butterworth"},
        {"frame_init_filter": "box"},
        {"frame_init_spatial": 0.5},
        {"sample_posterior": True},
        {"eta": 0.5},
        {"negative_prompt": "boat"},
    ],
    ids=lambda more: next(iter(more)),
)
def test_every_argument_matters(pipeline: Pipeline, more: dict[str, Any]) -> None:
    usual, other = latents_of(pipeline), latents_of(pipeline, **more)
    assert usual.isfinite().all()
    assert other.isfinite().all()
    assert (usual - other)[:, :, 1:].abs().max() > 1e-3


def test_fused_says_nothing_to_the_call_itself(pipeline: Pipeline) -> None:
    assert torch.equal(latents_of(pipeline), latents_of(pipeline, frame_init="fused"))


def test_what_the_unet_is_given_by_guidance(pipeline: Pipeline) -> None:
    """Clean first frames but for the part without the image, whose is noisy and constant."""
    first = pipeline.encode_images([picture(1)], (32, 32))
    with unet_calls(pipeline) as calls:
        latents_of(pipeline, image_guidance_scale=2.0)
        latents_of(pipeline)
        latents_of(pipeline, guidance_scale=1.0)
    sizes = [len(call["sample"]) for call in calls]
    assert sizes == [3, 3, 3, 2, 2, 2, 1, 1, 1]
    noisy = [call["first_frame_latents"][:1] for call in calls[:3]]
    assert torch.equal(noisy[0], noisy[2])
    assert (noisy[0] - first).abs().max() > 0.1
    for call in calls:
        clean = call["first_frame_latents"][1 if len(call["sample"]) == 3 else 0 :]
        assert torch.equal(clean, first.expand_as(clean))
        assert set(call["frame_stride"].tolist()) == {3.0}
    text = calls[0]["encoder_hidden_states"]
    assert torch.equal(text[0], text[1])
    assert not torch.equal(text[1], text[2])


def test_noise_is_shared_between_frames_and_of_unit_variance() -> None:
    (generator,) = seeded(1)
    noise = clip_noise("pyoco_mixed", 1.0, (4, 16, 32, 32), generator)
    flat = noise[0].transpose(0, 1).flatten(1)
    assert torch.corrcoef(flat)[0, 1:].mean() == pytest.approx(0.5, abs=0.02)
    assert float(noise.std()) == pytest.approx(1.0, abs=0.01)


FREQUENCIES: dict[Filter, Any] = {
    "gaussian": lambda d2, s, n: math.exp(-d2 / (2 * s**2)),
    "butterworth": lambda d2, s, n: 1 / (1 + (d2 / s**2) ** n),
    "ideal": lambda d2, s, n: float(d2 <= 2 * s),
}


@pytest.mark.parametrize("kind", FREQUENCIES)
def test_filters_have_their_formulas(kind: Filter) -> None:
    frames, height, width, order, s, t = 5, 6, 8, 3, 0.4, 0.3
    low = low_pass(kind, order, s, t, frames, height, width)
    for (f, y, x), found in np.ndenumerate(low.numpy()):
        away = s / t * (2 * f / frames - 1), 2 * y / height - 1, 2 * x / width - 1
        d2 = sum(one**2 for one in away)
        assert found == pytest.approx(FREQUENCIES[kind](d2, s, order), abs=1e-6)


@pytest.mark.parametrize(
    ("spatial", "temporal", "frames", "rows", "columns"),
    [
        (0.5, 0.5, {2, 3, 4, 5}, {2, 3, 4, 5}, {4, 5, 6, 7}),
        (0.25, 0.25, {3, 4}, {3, 4}, {5, 6}),
        (0.25, 0.1, (), (), ()),  # no frame is within
        (2.0, 2.0, set(range(8)), set(range(8)), set(range(12))),
    ],
)
def test_a_box_is_cut_around_the_middle(
    spatial: float, temporal: float, frames: Any, rows: Any, columns: Any
) -> None:
    """Of 8 frames, 8 rows and 12 columns; columns reach as far as rows do."""
    low = low_pass("box", 4, spatial, temporal, 8, 8, 12)
    wanted = {(f, y, x) for f in frames for y in rows for x in columns}
    assert {tuple(place) for place in low.nonzero().tolist()} == wanted
    assert set(low.unique().tolist()) <= {0.0, 1.0}


def test_pictures_are_prepared_as_released() -> None:
    """The shorter side becomes the height; the middle is cut out, what is missing is black."""
    wide = Image.new("RGB", (96, 48), "white")
    assert prepared(wide, 32, 32).shape == (1, 3, 32, 32)
    assert prepared(wide, 32, 32).min() == 1
    bars = prepared(Image.new("RGB", (48, 48), "white"), 32, 64)
    assert (bars[..., :16] == -1).all()
    assert (bars[..., 16:48] == 1).all()
    assert (bars[..., 48:] == -1).all()
    tall = picture(1).resize((32, 64))
    exact = torch.from_numpy(np.asarray(tall)).permute(2, 0, 1)[None] / 127.5 - 1
    torch.testing.assert_close(prepared(tall, 64, 32), exact.float())


def test_without_a_size_nothing_is_cut_away(pipeline: Pipeline) -> None:
    whole = pipeline.encode_images([picture(1).resize((352, 744))], (352, 744))
    given = {"image": picture(1).resize((176, 372)), "height": None, "width": None}
    latents = latents_of(pipeline, num_frames=2, num_inference_steps=1, **given)
    assert latents.shape == (1, 4, 2, *whole.shape[3:])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_stays_near(folder: Path, pipeline: Pipeline, dtype: torch.dtype) -> None:
    half = load_consisti2v(folder, dtype)
    half.set_progress_bar_config(disable=True)
    found, wanted = latents_of(half), latents_of(pipeline)
    assert found.dtype == torch.float32
    error = (found - wanted).norm() / wanted.norm()
    assert 0 < float(error) < 0.15


def test_frames_come_out_in_every_form_and_sliced(pipeline: Pipeline) -> None:
    latents = latents_of(pipeline)
    array = latents_of(pipeline, output_type="np")
    assert array.shape == (1, 4, 32, 32, 3)
    assert len(latents_of(pipeline, output_type="pil")[0]) == 4
    pipeline.vae.enable_slicing()
    sliced = pipeline.decode_latents(latents)
    pipeline.vae.disable_slicing()
    torch.testing.assert_close(sliced, pipeline.decode_latents(latents), rtol=0, atol=1e-5)
    given = pipeline(picture(1), "the sea", **CALL, generator=seeded(1), return_dict=False)
    assert np.array_equal(given[0], array)


def test_interrupted_it_stops(pipeline: Pipeline) -> None:
    steps = []

    def stop(pipe: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        steps.append(step)
        pipe.interrupt = True
        return {}

    latents_of(pipeline, callback_on_step_end=stop)
    assert steps == [0]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"prompt": None}, "prompt is missing; give it or prompt_embeds"),
        ({"num_frames": 1}, "num_frames is 1; at least 2"),
        ({"latents": torch.zeros(1, 4, 4, 4, 4)}, r"latents are \(1, 4, 4, 4, 4\), not \(1, 4, 3"),
        ({"first_frame_latents": torch.zeros(1, 4, 1, 3, 4)}, r"first_frame_latents are \(1, 4, 1"),
        ({"width": 36}, "size 36x32 is not a positive multiple of 8"),
        ({"generator": seeded(1, 2)}, "2 generators were given for 1 paintings"),
        ({"output_type": "gif"}, "output_type is 'gif'"),
        ({"frame_init": "on"}, "frame_init is 'on'; use still, fused, off"),
        ({"frame_stride": [1, 2]}, "frame_stride holds 2 values for 1 paintings"),
        ({"callback_on_step_end_tensor_inputs": ["noise"]}, "shown the latents only, not noise"),
    ],
)
def test_what_does_not_fit_is_refused(
    pipeline: Pipeline, given: dict[str, Any], message: str
) -> None:
    with pytest.raises((ValueError, RuntimeError), match=message):
        latents_of(pipeline, **given)
