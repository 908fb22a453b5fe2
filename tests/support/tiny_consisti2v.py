"""ConsistI2V checkpoints in the released layout: random weights, tiny, written in a blink.

Two levels of 32 and 64 channels (no fewer: its convolutions over time have 32 groups). Frames of
32x32 px take milliseconds.
"""

from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL
from tiny_animate_anything import (
    VAE,
    WIDTH,
    released_text_keys,
    without_zeros,
    write_json,
    write_tokenizer,
    write_weights,
)
from transformers import CLIPTextConfig, CLIPTextModel

from epa_core.models.consisti2v_layers import TemporalConv, TemporalTransformer, frequencies
from epa_core.models.consisti2v_unet import ConsistI2VUNet

torch.set_num_threads(1)

LIBRARIES = {
    "scheduler": ["diffusers", "DDIMScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["consisti2v.models.videoldm_unet", "VideoLDMUNet3DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}
UNET = {
    "act_fn": "silu",
    "attention_head_dim": [2, 4],
    "attention_type": "default",
    "augment_temporal_attention": True,
    "block_out_channels": [32, 64],
    "class_embed_type": None,
    "cross_attention_dim": WIDTH,
    "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
    "downsample_padding": 1,
    "first_frame_condition_mode": "concat",
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "in_channels": 4,
    "layers_per_block": 1,
    "mid_block_type": "UNetMidBlock2DCrossAttn",
    "n_frames": 16,
    "n_temp_heads": 8,
    "norm_eps": 1e-05,
    "norm_num_groups": 8,
    "out_channels": 4,
    "sample_size": 64,
    "temp_pos_embedding": "rotary",
    "transformer_layers_per_block": 1,
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
    "use_frame_stride_condition": True,
    "use_linear_projection": True,
    "use_temporal": True,
}
SCHEDULER = {
    "_class_name": "DDIMScheduler",
    "_diffusers_version": "0.21.2",
    "beta_end": 0.012,
    "beta_schedule": "linear",
    "beta_start": 0.00085,
    "clip_sample": False,
    "num_train_timesteps": 1000,
    "prediction_type": "epsilon",
    "rescale_betas_zero_snr": False,
    "set_alpha_to_one": True,
    "steps_offset": 1,
    "timestep_spacing": "leading",
}


def write_released_checkpoint(
    folder: Path, *, seed: int = 0, safetensors: bool = True, **unet_config: Any
) -> Path:
    """Write a checkpoint as ConsistI2V releases them into ``folder`` and return it.

    All parts are float32; the UNet holds the released dead weights too, and a layer over time
    whose alpha lies outside [0, 1]. ``unet_config`` overrides entries of ``unet/config.json``.
    """
    config = {**UNET, **unet_config}
    index = {"_class_name": "ConditionalAnimationPipeline", "_diffusers_version": "0.21.2"}
    write_json(folder / "model_index.json", {**index, **LIBRARIES})
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
        unet = ConsistI2VUNet.from_config(config)
        vae = AutoencoderKL(**VAE)
        encoder = CLIPTextModel(CLIPTextConfig(**text))
        for network in (unet, vae, encoder):
            without_zeros(network)
        weights = _with_released_alphas(unet).state_dict() | _dead(unet)
    name = "diffusion_pytorch_model"
    released = "VideoLDMUNet3DConditionModel"
    write_json(folder / "unet" / "config.json", {"_class_name": released, **config})
    write_weights(folder / "unet" / name, weights, safetensors)
    write_json(folder / "vae" / "config.json", {"_class_name": "AutoencoderKL", **VAE})
    write_weights(folder / "vae" / name, vae.state_dict(), safetensors)
    write_json(folder / "text_encoder" / "config.json", {**text, "torch_dtype": "float32"})
    keys = released_text_keys(encoder)
    keys["text_model.embeddings.position_ids"] = torch.arange(77)[None]
    path = folder / "text_encoder" / ("model" if safetensors else "pytorch_model")
    write_weights(path, keys, safetensors)
    return folder


def _with_released_alphas(unet: ConsistI2VUNet) -> ConsistI2VUNet:
    kinds = (TemporalConv, TemporalTransformer)
    layers = [layer for layer in unet.modules() if isinstance(layer, kinds)]
    for index, layer in enumerate(layers):
        torch.nn.init.constant_(layer.alpha, (-0.1, 0.3, 0.6)[index % 3])
    return unet


def _dead(unet: ConsistI2VUNet) -> dict[str, torch.Tensor]:
    """What the released file holds beside what is read."""
    found = {}
    for name, layer in unet.named_modules():
        if isinstance(layer, TemporalConv):
            width = layer.conv1.out_channels
            found[f"{name}.time_emb_proj.weight"] = torch.randn(width, 512)
            found[f"{name}.time_emb_proj.bias"] = torch.randn(width)
        if isinstance(layer, TemporalTransformer):
            for attention in ("attn1", "attn2"):
                own = f"{name}.transformer_blocks.0.{attention}"
                bias = torch.randn(32, 8)
                found[f"{own}.rotary_bias.relative_attention_bias.weight"] = bias
                found[f"{own}.rotary_emb.freqs"] = frequencies(layer.proj_in.in_features)
    return found
