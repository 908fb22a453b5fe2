"""Loading AnimateAnything from the folder its authors release, and from one saved here.

The released ``model_index.json`` names classes of the authors' own code, so the parts are loaded
one by one. A saved folder has the same parts and goes the same way. Strict, where diffusers would
fill what is missing or of another shape with noise and go on.
"""

import inspect
import json
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import AutoencoderKL, DPMSolverMultistepScheduler
from transformers import CLIPTextModel, CLIPTokenizer

from epa_core.errors import UnsupportedError
from epa_core.models.animate_anything import AnimateAnythingPipeline
from epa_core.models.animate_anything_unet import MaskedMotionUNet3D
from epa_core.weights import model_index, quiet

RELEASED_CLASS = "LatentToVideoPipeline"

# Keys without effect: the first may be missing, the second left over (old transformers wrote it).
MAY_BE_MISSING = "motion_embedding."
MAY_BE_LEFT_OVER = "embeddings.position_ids"

# How a part's weights are called, as safetensors and pickled.
_DIFFUSERS_NAMES = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin")
_TRANSFORMERS_NAMES = ("model.safetensors", "pytorch_model.bin")


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
    _check_files(folder)
    with quiet():
        pipeline = AnimateAnythingPipeline(
            vae=_network(AutoencoderKL, folder / "vae", dtype),
            text_encoder=_network(CLIPTextModel, folder / "text_encoder", dtype),
            tokenizer=_read(CLIPTokenizer.from_pretrained, folder / "tokenizer"),
            unet=_unet(folder / "unet", dtype),
            scheduler=_scheduler(folder / "scheduler", found),
        )
    _check_together(folder, pipeline)
    return pipeline


# diffusers takes a configuration that is no object for one to be looked up on the hub.
_CONFIGURATIONS = (
    "scheduler/scheduler_config.json",
    "unet/config.json",
    "vae/config.json",
    "text_encoder/config.json",
)


