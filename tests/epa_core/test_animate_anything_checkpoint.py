"""Checkpoints of AnimateAnything: the released layout, our own, and broken ones."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoint_edits import (
    PARTS,
    UNET_FILE,
    Edit,
    Weights,
    assert_same_weights,
    config,
    edit_json,
    edit_weights,
    remove,
    weights,
    write,
)
from diffusers import EulerDiscreteScheduler
from safetensors.torch import load_file
from tiny_animate_anything import write_released_checkpoint
from tiny_pipelines import picture

from epa_core.cards import load_model, model_identity
from epa_core.errors import UnsupportedError
from epa_core.models.animate_anything import AnimateAnythingPipeline
from epa_core.models.animate_anything_checkpoint import load_animate_anything

TEXT_FILE = "text_encoder/model.safetensors"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_released_checkpoint(tmp_path / "released")


def clip(pipeline: AnimateAnythingPipeline, **more: Any) -> np.ndarray:
    given = {"height": 16, "width": 32, "num_frames": 3, "num_inference_steps": 2, **more}
    pipeline.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(1)
    return pipeline(picture(1), "the sea", generator=generator, **given).frames


def assert_same(one: AnimateAnythingPipeline, other: AnimateAnythingPipeline) -> None:
    assert_same_weights(one, other)
    assert type(one.scheduler) is type(other.scheduler)
    hidden = "_use_default_values"
    ours, theirs = ({**p.scheduler.config, hidden: None} for p in (one, other))
    assert ours == theirs


def test_pickled_and_safe_weights_are_the_same_model(tmp_path: Path, folder: Path) -> None:
    pickled = write_released_checkpoint(tmp_path / "pickled", safetensors=False)
    assert not list(pickled.rglob("*.safetensors"))
    assert_same(load_animate_anything(folder), load_animate_anything(pickled))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_weights_come_in_the_dtype_asked_for_whatever_is_stored(
    folder: Path, dtype: torch.dtype
) -> None:
    stored = load_file(folder / UNET_FILE)
    assert {value.dtype for value in stored.values()} == {torch.float16}
    pipeline = load_animate_anything(folder, dtype)
    for part in PARTS:
        network = getattr(pipeline, part)
        assert {value.dtype for value in network.parameters()} == {dtype}
        assert not network.training
    assert torch.equal(pipeline.unet.conv_in2.weight, stored["conv_in2.weight"].to(dtype))
    assert torch.get_default_dtype() == torch.float32


def test_the_solver_follows_the_released_schedule(folder: Path) -> None:
    scheduler = load_animate_anything(folder).scheduler
    scheduler.set_timesteps(25)
    assert scheduler.timesteps.tolist()[:3] == [999, 959, 919]
    assert scheduler.timesteps[-1] == 40
    assert scheduler.sigmas[-1] == pytest.approx(0.0291675, abs=1e-6)  # smallest in training
    config = scheduler.config
    assert (config.solver_order, config.algorithm_type) == (2, "dpmsolver++")
    assert (config.solver_type, config.prediction_type) == ("midpoint", "epsilon")
    edit_json(folder / "scheduler/scheduler_config.json", timestep_spacing="leading")
    scheduler = load_animate_anything(folder).scheduler
    scheduler.set_timesteps(25)
    assert scheduler.timesteps.tolist()[:3] == [951, 913, 875]
    assert scheduler.timesteps[-1] == 39


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_saved_pipeline_comes_back_bit_for_bit(tmp_path: Path, folder: Path, dtype: str) -> None:
    first = load_model("animate-anything", source=str(folder), dtype=dtype)
    first.save_pretrained(tmp_path / "saved")
    for again in (
        load_model("animate-anything", source=str(tmp_path / "saved"), dtype=dtype),
        AnimateAnythingPipeline.from_pretrained(tmp_path / "saved", dtype=getattr(torch, dtype)),
    ):
        assert_same(first, again)
        assert np.array_equal(clip(first), clip(again))
    ids = (
        model_identity("animate-anything", str(tmp_path / name)) for name in ("saved", "released")
    )
    assert len({*ids}) == 2  # other files


def test_a_saved_pipeline_keeps_the_scheduler_it_was_saved_with(
    tmp_path: Path, folder: Path
) -> None:
    pipeline = load_animate_anything(folder)
    pipeline.scheduler = EulerDiscreteScheduler(beta_end=0.01)
    pipeline.save_pretrained(tmp_path / "saved")
    assert_same(pipeline, load_animate_anything(tmp_path / "saved"))
    edit_json(tmp_path / "saved/scheduler/scheduler_config.json", _class_name="NoScheduler")
    with pytest.raises(UnsupportedError, match=r"scheduler_config\.json names no known scheduler"):
        load_animate_anything(tmp_path / "saved")


def widen(weights: Weights) -> None:
    first = weights["conv_in.weight"]
    weights["conv_in.weight"] = torch.cat([torch.zeros_like(first[:, :1]), first], dim=1)


def test_the_first_layer_may_read_the_mask_too_whatever_the_configuration_says(
    tmp_path: Path, folder: Path
) -> None:
    expected = clip(load_animate_anything(folder))  # it has a mask, so conv_in2 reads it
    edit_weights(folder / UNET_FILE, widen)
    wide = load_animate_anything(folder)
    assert wide.unet.conv_in.in_channels == wide.unet.config.in_channels == 5
    assert np.array_equal(clip(wide), expected)
    wide.save_pretrained(tmp_path / "saved")
    assert_same(wide, load_animate_anything(tmp_path / "saved"))
    edit_json(folder / "unet/config.json", motion_mask=False)
    with pytest.raises(ValueError, match="conv_in reads 5 channels: these weights need a mask"):
        clip(load_animate_anything(folder))


def test_dead_weights_may_be_missing_or_left_over(folder: Path) -> None:
    expected = clip(load_animate_anything(folder))
    edit_weights(folder / UNET_FILE, lambda weights: weights.pop("motion_embedding.2.weight"))
    position_ids = torch.arange(77)[None]
    edit_weights(
        folder / TEXT_FILE,
        lambda weights: weights.update({"text_model.embeddings.position_ids": position_ids}),
    )
    pipeline = load_animate_anything(folder, torch.float16)
    filled = pipeline.unet.motion_embedding[2].weight
    assert (filled.shape, filled.dtype, filled.device.type) == ((256, 256), torch.float16, "cpu")
    assert not filled.any()
    assert np.array_equal(clip(load_animate_anything(folder)), expected)


BROKEN: dict[str, tuple[Edit, str]] = {
    "index": (remove("model_index.json"), r"holds no model: model_index\.json is missing"),
    "class": (
        config("model_index.json", _class_name="StableVideoDiffusionPipeline"),
        "StableVideoDiffusionPipeline",
    ),
    "unet": (
        remove(UNET_FILE),
        rf"no whole AnimateAnything checkpoint: {UNET_FILE} \(or .*\.bin\)",
    ),
    "text": (remove(TEXT_FILE), rf"checkpoint: {TEXT_FILE} \(or pytorch_model\.bin\) is missing"),
    "unet config": (remove("unet/config.json"), r"checkpoint: unet/config\.json is missing"),
    "words": (remove("tokenizer/merges.txt"), r"checkpoint: tokenizer/merges\.txt is missing"),
    "schedule": (
        remove("scheduler/scheduler_config.json"),
        r"checkpoint: scheduler/scheduler_config\.json is missing",
    ),
    "garbage": (write(UNET_FILE, b"garbage"), r"unet could not be read: .*safetensors"),
    "text garbage": (write(TEXT_FILE, b"garbage"), "text_encoder could not be read: .*header"),
    "config garbage": (
        write("vae/config.json", b"{"),
        r"checkpoint: vae/config\.json is not a JSON object",
    ),
    "config list": (
        write("unet/config.json", b"[]"),
        r"checkpoint: unet/config\.json is not a JSON object",
    ),
    "config bytes": (
        write("text_encoder/config.json", b"\xff{}"),
        r"checkpoint: text_encoder/config\.json is not a JSON object",
    ),
    "schedule list": (
        write("scheduler/scheduler_config.json", b"[1]"),
        r"checkpoint: scheduler/scheduler_config\.json is not a JSON object",
    ),
    "vocabulary garbage": (write("tokenizer/vocab.json", b"["), "tokenizer could not be read: "),
    "unknown schedule": (
        config("scheduler/scheduler_config.json", beta_schedule="stairs"),
        "scheduler could not be read: stairs is not implemented",
    ),
    "missing key": (
        weights(UNET_FILE, lambda w: w.pop("conv_out.bias")),
        r"unet do not fit MaskedMotionUNet3D: the key conv_out\.bias missing\.$",
    ),
    "no mask": (
        weights(UNET_FILE, lambda w: [w.pop(f"conv_in2.{kind}") for kind in ("weight", "bias")]),
        r"keys conv_in2\.bias, conv_in2\.weight missing",
    ),
    "many missing": (
        weights(UNET_FILE, lambda w: [w.pop(key) for key in list(w) if "mid_block" in key]),
        r"mid_block.* and \d+ more missing",
    ),
    "extra key": (
        weights(UNET_FILE, lambda w: w.update({"lora.up": torch.zeros(2)})),
        r"the key lora\.up not known to this model",
    ),
    "text key": (
        weights(TEXT_FILE, lambda w: w.pop("text_model.final_layer_norm.bias")),
        r"text_encoder do not fit CLIPTextModel: the key final_layer_norm\.bias missing",
    ),
    "shape": (
        weights(UNET_FILE, lambda w: w.update({"conv_out.weight": torch.zeros(4, 64, 1, 1)})),
        r"conv_out\.weight has shape \(4, 64, 1, 1\) instead of \(4, 64, 3, 3\)\.$",
    ),
    "six channels": (
        weights(UNET_FILE, lambda w: w.update({"conv_in.weight": torch.zeros(64, 6, 3, 3)})),
        r"conv_in\.weight has shape \(64, 6, 3, 3\) instead of \(64, 4, 3, 3\)",
    ),
    "vae shape": (
        weights(
            "vae/diffusion_pytorch_model.safetensors",
            lambda w: w.update({"quant_conv.bias": torch.zeros(3)}),
        ),
        r"vae do not fit AutoencoderKL: quant_conv\.bias has shape \(3,\) instead of \(8,\)",
    ),
    "levels": (config("unet/config.json", block_out_channels=[64]), "unet could not be read: .*"),
    "widths": (
        config("unet/config.json", block_out_channels=[64, 48]),
        "unet could not be read: .*multiples of 32",
    ),
}


@pytest.mark.parametrize("how", BROKEN)
def test_broken_checkpoints_are_refused_by_file_or_key(folder: Path, how: str) -> None:
    breaks, message = BROKEN[how]
    breaks(folder)
    with pytest.raises(UnsupportedError, match=message):
        load_animate_anything(folder)
    with pytest.raises(UnsupportedError, match=message):
        load_model("animate-anything", source=str(folder), dtype="float16")
    assert torch.get_default_dtype() == torch.float32


def test_parts_of_different_models_are_refused(tmp_path: Path, folder: Path) -> None:
    other = write_released_checkpoint(tmp_path / "other", cross_attention_dim=24)
    for name in ("config.json", "model.safetensors"):
        (folder / "text_encoder" / name).write_bytes((other / "text_encoder" / name).read_bytes())
    with pytest.raises(UnsupportedError, match=r"not belong together: .*text width.* 16 and 24"):
        load_animate_anything(folder)


class Trap:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("sprung"),))


def test_pickled_code_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = write_released_checkpoint(tmp_path / "pickled", safetensors=False)
    for name in ("unet/diffusion_pytorch_model.bin", "text_encoder/pytorch_model.bin"):
        file = folder / name
        own = file.read_bytes()
        file.write_bytes(pickle.dumps(Trap()))
        with pytest.raises(UnsupportedError, match="could not be read"):
            load_animate_anything(folder)
        torch.save({"conv_in.weight": Trap()}, file)
        with pytest.raises(UnsupportedError, match="could not be read"):
            load_animate_anything(folder)
        file.write_bytes(own)
    assert not (tmp_path / "sprung").exists()
    pickle.loads(pickle.dumps(Trap()))
    assert (tmp_path / "sprung").exists()  # it would have sprung


def test_folders_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        UnsupportedError, match=r"not at hand \(it is on no hub\): download http.*tar"
    ):
        load_model("animate-anything")
    with pytest.raises(UnsupportedError, match=r"the source 'me/mine' is no folder"):
        model_identity("animate-anything", "me/mine", "main")
    archive = tmp_path / "animate_anything_512_v1.02.tar"
    archive.write_bytes(b"")
    with pytest.raises(UnsupportedError, match=r"tar' is no folder\): .*unpack it, and name the f"):
        load_model("animate-anything", source=str(archive))
    with pytest.raises(UnsupportedError, match=r"model_index\.json is missing"):
        load_animate_anything(tmp_path)
