"""Loading ConsistI2V from the folder its authors release, and from one saved here.

The released ``model_index.json`` names a class of the authors' own code for the UNet, so the parts
are loaded one by one, strictly. The released UNet holds weights that nothing reads: they are left
out, and a folder saved here is without them.
"""

import json
import re
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import AutoencoderKL
from safetensors import safe_open
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from epa_core.errors import UnsupportedError
from epa_core.models.checkpoint_parts import (
    TEXT_LEFT_OVER,
    check_files,
    check_together,
    network,
    read,
)
from epa_core.models.consisti2v import ConsistI2VPipeline
from epa_core.models.consisti2v_layers import frequencies
from epa_core.models.consisti2v_unet import ConsistI2VUNet
from epa_core.weights import model_index, quiet

RELEASED_CLASS = "ConditionalAnimationPipeline"

# Released and never read: a time embedding of the convolutions over time, and a position bias. The
# frequencies of the rotary positions follow from the widths; they are compared, not taken.
DEAD = re.compile(
    r"\.conv3ds\.\d+\.time_emb_proj\.(weight|bias)$"
    r"|\.attn[12]\.rotary_bias\.relative_attention_bias\.weight$"
)
FREQUENCIES = re.compile(r"\.attn[12]\.rotary_emb\.freqs$")
_LEFT_OVER = re.compile(f"{DEAD.pattern}|{FREQUENCIES.pattern}")

# Half precision keeps three digits.
_SAME_FREQUENCY = 2e-3

# Other settings of stock UNets that a configuration may state: these, or it is another network.
_STOCK: dict[str, Any] = {
    "addition_embed_type": None,
    "attention_type": "default",
    "center_input_sample": False,
    "class_embed_type": None,
    "class_embeddings_concat": False,
    "conv_in_kernel": 3,
    "conv_out_kernel": 3,
    "cross_attention_norm": None,
    "dual_cross_attention": False,
    "encoder_hid_dim": None,
    "encoder_hid_dim_type": None,
    "mid_block_only_cross_attention": None,
    "mid_block_scale_factor": 1,
    "mid_block_type": "UNetMidBlock2DCrossAttn",
    "num_attention_heads": None,
    "num_class_embeds": None,
    "only_cross_attention": False,
    "projection_class_embeddings_input_dim": None,
    "resnet_out_scale_factor": 1.0,
    "resnet_skip_time_act": False,
    "resnet_time_scale_shift": "default",
    "time_cond_proj_dim": None,
    "time_embedding_act_fn": None,
    "time_embedding_dim": None,
    "time_embedding_type": "positional",
    "timestep_post_act": None,
    "transformer_layers_per_block": 1,
}


def load_consisti2v(folder: Path | str, dtype: torch.dtype = torch.float32) -> ConsistI2VPipeline:
    """Return the pipeline in ``folder`` in ``dtype``, on the CPU.

    ``folder`` is a released one (safetensors or .bin, which are read as weights only) or one that
    ``ConsistI2VPipeline.save_pretrained`` wrote. UnsupportedError names the file or the key that is
    missing, left over, unreadable or of another shape.
    """
    folder = Path(folder)
    found = model_index(folder)["_class_name"]
    ours = ConsistI2VPipeline.__name__
    if found not in (RELEASED_CLASS, ours):
        raise UnsupportedError(
            f"The folder {folder} holds a {found}, not a {RELEASED_CLASS} (as ConsistI2V is "
            f"released) or a {ours}."
        )
    check_files(folder, "ConsistI2V")
    _check_configuration(folder / "unet" / "config.json")
    with quiet():
        _check_frequencies(folder / "unet")
        pipeline = ConsistI2VPipeline(
            vae=network(AutoencoderKL, folder / "vae", dtype),
            text_encoder=network(
                CLIPTextModel, folder / "text_encoder", dtype, may_be_left_over=TEXT_LEFT_OVER
            ),
            tokenizer=read(CLIPTokenizer.from_pretrained, folder / "tokenizer"),
            unet=network(ConsistI2VUNet, folder / "unet", dtype, may_be_left_over=_LEFT_OVER),
            scheduler=_scheduler(folder / "scheduler"),
        )
    check_together(folder, pipeline)
    return pipeline


def _check_configuration(file: Path) -> None:
    """UnsupportedError for a network that this one would be built without regard to."""
    config = json.loads(file.read_text(encoding="utf-8"))
    for name, known in _STOCK.items():
        if (value := config.get(name, known)) != known:
            raise UnsupportedError(f"{file} says {name}: {value!r}; ConsistI2V has {known!r}.")


def _check_frequencies(folder: Path) -> None:
    """UnsupportedError for rotary positions of other frequencies than those computed here."""
    for key, stored in read(_stored_frequencies, folder).items():
        ours = frequencies(4 * len(stored))
        if not torch.allclose(stored.float(), ours, rtol=_SAME_FREQUENCY, atol=1e-6):
            raise UnsupportedError(
                f"The weights in {folder} do not fit {ConsistI2VUNet.__name__}: {key} holds other "
                "frequencies than 10000^(-2j / (C / 2))."
            )


def _stored_frequencies(folder: str) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    safe = sorted(Path(folder).glob("*.safetensors"))
    for path in safe:
        with safe_open(path, "pt") as file:
            keys = filter(FREQUENCIES.search, file.keys())
            found |= {key: file.get_tensor(key) for key in keys}
    for path in () if safe else sorted(Path(folder).glob("*.bin")):
        weights = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        found |= {key: value for key, value in weights.items() if FREQUENCIES.search(key)}
    return found


def _scheduler(folder: Path) -> Any:
    """The scheduler that the folder names."""
    config = read(diffusers.DDIMScheduler.load_config, folder)
    scheduler_class = getattr(diffusers, str(config.get("_class_name")), None)
    if scheduler_class is None:
        raise UnsupportedError(f"{folder / 'scheduler_config.json'} names no known scheduler.")
    return read(scheduler_class.from_pretrained, folder)
