"""AnimateAnything's pipeline: what it makes of pictures, decodes, shows, and where it computes."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import cpu_offload
from animate_anything_calls import CALL, SHAPE, latents_of, loaded, seeded, unet_calls
from diffusers import DPMSolverMultistepScheduler
from tiny_animate_anything import write_released_checkpoint
from tiny_pipelines import picture

from epa_core.models.animate_anything import AnimateAnythingPipeline


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_released_checkpoint(tmp_path_factory.mktemp("released"))


@pytest.fixture
def pipeline(checkpoint: Path) -> AnimateAnythingPipeline:
    return loaded(checkpoint)


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
