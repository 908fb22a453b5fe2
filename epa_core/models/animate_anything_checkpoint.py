"""Loading AnimateAnything from the folder its authors release, and from one saved here.

The released ``model_index.json`` names classes of the authors' own code, so the parts are loaded
one by one. A saved folder has the same parts and goes the same way. Strict, where diffusers would
fill what is missing or of another shape with noise and go on.
"""

import inspect
import re
from functools import partial
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import AutoencoderKL, DPMSolverMultistepScheduler
from transformers import CLIPTextModel, CLIPTokenizer

from epa_core.errors import UnsupportedError
from epa_core.models.animate_anything import AnimateAnythingPipeline
from epa_core.models.animate_anything_unet import MaskedMotionUNet3D
from epa_core.models.checkpoint_parts import (
    TEXT_LEFT_OVER,
    OtherShapes,
    check_files,
    check_together,
    network,
    read,
)
from epa_core.weights import model_index, quiet

RELEASED_CLASS = "LatentToVideoPipeline"

# Keys without effect.
MAY_BE_MISSING = re.compile(r"^motion_embedding\.")


def load_animate_anything(
    folder: Path | str, dtype: torch.dtype = torch.float32
) -> AnimateAnythingPipeline:
    """Return the pipeline in ``folder`` in ``dtype``, on the CPU.

    ``folder`` is a released one (safetensors or .bin, which are read as weights only) or one that
    ``AnimateAnythingPipeline.save_pretrained`` wrote. UnsupportedError names the file or the key
    that is missing, left over, unreadable or of another shape.
    """
    folder = Path(folder)
    found = model_index(folder)
    ours = AnimateAnythingPipeline.__name__
    if found["_class_name"] not in (RELEASED_CLASS, ours):
        raise UnsupportedError(
            f"The folder {folder} holds a {found['_class_name']}, not a {RELEASED_CLASS} (as "
            f"AnimateAnything is released) or a {ours}."
        )
    check_files(folder, "AnimateAnything")
    with quiet():
        pipeline = AnimateAnythingPipeline(
            vae=network(AutoencoderKL, folder / "vae", dtype),
            text_encoder=network(
                CLIPTextModel, folder / "text_encoder", dtype, may_be_left_over=TEXT_LEFT_OVER
            ),
            tokenizer=read(CLIPTokenizer.from_pretrained, folder / "tokenizer"),
            unet=_unet(folder / "unet", dtype),
            scheduler=_scheduler(folder / "scheduler", found),
        )
    check_together(folder, pipeline)
    return pipeline


def _unet(folder: Path, dtype: torch.dtype) -> MaskedMotionUNet3D:
    # Later training code widens conv_in to the mask's channel; the weights know, the configuration
    # may not.
    width = 4
    load = partial(network, MaskedMotionUNet3D, folder, dtype, may_be_missing=MAY_BE_MISSING)
    try:
        return load()
    except OtherShapes as error:
        shape = error.shapes.get("conv_in.weight", ())
        if set(error.shapes) != {"conv_in.weight"} or shape[1] not in (width, width + 1):
            raise
        return load(in_channels=shape[1])


def _scheduler(folder: Path, index: dict[str, Any]) -> Any:
    """The solver of the released code on the released schedule; in a saved folder, what it says.

    The released file belongs to another scheduler. The solver takes from it what it knows by name
    and has its own defaults for the rest: without ``timestep_spacing``, "linspace". It used to end
    at the smallest training sigma, where newer versions of diffusers go on to zero.
    """
    config = read(DPMSolverMultistepScheduler.load_config, folder)
    if index["_class_name"] == RELEASED_CLASS:
        known = inspect.signature(DPMSolverMultistepScheduler).parameters
        taken = {name: value for name, value in config.items() if name in known}
        return read(
            lambda _: DPMSolverMultistepScheduler(**{"final_sigmas_type": "sigma_min", **taken}),
            folder,
        )
    scheduler_class = getattr(diffusers, str(config.get("_class_name")), None)
    if scheduler_class is None:
        raise UnsupportedError(f"{folder / 'scheduler_config.json'} names no known scheduler.")
    return read(scheduler_class.from_pretrained, folder)
