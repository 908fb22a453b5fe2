"""Cinemo checkpoints in the released layout: random weights, tiny, written in a blink.

Two levels of 64 and 32 channels, one head of 32 (all of which the rotation turns) and one of 64.
The VAEs shrink by 8, as the released ones.
"""

import tempfile
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, AutoencoderKLTemporalDecoder
from tiny_animate_anything import (
    SCHEDULER,
    VAE,
    WIDTH,
    released_text_keys,
    without_zeros,
    write_json,
    write_tokenizer,
    write_weights,
)
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel

from epa_core.models.cinemo import CinemoPipeline
from epa_core.models.cinemo_checkpoint import load_cinemo
from epa_core.models.cinemo_unet import MotionResidualUNet

torch.set_num_threads(1)

UNET: dict[str, Any] = {
    "act_fn": "silu",
    "addition_embed_type": "motion_ids",
    "addition_embed_type_num_heads": 64,
    "addition_time_embed_dim": 16,
    "attention_head_dim": 1,
    "block_out_channels": [64, 32],
    "cross_attention_dim": WIDTH,
    "down_block_types": ["CrossAttnDownBlock3D", "DownBlock3D"],
    "layers_per_block": 1,
    "mid_block_type": "UNetMidBlock3DCrossAttn",
    "norm_num_groups": 8,
    "sample_size": 4,
    "up_block_types": ["UpBlock3D", "CrossAttnUpBlock3D"],
    "use_linear_projection": False,
}
TEMPORAL_VAE: dict[str, Any] = {
    "block_out_channels": [32, 32, 32, 32],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "force_upcast": True,
    "latent_channels": 4,
    "layers_per_block": 1,
    "sample_size": 32,
    "scaling_factor": 0.18215,
}


def write_released_cinemo(
    folder: Path, *, seed: int = 0, safetensors: bool = True, **unet_config: Any
) -> Path:
    """Write a checkpoint as Cinemo releases them into ``folder`` and return it.

    No ``model_index.json``; the rotary tables lie among the denoiser's weights. ``safetensors``
    False writes pickled ``.bin`` files. ``unet_config`` overrides entries of ``unet/config.json``.
    """
    config = {**UNET, **unet_config}
    write_json(
        folder / "scheduler" / "scheduler_config.json",
        {**SCHEDULER, "_class_name": "PNDMScheduler"},
    )
    vocabulary = write_tokenizer(folder / "tokenizer")
    text = {
        "architectures": ["CLIPTextModel"],
        "bos_token_id": vocabulary - 2,
        "eos_token_id": vocabulary - 1,
        "hidden_act": "quick_gelu",
        "hidden_size": WIDTH,
        "intermediate_size": 2 * WIDTH,
        "max_position_embeddings": 77,
        "model_type": "clip_text_model",
        "num_attention_heads": 2,
        "num_hidden_layers": 2,
        "pad_token_id": vocabulary - 1,
        "projection_dim": WIDTH,
        "vocab_size": vocabulary,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        networks: dict[str, tuple[str, dict[str, Any], nn.Module]] = {
            "unet": ("UNet3DConditionModel", config, MotionResidualUNet.from_config(config)),
            "vae": ("AutoencoderKL", VAE, AutoencoderKL(**VAE)),
            "vae_temporal_decoder": (
                "AutoencoderKLTemporalDecoder",
                TEMPORAL_VAE,
                AutoencoderKLTemporalDecoder(**TEMPORAL_VAE),
            ),
        }
        encoder = CLIPTextModel(CLIPTextConfig(**text))
        for network in (encoder, *(built[2] for built in networks.values())):
            without_zeros(network)
    for name, (class_name, settings, network) in networks.items():
        old = {"_class_name": class_name, "_diffusers_version": "0.24.0", **settings}
        write_json(folder / name / "config.json", old)
        weights = network.state_dict()
        table = 10000.0 ** -(torch.arange(16) / 16)
        for key in [key for key in weights if key.endswith("attn_temp.to_q.weight")]:
            freqs = key.removesuffix("to_q.weight") + "rotary_emb.freqs"
            weights[freqs] = table.clone()
        write_weights(folder / name / "diffusion_pytorch_model", weights, safetensors)
    write_json(folder / "text_encoder" / "config.json", {**text, "torch_dtype": "float32"})
    path = folder / "text_encoder" / ("model" if safetensors else "pytorch_model")
    write_weights(path, released_text_keys(encoder), safetensors)
    return folder


def tiny_cinemo(**how: Any) -> CinemoPipeline:
    """A silent pipeline from such a checkpoint; ``how`` goes to the loader."""
    with tempfile.TemporaryDirectory() as folder:
        pipeline = load_cinemo(write_released_cinemo(Path(folder)), **how)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
