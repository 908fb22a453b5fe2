"""Weights, settings and processes that the measurements of the paper's model share.

On a CPU the weights are tiny ones in the released layout. On a GPU the networks have the released
size, random weights in float16, built on the device; the folder gives tokenizer and solver.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from epa_core.models.animate_anything import AnimateAnythingPipeline

FRAMES, STEPS, P, GUIDANCE, MOTION, FPS, SEED = 16, 25, 0.6, 9.0, 8.0, 8, 42
# More than one thread to a call would measure what else runs on the machine.
THREADS = int(os.environ.get("EPA_BENCH_THREADS", "1"))

# A UNet call of a tenth of a second and more on one core: three levels, frames of 64x64 px.
THREE_LEVELS: dict[str, Any] = {
    "block_out_channels": [64, 32, 32],
    "cross_attention_dim": 32,
    "down_block_types": ["CrossAttnDownBlock3D", "CrossAttnDownBlock3D", "DownBlock3D"],
    "up_block_types": ["UpBlock3D", "CrossAttnUpBlock3D", "CrossAttnUpBlock3D"],
}
# So cheap that starting a process costs more than a painting: two levels, frames of 16x16 px.
TWO_LEVELS: dict[str, Any] = {
    "down_block_types": ["DownBlock3D", "CrossAttnDownBlock3D"],
    "up_block_types": ["CrossAttnUpBlock3D", "UpBlock3D"],
}
# The released sizes, as far as they are known; the UNet's are the defaults of its class.
FULL_UNET = {"motion_mask": True, "motion_strength": True}
FULL_VAE = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "latent_channels": 4,
    "layers_per_block": 2,
    "sample_size": 512,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
}
FULL_TEXT = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_attention_heads": 16,
    "num_hidden_layers": 23,
}


def on_gpu() -> bool:
    """Whether there is a GPU to measure on."""
    import torch

    return torch.cuda.is_available()


def use_threads() -> None:
    """Give torch its threads, whatever was set before."""
    import torch

    torch.set_num_threads(THREADS)


def start(program: str, *arguments: object, **environment: str) -> subprocess.Popen[str]:
    """Start a program of this package; its input and output are pipes."""
    root = Path(__file__).parent.parent
    fixed = {
        "OMP_NUM_THREADS": str(THREADS),
        "HF_HUB_OFFLINE": "1",
        "PYTHONPATH": str(root / "tests" / "support"),
    }
    return subprocess.Popen(
        [sys.executable, "-m", f"benchmarks.{program}", *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **fixed, **environment},
        cwd=root,
    )


def finished(process: subprocess.Popen[str]) -> str:
    """What a started program printed; RuntimeError if it failed."""
    output = process.communicate()[0]
    if process.returncode:
        raise RuntimeError(f"{' '.join(process.args)} failed: {process.returncode}")
    return output


def load(folder: Path | str) -> AnimateAnythingPipeline:
    """The pipeline that is measured, on its device."""
    from epa_core.models.animate_anything_checkpoint import load_animate_anything

    pipeline = load_animate_anything(folder)
    if on_gpu():
        return full_size(pipeline, "cuda", FULL_UNET, FULL_VAE, FULL_TEXT)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def full_size(
    small: AnimateAnythingPipeline,
    device: str,
    unet: dict[str, Any],
    vae: dict[str, Any],
    text: dict[str, Any],
) -> AnimateAnythingPipeline:
    """Random networks of these sizes in float16 on ``device``, with ``small``'s other parts."""
    import torch
    from diffusers import AutoencoderKL
    from transformers import CLIPTextConfig, CLIPTextModel

    from epa_core.models.animate_anything import AnimateAnythingPipeline
    from epa_core.models.animate_anything_unet import MaskedMotionUNet3D

    torch.manual_seed(0)
    own = torch.get_default_dtype()
    torch.set_default_dtype(torch.float16)
    try:
        with torch.device(device):
            networks = {
                "unet": MaskedMotionUNet3D(**unet),
                "vae": AutoencoderKL(**vae),
                "text_encoder": CLIPTextModel(
                    CLIPTextConfig(**{**small.text_encoder.config.to_dict(), **text})
                ),
            }
    finally:
        torch.set_default_dtype(own)
    # Random noise predictions, added up over the updates, would leave float16's range.
    networks["unet"].conv_out.weight.data.mul_(1e-3)
    for network in networks.values():
        network.eval().requires_grad_(False)
    pipeline = AnimateAnythingPipeline(
        tokenizer=small.tokenizer, scheduler=small.scheduler, **networks
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
