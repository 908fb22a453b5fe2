"""Where a loaded model lives and what it is tuned for: the same frames, or a clear refusal."""

import functools
from typing import Any

import numpy as np
import pytest
import torch
from tiny_animate_anything import write_released_checkpoint
from tiny_pipelines import build, picture

from epa_core.awakening import EPASettings, awaken
from epa_core.cards import load_model
from epa_core.errors import UnsupportedError
from epa_core.levers import Levers
from epa_core.loading import COMPILED_SHAPES, place

SETTINGS = EPASettings(num_inference_steps=4)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_released_checkpoint(tmp_path_factory.mktemp("released")))


def frames_of(pipeline: Any, **given: Any) -> np.ndarray:
    usual = {"prompt": "the sea", "seed": 1, "settings": SETTINGS, "num_frames": 3}
    size = {"height": 16, "width": 32}
    return awaken(pipeline, picture(1), picture(2), **{**usual, **size, **given})


@pytest.fixture(scope="module")
def plain(source: str) -> np.ndarray:
    return frames_of(load_model("animate-anything", source=source))


@pytest.mark.parametrize("option", ["vae_slicing", "channels_last"])
def test_options_change_no_frame(source: str, plain: np.ndarray, option: str) -> None:
    pipeline = load_model("animate-anything", source=source, levers=Levers(**{option: True}))
    assert np.abs(frames_of(pipeline).astype(int) - plain).max() <= 1
    if option == "vae_slicing":
        assert pipeline.vae.use_slicing
    else:
        for weight in (pipeline.unet.conv_in2.weight, pipeline.unet.conv_out.weight):
            assert weight.is_contiguous(memory_format=torch.channels_last)


@pytest.fixture
def interpreted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trace and guard as torch.compile does, but run what was traced as it is: in seconds."""
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))


@pytest.mark.slow
@pytest.mark.usefixtures("interpreted")
def test_the_denoiser_is_compiled_once_for_every_shape(source: str, plain: np.ndarray) -> None:
    pipeline = load_model("animate-anything", source=source, levers=Levers(compile=True))
    assert torch._dynamo.config.recompile_limit >= COMPILED_SHAPES
    assert np.abs(frames_of(pipeline).astype(int) - plain).max() <= 1
    counters = torch._dynamo.utils.counters
    assert counters["stats"]["unique_graphs"] == 2  # both paths with both halves; the final pass
    assert not counters["graph_break"]
    with torch._dynamo.config.patch(error_on_recompile=True):
        other = frames_of(
            pipeline,
            prompt="clouds drift",
            seed=7,
            settings=EPASettings(num_inference_steps=3, levels="matched"),
            guidance_scale=3.0,
            motion_strength=4.0,
            mask_image=picture(3).resize((32, 16)).convert("L"),
        )
        frames_of(pipeline, settings=EPASettings(num_inference_steps=6, variant="baseline"))
    assert not np.array_equal(other, plain)
    assert counters["stats"]["unique_graphs"] == 2


@pytest.mark.slow
@pytest.mark.usefixtures("interpreted")
def test_batches_of_any_size_share_what_was_compiled(source: str) -> None:
    """A smaller last batch, or one halved for want of memory, is no new shape."""
    pipeline = load_model("animate-anything", source=source, levers=Levers(compile=True))
    together = {"settings": EPASettings(num_inference_steps=2), "num_frames": 7}

    def graphs(count: int) -> int:
        size = {"height": 16, "width": 32, "prompt": "the sea", "seed": 1}
        pictures = [picture(seed) for seed in range(count)]
        awaken(pipeline, pictures, pictures, **size, **together)
        return int(torch._dynamo.utils.counters["stats"]["unique_graphs"])

    assert [graphs(count) for count in (3, 2)] == [2, 2]
    assert not torch._dynamo.utils.counters["graph_break"]


@pytest.mark.slow
@pytest.mark.usefixtures("interpreted")
def test_a_compiled_denoiser_can_be_offloaded(source: str, plain: np.ndarray) -> None:
    pipeline = load_model("animate-anything", source=source, levers=Levers(compile=True))
    pipeline.enable_model_cpu_offload(device="cpu")
    assert np.abs(frames_of(pipeline).astype(int) - plain).max() <= 1
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 2
    assert not torch._dynamo.utils.counters["graph_break"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"offload": "some"}, "offload 'some' is not one of none, model, sequential"),
        ({"offload": "model"}, "offload 'model' moves modules to an accelerator, not the CPU"),
        ({"offload": "sequential"}, "offload 'sequential' moves modules"),
    ],
)
def test_what_the_device_has_no_use_for_is_refused(
    source: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UnsupportedError, match=message):
        load_model("animate-anything", source=source, levers=Levers(**options))


def test_layers_apart_are_not_compiled_together(source: str) -> None:
    pipeline = load_model("animate-anything", source=source)
    with pytest.raises(UnsupportedError, match="takes layers apart that compile puts together"):
        place(pipeline, "cuda", Levers(offload="sequential", compile=True))


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"offload": "model"}, "preview has no network, so offload would do nothing"),
        ({"compile": True}, "preview has no network, so compile would do nothing"),
        ({"channels_last": True}, "preview has no network, so channels_last would do nothing"),
        ({"vae_slicing": True}, "preview has no network, so vae_slicing would do nothing"),
    ],
)
def test_the_preview_has_nothing_to_tune(option: dict[str, Any], message: str) -> None:
    with pytest.raises(UnsupportedError, match=message):
        load_model("preview", levers=Levers(**option))


def test_models_without_such_layers_refuse() -> None:
    with pytest.raises(UnsupportedError, match=r"Wan.* has no 2-D convolutions; channels_last is"):
        place(build("wan21").pipeline, "cpu", Levers(channels_last=True))
    with pytest.raises(UnsupportedError, match="TemporalDecoder cannot decode in slices"):
        place(build("svd").pipeline, "cpu", Levers(vae_slicing=True))


def test_both_experts_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda method, **how: compiled.append(how) or method)
    place(build("wan22").pipeline, "cpu", Levers(compile=True))
    assert compiled == [{"dynamic": False}] * 2
