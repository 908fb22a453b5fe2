"""AnimateAnything checkpoints in the released layout: random weights, tiny, written in a blink.

Two levels of 64 and 32 channels, 8 groups in the layers within a frame: the released 32 would
leave a group a single channel of a pixel or two, which says next to nothing but its sign. Frames
of 16x32 px take milliseconds.
"""

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL
from safetensors.torch import save_file
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel

from epa_core.models.animate_anything_unet import MaskedMotionUNet3D

torch.set_num_threads(1)

WIDTH = 16  # of the text embeddings
WORDS = ("the", "sea", "sky", "clouds", "drift", "waves", "roll", "boat")
LIBRARIES = {
    "scheduler": ["diffusers", "DDIMScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["models.unet_3d_condition_mask", "UNet3DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}
UNET = {
    "act_fn": "silu",
    "attention_head_dim": 8,
    "block_out_channels": [64, 32],
    "cross_attention_dim": WIDTH,
    "down_block_types": ["CrossAttnDownBlock3D", "DownBlock3D"],
    "downsample_padding": 1,
    "in_channels": 4,
    "layers_per_block": 1,
    "mid_block_scale_factor": 1,
    "motion_mask": True,
    "motion_strength": True,
    "norm_eps": 1e-05,
    "norm_num_groups": 8,
    "out_channels": 4,
    "sample_size": 4,
    "up_block_types": ["UpBlock3D", "CrossAttnUpBlock3D"],
}
VAE = {
    "act_fn": "silu",
    "block_out_channels": [8, 8, 8, 8],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "in_channels": 3,
    "latent_channels": 4,
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "out_channels": 3,
    "sample_size": 32,
    "scaling_factor": 0.18215,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
}
# Of the text-to-video lineage: no timestep_spacing, so the solver's own linspace holds.
SCHEDULER = {
    "_class_name": "DDIMScheduler",
    "_diffusers_version": "0.14.0",
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "clip_sample": False,
    "num_train_timesteps": 1000,
    "prediction_type": "epsilon",
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "trained_betas": None,
}


def write_released_checkpoint(
    folder: Path, *, seed: int = 0, safetensors: bool = True, **unet_config: Any
) -> Path:
    """Write a checkpoint as AnimateAnything releases them into ``folder`` and return it.

    UNet and VAE are stored in float16, the text encoder in float32; ``safetensors`` False writes
    pickled ``.bin`` files. ``unet_config`` overrides entries of ``unet/config.json``.
    """
    config = {**UNET, **unet_config}
    index = {"_class_name": "LatentToVideoPipeline", "_diffusers_version": "0.24.0", **LIBRARIES}
    write_json(folder / "model_index.json", index)
    write_json(folder / "scheduler" / "scheduler_config.json", SCHEDULER)
    vocabulary = write_tokenizer(folder / "tokenizer")
    text = {
        "architectures": ["CLIPTextModel"],
        "bos_token_id": vocabulary - 2,
        "eos_token_id": vocabulary - 1,
        "hidden_act": "gelu",
        "hidden_size": config["cross_attention_dim"],
        "intermediate_size": 2 * config["cross_attention_dim"],
        "max_position_embeddings": 77,
        "model_type": "clip_text_model",
        "num_attention_heads": 2,
        "num_hidden_layers": 2,
        "pad_token_id": vocabulary - 1,
        "projection_dim": config["cross_attention_dim"],
        "vocab_size": vocabulary,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        networks: dict[str, tuple[str, dict[str, Any], nn.Module]] = {
            "unet": ("UNet3DConditionModel", config, MaskedMotionUNet3D(**config)),
            "vae": ("AutoencoderKL", VAE, AutoencoderKL(**VAE)),
        }
        encoder = CLIPTextModel(CLIPTextConfig(**text))
        for network in (encoder, *(built[2] for built in networks.values())):
            without_zeros(network)
    for name, (class_name, settings, network) in networks.items():
        old = {"_class_name": class_name, "_diffusers_version": "0.24.0", **settings}
        write_json(folder / name / "config.json", old)
        path = folder / name / "diffusion_pytorch_model"
        write_weights(path, network.half().state_dict(), safetensors)
    write_json(folder / "text_encoder" / "config.json", {**text, "torch_dtype": "float32"})
    path = folder / "text_encoder" / ("model" if safetensors else "pytorch_model")
    write_weights(path, released_text_keys(encoder), safetensors)
    return folder


def released_text_keys(encoder: nn.Module) -> dict[str, torch.Tensor]:
    prefix = "text_model."
    return {
        prefix + name.removeprefix(prefix): value for name, value in encoder.state_dict().items()
    }


def without_zeros(network: nn.Module) -> None:
    """Zero-initialised layers would hide whatever comes before them."""
    for parameter in network.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.05)


def write_tokenizer(folder: Path) -> int:
    """A CLIP tokenizer of bytes and a few words; returns the size of its vocabulary."""
    # CLIP's vocabulary begins with the 256 bytes as printable characters: those that are none
    # take the characters from U+0100 on.
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [256 + offset for offset in range(256 - len(printable))]
    letters = [chr(code) for code in (*printable, *others)]
    tokens = [*letters, *(letter + "</w>" for letter in letters)]
    merges: list[str] = []
    for word in WORDS:
        pieces = [*word[:-1], word[-1] + "</w>"]
        while len(pieces) > 1:
            pair, pieces = pieces[:2], ["".join(pieces[:2]), *pieces[2:]]
            if " ".join(pair) not in merges:
                merges.append(" ".join(pair))
                tokens.append(pieces[0])
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "vocab.json", {token: index for index, token in enumerate(tokens)})
    merges = ["#version: 0.2", *merges, ""]
    (folder / "merges.txt").write_text("\n".join(merges), encoding="utf-8")
    special = {"bos_token": tokens[-2], "eos_token": tokens[-1], "unk_token": tokens[-1]}
    special["pad_token"] = tokens[-1]
    write_json(folder / "special_tokens_map.json", special)
    settings = {"model_max_length": 77, "tokenizer_class": "CLIPTokenizer", "errors": "replace"}
    write_json(folder / "tokenizer_config.json", {**special, **settings})
    return len(tokens)


def write_json(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2), encoding="utf-8")


def write_weights(path: Path, weights: dict[str, torch.Tensor], safetensors: bool) -> None:
    whole = {name: value.contiguous() for name, value in weights.items()}
    if safetensors:
        save_file(whole, path.with_suffix(".safetensors"), metadata={"format": "pt"})
    else:
        torch.save(whole, path.with_suffix(".bin"))
