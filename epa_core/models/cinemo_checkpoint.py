"""Loading Cinemo from its released folder, and from one saved here.

The released repository has the parts in sub-folders and no ``model_index.json``; its denoiser is
of the authors' own class, in a stock scheduler's file only the schedule's end is read. A saved
folder is a pipeline of this project. Strict, where diffusers would fill what is missing with noise.
"""

import re
from functools import partial
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import AutoencoderKL, AutoencoderKLTemporalDecoder, DDIMScheduler
from transformers import CLIPTextModel, CLIPTokenizer

from epa_core.errors import UnsupportedError
from epa_core.models.checkpoint_parts import check_files, check_together, network, read
from epa_core.models.cinemo import CinemoPipeline
from epa_core.models.cinemo_unet import MotionResidualUNet
from epa_core.weights import model_index, quiet

#: Keys without effect, which may be left over: a table that follows from the dimensions, and what
#: old transformers wrote.
MAY_BE_LEFT_OVER = re.compile(r"(rotary_emb\.freqs|embeddings\.position_ids)$")
RELEASED_UNET = "UNet3DConditionModel"

# Whatever the scheduler's file says: the released code's own words.
_SCHEDULE = {
    "beta_start": 0.0001,
    "beta_end": 0.02,
    "beta_schedule": "linear",
    "steps_offset": 1,
    "clip_sample": False,
}
# Settings of the released denoiser that this one does not read, where they change nothing.
_UNREAD: dict[str, tuple[Any, ...]] = {
    "class_embed_type": (None,),
    "conv_in_kernel": (3,),
    "conv_out_kernel": (3,),
    "cross_attention_norm": (None,),
    "dual_cross_attention": (False,),
    "encoder_hid_dim": (None,),
    "mid_block_only_cross_attention": (None, False),
    "num_attention_heads": (None,),
    "num_class_embeds": (None,),
    "only_cross_attention": (False,),
    "resnet_out_scale_factor": (1.0,),
    "resnet_skip_time_act": (False,),
    "resnet_time_scale_shift": ("default",),
    "time_cond_proj_dim": (None,),
    "time_embedding_act_fn": (None,),
    "time_embedding_type": ("positional",),
    "timestep_post_act": (None,),
    "transformer_layers_per_block": (1,),
    "use_linear_projection": (False,),
}


def load_cinemo(
    folder: Path | str, dtype: torch.dtype = torch.float32, *, temporal_decoder: bool = True
) -> CinemoPipeline:
    """Return the pipeline in ``folder`` in ``dtype``, on the CPU.

    ``folder`` is a released one (safetensors or .bin, which are read as weights only) or one that
    ``CinemoPipeline.save_pretrained`` wrote, which has the one VAE it was saved with.
    ``temporal_decoder`` False takes the released plain VAE, which decodes frames singly.
    UnsupportedError names the file or the key that is missing, left over, unreadable or of another
    shape.
    """
    folder = Path(folder)
    saved = (folder / "model_index.json").is_file()
    vae = "vae" if saved or not temporal_decoder else "vae_temporal_decoder"
    if saved and (found := model_index(folder)["_class_name"]) != CinemoPipeline.__name__:
        raise UnsupportedError(
            f"The folder {folder} holds a {found}, not a {CinemoPipeline.__name__}."
        )
    configurations = check_files(folder, "Cinemo", vae)
    unet = configurations["unet/config.json"]
    _check_unet(folder, unet, MotionResidualUNet.__name__ if saved else RELEASED_UNET)
    kinds = {kind.__name__: kind for kind in (AutoencoderKLTemporalDecoder, AutoencoderKL)}
    wanted = AutoencoderKLTemporalDecoder if temporal_decoder else AutoencoderKL
    name = configurations[f"{vae}/config.json"].get("_class_name")
    if name not in kinds or not (saved or kinds[name] is wanted):
        raise UnsupportedError(
            f"The folder {folder / vae} holds a {name}, not a {wanted.__name__}."
        )
    exact = partial(network, may_be_left_over=MAY_BE_LEFT_OVER)
    with quiet():
        pipeline = CinemoPipeline(
            vae=exact(kinds[name], folder / vae, dtype),
            text_encoder=exact(CLIPTextModel, folder / "text_encoder", dtype),
            tokenizer=read(CLIPTokenizer.from_pretrained, folder / "tokenizer"),
            unet=exact(MotionResidualUNet, folder / "unet", dtype),
            scheduler=_scheduler(folder / "scheduler", saved),
        )
    check_together(folder, pipeline)
    return pipeline


def _check_unet(folder: Path, config: dict[str, Any], wanted: str) -> None:
    """UnsupportedError for a denoiser of another kind, or with settings that are not read here."""
    name, kind = config.get("_class_name"), config.get("addition_embed_type")
    if name != wanted or kind != "motion_ids":
        raise UnsupportedError(
            f"The folder {folder} holds no Cinemo: unet/config.json names {name!r} with "
            f"addition_embed_type {kind!r}, not {wanted!r} with 'motion_ids'."
        )
    for setting, allowed in _UNREAD.items():
        value = config.get(setting, allowed[0])
        if value not in allowed:
            raise UnsupportedError(
                f"unet/config.json in {folder} says {setting}: {value!r}; only {allowed[0]!r} is "
                "known of Cinemo."
            )


def _scheduler(folder: Path, saved: bool) -> Any:
    """The released code's solver and schedule; in a saved folder, what it says."""
    config = read(DDIMScheduler.load_config, folder)
    if saved:
        scheduler_class = getattr(diffusers, str(config.get("_class_name")), None)
        if scheduler_class is None:
            raise UnsupportedError(f"{folder / 'scheduler_config.json'} names no known scheduler.")
        return read(scheduler_class.from_pretrained, folder)
    kind = config.get("prediction_type", "epsilon")
    if kind != "epsilon":
        raise UnsupportedError(
            f"{folder / 'scheduler_config.json'} says prediction_type: {kind!r}; Cinemo predicts "
            "noise ('epsilon')."
        )
    return read(lambda _: DDIMScheduler.from_config({**config, **_SCHEDULE}), folder)