def _check_files(folder: Path) -> None:
    needed: list[tuple[str, ...]] = [(name,) for name in _CONFIGURATIONS]
    for part in ("unet", "vae", "text_encoder"):
        whole = _TRANSFORMERS_NAMES if part == "text_encoder" else _DIFFUSERS_NAMES
        needed.append(tuple(f"{part}/{name}{end}" for end in ("", ".index.json") for name in whole))
    if not (folder / "tokenizer" / "tokenizer.json").is_file():
        needed += [("tokenizer/vocab.json",), ("tokenizer/merges.txt",)]
    for names in needed:
        if not any((folder / name).is_file() for name in names):
            other = f" (or {Path(names[1]).name})" if len(names) > 1 else ""
            raise UnsupportedError(
                f"The folder {folder} is no whole AnimateAnything checkpoint: "
                f"{names[0]}{other} is missing."
            )
    for name in _CONFIGURATIONS:
        try:
            content = json.loads((folder / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            content = None
        if not isinstance(content, dict):
            raise UnsupportedError(
                f"The folder {folder} is no whole AnimateAnything checkpoint: "
                f"{name} is not a JSON object."
            )


def _unet(folder: Path, dtype: torch.dtype) -> MaskedMotionUNet3D:
    # Later training code widens conv_in to the mask's channel; the weights know, the configuration
    # may not.
    width = 4
    try:
        return _network(MaskedMotionUNet3D, folder, dtype)
    except _OtherShapes as error:
        shape = error.shapes.get("conv_in.weight", ())
        if set(error.shapes) != {"conv_in.weight"} or shape[1] not in (width, width + 1):
            raise
        return _network(MaskedMotionUNet3D, folder, dtype, in_channels=shape[1])


class _OtherShapes(UnsupportedError):
    """Keys of a checkpoint with other shapes than the network's, and nothing else wrong."""

    def __init__(self, message: str, shapes: dict[str, tuple[int, ...]]):
        super().__init__(message)
        self.shapes = shapes


def _network(network_class: Any, folder: Path, dtype: torch.dtype, **settings: Any) -> Any:
    """The network in ``folder``, exactly as it was saved; ``settings`` override its config."""
    pickled = not any(folder.glob("*.safetensors*"))
    network, report = _read(
        network_class.from_pretrained,
        folder,
        dtype=dtype,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # reported, with all the others
        use_safetensors=not pickled,
        **settings,
    )
    absent = set(report["missing_keys"])
    missing = {key for key in absent if not key.startswith(MAY_BE_MISSING)}
    left = {key for key in report["unexpected_keys"] if not key.endswith(MAY_BE_LEFT_OVER)}
    other = {key: (tuple(theirs), tuple(ours)) for key, theirs, ours in report["mismatched_keys"]}
    problems = [f"{_some(missing)} missing"] * bool(missing)
    problems += [f"{_some(left)} not known to this model"] * bool(left)
    shapes = [
        f"{key} has shape {theirs} instead of {ours}" for key, (theirs, ours) in other.items()
    ]
    if problems or shapes:
        message = f"The weights in {folder} do not fit {network_class.__name__}: "
        message += "; ".join([*problems, *sorted(shapes)[:3]]) + "."
        if problems:
            raise UnsupportedError(message)
        raise _OtherShapes(message, {key: theirs for key, (theirs, _) in other.items()})
    for key in absent - missing:
        parent, _, name = key.rpartition(".")
        empty = torch.zeros(network.get_parameter(key).shape, dtype=dtype)
        setattr(network.get_submodule(parent), name, torch.nn.Parameter(empty))
    return network


def _some(keys: set[str]) -> str:
    first = sorted(keys)[:3]
    more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
    return f"{'keys' if len(keys) > 1 else 'the key'} {', '.join(first)}{more}"


def _scheduler(folder: Path, index: dict[str, Any]) -> Any:
    """The solver of the released code on the released schedule; in a saved folder, what it says.

    The released file belongs to another scheduler. The solver takes from it what it knows by name
    and has its own defaults for the rest: without ``timestep_spacing``, "linspace". It used to end
    at the smallest training sigma, where newer versions of diffusers go on to zero.
    """
    config = _read(DPMSolverMultistepScheduler.load_config, folder)
    if index["_class_name"] == RELEASED_CLASS:
        known = inspect.signature(DPMSolverMultistepScheduler).parameters
        taken = {name: value for name, value in config.items() if name in known}
        return _read(
            lambda _: DPMSolverMultistepScheduler(**{"final_sigmas_type": "sigma_min", **taken}),
            folder,
        )
    scheduler_class = getattr(diffusers, str(config.get("_class_name")), None)
    if scheduler_class is None:
        raise UnsupportedError(f"{folder / 'scheduler_config.json'} names no known scheduler.")
    return _read(scheduler_class.from_pretrained, folder)


def _check_together(folder: Path, pipeline: AnimateAnythingPipeline) -> None:
    """UnsupportedError for parts that are whole but of different models."""
    text, unet, vae = pipeline.text_encoder.config, pipeline.unet.config, pipeline.vae.config
    for what, one, other in (
        (
            "the UNet's text width and the text encoder's",
            unet.cross_attention_dim,
            text.hidden_size,
        ),
        ("the UNet's latent channels and the VAE's", unet.out_channels, vae.latent_channels),
        ("the tokenizer's words and the text encoder's", len(pipeline.tokenizer), text.vocab_size),
    ):
        if one != other:
            raise UnsupportedError(
                f"The parts in {folder} do not belong together: {what} are {one} and {other}."
            )


def _read(load: Any, folder: Path, **arguments: Any) -> Any:
    """``load(folder)``; whatever the libraries raise for unreadable files as UnsupportedError."""
    own = torch.get_default_dtype()
    try:
        return load(str(folder), **arguments)
    except Exception as error:  # safetensors, pickle, json and both libraries have their own
        reason = " ".join(str(error).split())[:300]
        raise UnsupportedError(f"{folder} could not be read: {reason}") from error
    finally:
        torch.set_default_dtype(own)  # which a failed load in half precision leaves behind
