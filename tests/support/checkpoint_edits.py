"""Changes of a checkpoint's files, made at once or kept as a function of its folder."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

Weights = dict[str, torch.Tensor]
Edit = Callable[[Path], object]
PARTS = ("unet", "vae", "text_encoder")
UNET_FILE = "unet/diffusion_pytorch_model.safetensors"


def edit_weights(file: Path, change: Callable[[Weights], object]) -> None:
    content = load_file(file)
    change(content)
    save_file(content, file, metadata={"format": "pt"})


def edit_json(file: Path, **changes: Any) -> None:
    content = json.loads(file.read_text())
    file.write_text(json.dumps({**content, **changes}))


def weights(name: str, change: Callable[[Weights], object]) -> Edit:
    return lambda folder: edit_weights(folder / name, change)


def config(name: str, **changes: Any) -> Edit:
    return lambda folder: edit_json(folder / name, **changes)


def remove(name: str) -> Edit:
    def change(folder: Path) -> None:
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return change


def write(name: str, content: bytes) -> Edit:
    return lambda folder: (folder / name).write_bytes(content)


def assert_same_weights(one: Any, other: Any) -> None:
    """All networks of two pipelines are equal, bit for bit and in their dtypes."""
    for part in PARTS:
        ours, theirs = (getattr(pipeline, part).state_dict() for pipeline in (one, other))
        assert ours.keys() == theirs.keys()
        for key, value in ours.items():
            assert value.dtype == theirs[key].dtype
            assert torch.equal(value, theirs[key]), key
