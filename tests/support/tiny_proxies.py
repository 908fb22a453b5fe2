"""Tiny proxy checkpoints with random weights, in the layout of the released ones."""

import json
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers.utils import logging as diffusers_logging
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    CLIPImageProcessor,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
)

diffusers_logging.set_verbosity_error()
torch.set_num_threads(1)

START, END = "<|startoftext|>", "<|endoftext|>"
# Joins of a few letters, so that a token may be a letter, a syllable or a word.
MERGES = (
    "t h",
    "th e</w>",
    "s e",
    "se a</w>",
    "b o",
    "a t",
    "bo at",
    "boat s</w>",
    "i n",
    "in g</w>",
)


def clip_tokenizer(folder: Path, pad: str = END) -> CLIPTokenizer:
    """Write the files of a CLIP tokenizer (77 tokens, any byte) to ``folder`` and load it."""
    letters = sorted(ByteLevel.alphabet())
    words = [*letters, *(f"{letter}</w>" for letter in letters)]
    words += [merge.replace(" ", "") for merge in MERGES]
    vocabulary = {word: index for index, word in enumerate([*words, START, END])}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *MERGES]) + "\n")
    special = {"bos_token": START, "eos_token": END, "unk_token": END, "pad_token": pad}
    config = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, **special}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    (folder / "special_tokens_map.json").write_text(json.dumps(special))
    return CLIPTokenizer.from_pretrained(folder)


def write_refiner(folder: Path, **index: Any) -> Path:
    """Write a tiny SDXL refiner to ``folder``: one text encoder, aesthetic scores, float32 VAE.

    ``index`` overwrites entries of its model_index.json.
    """
    tokenizer = clip_tokenizer(folder / "tokenizer_2", pad="!")
    encoder = _text_config(tokenizer, projection_dim=24, hidden_act="gelu")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        parts = {
            "text_encoder_2": CLIPTextModelWithProjection(encoder),
            "unet": _unet(
                addition_embed_type="text_time",
                addition_time_embed_dim=16,
                projection_class_embeddings_input_dim=5 * 16 + 24,
                use_linear_projection=True,
            ),
            "vae": _vae(scaling_factor=0.13025, force_upcast=True),
        }
        scheduler = diffusers.EulerDiscreteScheduler(
            **_BETAS, timestep_spacing="leading", steps_offset=1
        )
    _save(folder, parts, scheduler)
    return _write_index(
        folder,
        _class_name="StableDiffusionXLImg2ImgPipeline",
        text_encoder=[None, None],
        text_encoder_2=["transformers", "CLIPTextModelWithProjection"],
        tokenizer=[None, None],
        tokenizer_2=["transformers", "CLIPTokenizer"],
        image_encoder=[None, None],
        feature_extractor=[None, None],
        scheduler=["diffusers", "EulerDiscreteScheduler"],
        force_zeros_for_empty_prompt=False,
        **{"requires_aesthetics_score": True, **index},
    )


def write_instruct_pix2pix(folder: Path) -> Path:
    """Write a tiny InstructPix2Pix to ``folder``; its safety checker is named but has no weights.

    So a loader that wants the checker fails.
    """
    tokenizer = clip_tokenizer(folder / "tokenizer")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        parts = {
            "text_encoder": CLIPTextModel(_text_config(tokenizer)),
            "unet": _unet(in_channels=8),
            "vae": _vae(scaling_factor=0.18215),
        }
        scheduler = diffusers.EulerAncestralDiscreteScheduler(
            **_BETAS, timestep_spacing="leading", steps_offset=1
        )
    _save(folder, parts, scheduler)
    CLIPImageProcessor().save_pretrained(folder / "feature_extractor")
    return _write_index(
        folder,
        _class_name="StableDiffusionInstructPix2PixPipeline",
        feature_extractor=["transformers", "CLIPImageProcessor"],
        safety_checker=["stable_diffusion", "StableDiffusionSafetyChecker"],
        scheduler=["diffusers", "EulerAncestralDiscreteScheduler"],
        text_encoder=["transformers", "CLIPTextModel"],
        tokenizer=["transformers", "CLIPTokenizer"],
    )


_BETAS: dict[str, Any] = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
}


def _text_config(tokenizer: CLIPTokenizer, **changes: Any) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        **changes,
    )


def _unet(**changes: Any) -> diffusers.UNet2DConditionModel:
    return diffusers.UNet2DConditionModel(
        block_out_channels=(16, 32),
        layers_per_block=1,
        norm_num_groups=8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=(2, 4),
        cross_attention_dim=32,
        **changes,
    )


def _vae(**changes: Any) -> diffusers.AutoencoderKL:
    """Four levels, so that a latent stands for 8x8 pixels as in the released VAEs."""
    return diffusers.AutoencoderKL(
        block_out_channels=(8, 8, 16, 16),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        norm_num_groups=4,
        latent_channels=4,
        **changes,
    )


def _save(folder: Path, parts: dict[str, Any], scheduler: Any) -> None:
    for name, part in parts.items():
        part.eval().save_pretrained(folder / name)
    scheduler.save_pretrained(folder / "scheduler")


def _write_index(folder: Path, **entries: Any) -> Path:
    entries["_diffusers_version"] = diffusers.__version__
    entries["unet"] = ["diffusers", "UNet2DConditionModel"]
    entries["vae"] = ["diffusers", "AutoencoderKL"]
    (folder / "model_index.json").write_text(json.dumps(entries, indent=2))
    return folder
