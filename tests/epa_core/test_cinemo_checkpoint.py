"""Loading Cinemo: the released layout, one saved here, and what is refused."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoint_edits import UNET_FILE, Edit, config, remove, weights
from safetensors.torch import load_file
from tiny_cinemo import write_released_cinemo
from tiny_pipelines import build, picture

from epa_core.cards import load_model, model_card, model_identity
from epa_core.errors import UnsupportedError
from epa_core.models.cinemo import CinemoPipeline
from epa_core.models.cinemo_checkpoint import load_cinemo
from epa_core.models.cinemo_unet import MotionResidualUNet

CALL: dict[str, Any] = {"height": 16, "width": 32, "num_frames": 3, "num_inference_steps": 2}


def latents_of(pipeline: Any) -> Any:
    pipeline.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(1)
    return pipeline(picture(1), "the sea", generator=generator, output_type="latent", **CALL).frames


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_released_cinemo(tmp_path_factory.mktemp("released"))


@pytest.fixture
def copied(released: Path, tmp_path: Path) -> Path:
    return shutil.copytree(released, tmp_path / "copy")


def test_pickled_and_saved_folders_give_the_same_latents(released: Path, tmp_path: Path) -> None:
    pipeline = load_model("cinemo", source=str(released))
    wanted = latents_of(pipeline)
    assert isinstance(pipeline, CinemoPipeline)
    pickled = write_released_cinemo(tmp_path / "pickled", safetensors=False)
    assert torch.equal(latents_of(load_model("cinemo", source=str(pickled))), wanted)
    pipeline.save_pretrained(tmp_path / "saved")
    assert torch.equal(latents_of(load_model("cinemo", source=str(tmp_path / "saved"))), wanted)
    assert torch.equal(latents_of(CinemoPipeline.from_pretrained(tmp_path / "saved")), wanted)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_near_full_precision(released: Path, dtype: str) -> None:
    pipeline = load_model("cinemo", source=str(released), dtype=dtype)
    assert pipeline.unet.dtype == pipeline.vae.dtype == getattr(torch, dtype)
    half, full = latents_of(pipeline), latents_of(load_model("cinemo", source=str(released)))
    assert half.dtype == torch.float32
    off = float((half - full).abs().max() / full.abs().max())
    assert 0 < off < 0.05
    assert pipeline.vae.dtype == getattr(torch, dtype)  # it encodes in float32


def test_the_plain_vae_can_be_taken(released: Path) -> None:
    assert type(load_cinemo(released).vae).__name__ == "AutoencoderKLTemporalDecoder"
    plain = load_cinemo(released, temporal_decoder=False)
    assert type(plain.vae).__name__ == "AutoencoderKL"


def test_the_schedule_is_the_released_code_s(released: Path) -> None:
    config = load_cinemo(released).scheduler.config
    assert (config.beta_start, config.beta_end, config.beta_schedule) == (0.0001, 0.02, "linear")
    assert (config.steps_offset, config.clip_sample, config.set_alpha_to_one) == (1, False, False)


def test_keys_of_the_full_size_are_the_released_ones() -> None:
    """818 live keys: 686 of Stable Diffusion's UNet, 4 of the motion, 8 for each of 16 blocks."""
    with torch.device("meta"):
        network = MotionResidualUNet()
    keys = network.state_dict()
    motion = [key for key in keys if key.startswith("add_embedding.")]
    temporal = [key for key in keys if "temp." in key]
    assert (len(keys), len(motion), len(temporal)) == (818, 4, 16 * 8)
    assert sum(p.numel() for p in network.parameters()) == 911_092_740
    block = "mid_block.attentions.0.transformer_blocks.0.attn_temp."
    bias = keys[f"{block}time_rel_pos_bias.relative_attention_bias.weight"]
    assert tuple(bias.shape) == (32, 8)


BIAS = "mid_block.attentions.0.transformer_blocks.0.attn_temp.time_rel_pos_bias"
REFUSED: dict[str, tuple[Edit, str]] = {
    "no unet": (remove("unet"), r"holds no cinemo: unet missing, and there is no model_index"),
    "no weights": (remove(UNET_FILE), r"unet/diffusion_pytorch_model\.safetensors \(or .*missing"),
    "no words": (remove("tokenizer/vocab.json"), r"tokenizer/vocab\.json is missing"),
    "other class": (config("unet/config.json", _class_name="UNet2D"), r"names 'UNet2D' with"),
    "other kind": (config("unet/config.json", addition_embed_type="text"), "type 'text', not"),
    "unread": (
        config("unet/config.json", use_linear_projection=True),
        "says use_linear_projection: True; only False is known",
    ),
    "plain vae": (
        config("vae_temporal_decoder/config.json", _class_name="AutoencoderKL"),
        r"vae_temporal_decoder holds a AutoencoderKL, not a AutoencoderKLTemporalDecoder",
    ),
    "velocity": (
        config("scheduler/scheduler_config.json", prediction_type="v_prediction"),
        "says prediction_type: 'v_prediction'; Cinemo predicts noise",
    ),
    "lacking": (
        weights(UNET_FILE, lambda w: w.pop(f"{BIAS}.relative_attention_bias.weight")),
        r"the key mid_block.*relative_attention_bias\.weight missing",
    ),
    "left over": (
        weights(UNET_FILE, lambda w: w.update(extra=torch.zeros(1))),
        "the key extra not known to this model",
    ),
    "other shape": (
        weights(UNET_FILE, lambda w: w.update({"conv_in.bias": torch.zeros(3)})),
        r"conv_in\.bias has shape \(3,\) instead of \(64,\)",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_such_checkpoint_is_refused_in_one_sentence(copied: Path, what: str) -> None:
    change, message = REFUSED[what]
    change(copied)
    with pytest.raises(UnsupportedError, match=message) as raised:
        load_model("cinemo", source=str(copied))
    assert "\n" not in str(raised.value)


def test_folders_of_other_models_are_refused(tmp_path: Path) -> None:
    build("i2vgenxl").pipeline.save_pretrained(tmp_path)
    with pytest.raises(UnsupportedError, match=r"holds a I2VGenXLPipeline .*needs CinemoPipeline"):
        load_model("cinemo", source=str(tmp_path))


def test_the_dead_keys_may_be_there_or_not(copied: Path) -> None:
    whole = latents_of(load_cinemo(copied))
    dead = {name for name in load_file(copied / UNET_FILE) if name.endswith("rotary_emb.freqs")}
    assert len(dead) == 4
    weights(UNET_FILE, lambda content: [content.pop(name) for name in dead])(copied)
    assert torch.equal(latents_of(load_cinemo(copied)), whole)


def test_a_folder_is_identified_by_its_files(released: Path, copied: Path) -> None:
    assert model_identity("cinemo", str(released)) == model_identity("cinemo", str(copied))
    assert model_identity("cinemo", revision="abc") == f"{model_card('cinemo').weights}@abc"
