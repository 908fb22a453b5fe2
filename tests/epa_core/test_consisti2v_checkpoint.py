"""Checkpoints of ConsistI2V: the released layout, our own, from the hub, and broken ones."""

from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from checkpoint_edits import (
    UNET_FILE,
    Edit,
    assert_same_weights,
    config,
    edit_weights,
    remove,
    weights,
)
from diffusers import EulerDiscreteScheduler
from safetensors.torch import load_file
from tiny_animate_anything import write_released_checkpoint as write_animate_anything
from tiny_consisti2v import write_released_checkpoint
from tiny_pipelines import picture

from epa_core.cards import load_model, model_identity
from epa_core.errors import UnsupportedError
from epa_core.models.consisti2v import ConsistI2VPipeline
from epa_core.models.consisti2v_checkpoint import DEAD, FREQUENCIES, load_consisti2v


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_released_checkpoint(tmp_path / "released")


def latents(pipeline: Any) -> torch.Tensor:
    pipeline.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(1)
    given = {"height": 32, "width": 32, "num_frames": 3, "num_inference_steps": 2}
    return pipeline(
        picture(1), "the sea", generator=generator, output_type="latent", **given
    ).frames


def assert_same(one: Any, other: Any) -> None:
    assert_same_weights(one, other)
    assert torch.equal(latents(one), latents(other))


def test_pickled_and_safe_weights_are_the_same_model(tmp_path: Path, folder: Path) -> None:
    pickled = write_released_checkpoint(tmp_path / "pickled", safetensors=False)
    assert not list(pickled.rglob("*.safetensors"))
    assert_same(load_consisti2v(folder), load_consisti2v(pickled))


def test_all_that_is_released_is_read_or_dead(folder: Path) -> None:
    stored = load_file(folder / UNET_FILE)
    unet = load_consisti2v(folder).unet.state_dict()
    dead = {key for key in stored if DEAD.search(key)}
    derived = {key for key in stored if FREQUENCIES.search(key)}
    assert set(stored) == set(unet) | dead | derived
    # A time embedding (2) of each convolution; one bias and one table of each attention over time.
    convolutions = sum(key.endswith("conv1.weight") and "conv3ds" in key for key in stored)
    attentions = 2 * sum(key.endswith("proj_in.weight") and "tempo" in key for key in stored)
    assert len(dead) == 2 * convolutions + attentions
    assert len(derived) == attentions
    edit_weights(folder / UNET_FILE, lambda w: [w.pop(key) for key in dead | derived])
    without = load_consisti2v(folder)
    assert all(torch.equal(value, unet[key]) for key, value in without.unet.state_dict().items())


def test_the_scheduler_is_the_released_one(folder: Path) -> None:
    scheduler = load_consisti2v(folder).scheduler
    scheduler.set_timesteps(50)
    assert scheduler.timesteps.tolist()[:2] == [981, 961]
    assert scheduler.timesteps.tolist()[-2:] == [21, 1]
    assert float(scheduler.alphas_cumprod[961]) == pytest.approx(0.0024784, abs=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_a_saved_pipeline_comes_back_bit_for_bit(tmp_path: Path, folder: Path, dtype: str) -> None:
    first = load_model("consisti2v", source=str(folder), dtype=dtype)
    assert {value.dtype for value in first.unet.parameters()} == {getattr(torch, dtype)}
    first.save_pretrained(tmp_path / "saved")
    for again in (
        load_model("consisti2v", source=str(tmp_path / "saved"), dtype=dtype),
        ConsistI2VPipeline.from_pretrained(tmp_path / "saved", dtype=getattr(torch, dtype)),
    ):
        assert_same(first, again)


def test_a_saved_pipeline_keeps_the_scheduler_it_was_saved_with(
    tmp_path: Path, folder: Path
) -> None:
    pipeline = load_consisti2v(folder)
    pipeline.scheduler = EulerDiscreteScheduler(beta_end=0.01)
    pipeline.save_pretrained(tmp_path / "saved")
    assert_same(pipeline, load_consisti2v(tmp_path / "saved"))


def test_it_comes_from_the_hub_at_a_stated_revision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the hub's own cache, so that no network is needed."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    cached = tmp_path / "hub" / "models--TIGER-Lab--ConsistI2V" / "snapshots" / commit
    write_released_checkpoint(cached)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UnsupportedError, match="needs a revision"):
        load_model("consisti2v")
    assert_same(load_model("consisti2v", revision=commit), load_consisti2v(cached))
    assert model_identity("consisti2v", revision=commit) == f"TIGER-Lab/ConsistI2V@{commit}"
    with pytest.raises(UnsupportedError, match="could not be loaded from TIGER-Lab/ConsistI2V: "):
        load_model("consisti2v", revision="f" * 40)


