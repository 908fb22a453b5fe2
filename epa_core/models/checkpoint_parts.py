"""The parts of a released checkpoint, loaded one by one and strictly.

Released ``model_index.json`` files name classes of their authors' own code, and diffusers would
fill what is missing or of another shape with noise and go on.
"""

import json
import re
from pathlib import Path
from typing import Any

import torch

from epa_core.errors import UnsupportedError

NONE = re.compile(r"(?!)")  # matches nothing

# What old versions of transformers wrote into the text encoder's weights, without effect.
TEXT_LEFT_OVER = re.compile(r"embeddings\.position_ids$")

# How a part's weights are called, as safetensors and pickled.
_DIFFUSERS_NAMES = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin")
_TRANSFORMERS_NAMES = ("model.safetensors", "pytorch_model.bin")


def check_files(folder: Path, model: str, vae: str = "vae") -> dict[str, dict[str, Any]]:
    """The configurations of ``model``'s parts in ``folder``, whose VAE is in the folder ``vae``.

    UnsupportedError where one, or a part's weights, is missing.
    """
    configurations = [f"{part}/config.json" for part in ("unet", vae, "text_encoder")]
    configurations.insert(0, "scheduler/scheduler_config.json")
    needed: list[tuple[str, ...]] = [(name,) for name in configurations]
    for part in ("unet", vae, "text_encoder"):
        whole = _TRANSFORMERS_NAMES if part == "text_encoder" else _DIFFUSERS_NAMES
        needed.append(tuple(f"{part}/{name}{end}" for end in ("", ".index.json") for name in whole))
    if not (folder / "tokenizer" / "tokenizer.json").is_file():
        needed += [("tokenizer/vocab.json",), ("tokenizer/merges.txt",)]
    what = f"The folder {folder} is no whole {model} checkpoint"
    for names in needed:
        if not any((folder / name).is_file() for name in names):
            other = f" (or {Path(names[1]).name})" if len(names) > 1 else ""
            raise UnsupportedError(f"{what}: {names[0]}{other} is missing.")
    return {name: _configuration(folder / name, f"{what}: {name}") for name in configurations}


def _configuration(path: Path, what: str) -> dict[str, Any]:
    # diffusers takes a configuration that is no object for one to be looked up on the hub.
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        content = None
    if not isinstance(content, dict):
        raise UnsupportedError(f"{what} is not a JSON object.")
    return content


class OtherShapes(UnsupportedError):
    """Keys of a checkpoint with other shapes than the network's, and nothing else wrong."""

    def __init__(self, message: str, shapes: dict[str, tuple[int, ...]]):
        super().__init__(message)
        self.shapes = shapes


def network(
    network_class: Any,
    folder: Path,
    dtype: torch.dtype,
    *,
    may_be_missing: re.Pattern[str] = NONE,
    may_be_left_over: re.Pattern[str] = NONE,
    **settings: Any,
) -> Any:
    """The network in ``folder``, exactly as it was saved; ``settings`` override its config.

    UnsupportedError names the keys that are missing, left over or of another shape, but for those
    that match a pattern; missing ones are zero.
    """
    pickled = not any(folder.glob("*.safetensors*"))
    found, report = read(
        network_class.from_pretrained,
        folder,
        dtype=dtype,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # reported, with all the others
        use_safetensors=not pickled,
        **settings,
    )
    absent = set(report["missing_keys"])
    missing = {key for key in absent if not may_be_missing.search(key)}
    left = {key for key in report["unexpected_keys"] if not may_be_left_over.search(key)}
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
        raise OtherShapes(message, {key: theirs for key, (theirs, _) in other.items()})
    for key in absent - missing:
        parent, _, name = key.rpartition(".")
        empty = torch.zeros(found.get_parameter(key).shape, dtype=dtype)
        setattr(found.get_submodule(parent), name, torch.nn.Parameter(empty))
    return found


def _some(keys: set[str]) -> str:
    first = sorted(keys)[:3]
    more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
    return f"{'keys' if len(keys) > 1 else 'the key'} {', '.join(first)}{more}"


def check_together(folder: Path, pipeline: Any) -> None:
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


def read(load: Any, folder: Path, **arguments: Any) -> Any:
    """``load(folder)``; whatever the libraries raise for unreadable files as UnsupportedError."""
    own = torch.get_default_dtype()
    try:
        return load(str(folder), **arguments)
    except Exception as error:  # safetensors, pickle, json and both libraries have their own
        reason = " ".join(str(error).split())[:300]
        raise UnsupportedError(f"{folder} could not be read: {reason}") from error
    finally:
        torch.set_default_dtype(own)  # which a failed load in half precision leaves behind
