"""The config.yaml released with the paper, and small copies of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from paintings import painting

# As released: what an evaluation reads, then the settings of a training that it carries along.
RELEASED = """\
# Pretrained diffusers model path.
pretrained_model_path: "./latent/animate_anything_512_v1.02"

# The folder where your training outputs will be placed.
output_dir: "./output/latent"

# You can train multiple datasets at once. They will be joined together for training.
dataset_types:
  - video_blip

# Adds offset noise to training.
offset_noise_strength: 0.1
use_offset_noise: False
rescale_schedule: False

# When True, this extends all items in all enabled datasets to the highest length.
extend_dataset: False
# Caches the latents (frames-image -> VAE -> latent) to a HDD or SDD.
cache_latents: True
cached_latent_dir: null
shuffle: true

train_text_encoder: False
use_unet_lora: False
use_text_lora: False
unet_lora_modules:
  - "ResnetBlock2D"
text_encoder_lora_modules:
  - "CLIPEncoderLayer"
lora_version: "cloneofsimo"
lora_rank: 16
lora_bias: 'none'
lora_path: ''
lora_unet_dropout: 0.1
save_lora_for_webui: True
only_lora_for_webui: False
save_pretrained_model: True

train_data:
  width: 512
  height: 512
  use_bucketing: True
  return_mask: true
  return_motion: true
  sample_start_idx: 1
  fps: 8
  frame_step: 1
  n_sample_frames: 16
  path: ""
  json_path: ""

validation_data:
  prompt: "The boats slowly sail towards the distance."
  prompt_image: "../example/boat.jpg"
  proxy_image: "../example/proxy.jpg"
  sample_preview: True
  num_frames: 16
  width: 512
  height: 512
  num_inference_steps: 25
  guidance_scale: 9
  strength: 8

learning_rate: 5e-6
adam_weight_decay: 0
adam_beta1: 0.9
adam_beta2: 0.999
adam_epsilon: 1.0e-08
max_grad_norm: 1.0
extra_unet_params: null
extra_text_encoder_params: null
train_batch_size: 2
max_train_steps: 50000
checkpointing_steps: 5000
validation_steps: 1000
lr_scheduler: constant
lr_warmup_steps: 0
gradient_accumulation_steps: 1
scale_lr: false
trainable_modules:
  - "attn1"
  - "attn2"
trainable_text_modules:
  - "all"
seed: 42
mixed_precision: "fp16"
use_8bit_adam: False
gradient_checkpointing: True
text_encoder_gradient_checkpointing: False
enable_xformers_memory_efficient_attention: False
enable_torch_2_attn: True
resume_from_checkpoint: null
resume_step: null
logging_dir: logs
tracker_name: text2video
in_channels: 5
motion_mask: true
motion_strength: true
kwargs: {}
"""


def released_tree(**evaluation: Any) -> dict[str, Any]:
    """The released settings with some of ``validation_data`` changed; None takes a key away."""
    tree: dict[str, Any] = yaml.safe_load(RELEASED)
    merged = {**tree["validation_data"], **evaluation}
    tree["validation_data"] = {k: v for k, v in merged.items() if v is not None}
    return tree


def write_tree(file: Path, tree: Any) -> Path:
    """Write settings as YAML and return the file."""
    file.write_text(yaml.safe_dump(tree, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return file


def write_code(folder: Path) -> Path:
    """Write the released code's folder, and its example pictures beside it; without weights."""
    code = folder / "code"
    (code / "latent" / "animate_anything_512_v1.02").mkdir(parents=True)
    (folder / "example").mkdir()
    for number, name in enumerate(("boat", "proxy")):
        painting(number).save(folder / "example" / f"{name}.jpg")
    (code / "config.yaml").write_text(RELEASED)
    return code