LAYER = "down_blocks.0.tempo_attns.0.transformer_blocks.0.attn1"
BROKEN: dict[str, tuple[Edit, str]] = {
    "class": (
        config("model_index.json", _class_name="StableVideoDiffusionPipeline"),
        "StableVideoDiffusionPipeline",
    ),
    "unet": (
        remove(UNET_FILE),
        rf"no whole ConsistI2V checkpoint: {UNET_FILE} \(or .*\.bin\) is missing",
    ),
    "missing": (
        weights(UNET_FILE, lambda w: w.pop("down_blocks.0.conv3ds.0.alpha")),
        r"do not fit ConsistI2VUNet: the key down_blocks\.0\.conv3ds\.0\.alpha missing\.$",
    ),
    "stride": (
        weights(
            UNET_FILE, lambda w: [w.pop(key) for key in list(w) if key.startswith("frame_stride")]
        ),
        r"frame_stride_embedding\.linear_1\.bias.* and 1 more missing",
    ),
    "extra": (
        weights(UNET_FILE, lambda w: w.update({"mid_block.tempo_attns.0.alpha": torch.zeros(1)})),
        r"the key mid_block\.tempo_attns\.0\.alpha not known to this model",
    ),
    "shape": (
        weights(UNET_FILE, lambda w: w.update({f"{LAYER}.to_q.weight": torch.zeros(32, 16)})),
        r"to_q\.weight has shape \(32, 16\) instead of \(32, 32\)",
    ),
    "frequencies": (
        weights(UNET_FILE, lambda w: w[f"{LAYER}.rotary_emb.freqs"].mul_(1.1)),
        r"rotary_emb\.freqs holds other frequencies",
    ),
    "positions": (
        config("unet/config.json", temp_pos_embedding="sinusoidal"),
        "temp_pos_embedding is 'sinusoidal'; this network knows 'rotary' only",
    ),
    "another network": (
        config("unet/config.json", class_embed_type="timestep"),
        r"config\.json says class_embed_type: 'timestep'; ConsistI2V has None",
    ),
    "widths": (
        config("unet/config.json", block_out_channels=[32, 48]),
        "multiples of 32",
    ),
}


@pytest.mark.parametrize("how", BROKEN)
def test_broken_checkpoints_are_refused_by_file_or_key(folder: Path, how: str) -> None:
    breaks, message = BROKEN[how]
    breaks(folder)
    with pytest.raises(UnsupportedError, match=message):
        load_consisti2v(folder)
    with pytest.raises(UnsupportedError, match=message):
        load_model("consisti2v", source=str(folder), dtype="float16")


def test_folders_of_other_models_are_refused_in_a_sentence(tmp_path: Path, folder: Path) -> None:
    other = write_animate_anything(tmp_path / "other")
    with pytest.raises(UnsupportedError, match=r"holds a LatentToVideoPipeline.*needs Conditional"):
        load_model("consisti2v", source=str(other))
    with pytest.raises(UnsupportedError, match="holds a ConditionalAnimationPipeline"):
        load_model("animate-anything", source=str(folder))
    with pytest.raises(UnsupportedError, match=r"model_index\.json is missing"):
        load_consisti2v(tmp_path)
