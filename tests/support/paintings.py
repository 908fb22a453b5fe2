"""Tiny paintings and runs for tests: real files, the real preview, milliseconds each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from tasks.config import RunConfig
from tasks.runfile import parse_run

PROMPTS = ("clouds drift across the sky", "the water ripples", "leaves sway in the wind")
# 4 frames of 32x32 px in 4 steps: the whole line in some 50 ms a painting.
TINY = {
    "model": {"num_frames": 4},
    "prepare": {"area": 1024},
    "distill": {"num_inference_steps": 4},
    "animate": {"num_inference_steps": 4},
    "execution": {"device": "cpu", "limits": {"min_side": 16}},
}


def painting(seed: int, width: int = 40, height: int = 32) -> Image.Image:
    """A smooth coloured picture with some detail; another one for every seed."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 255, (5, 6, 3), dtype=np.uint8))
    return coarse.resize((width, height), Image.Resampling.BICUBIC)


def write_paintings(folder: Path, count: int, **size: int) -> Path:
    """``count`` PNG files and a metadata.csv with prompts."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["file_name,title,artist,prompt"]
    for number in range(count):
        name = f"work-{number:04d}.png"
        painting(number, **size).save(folder / name)
        lines.append(f"{name},Work {number},The Tester,{PROMPTS[number % len(PROMPTS)]}")
    (folder / "metadata.csv").write_text("\n".join(lines) + "\n")
    return folder


def tiny_run(catalog: Path | str, output: Path | str, **settings: Any) -> RunConfig:
    """A run at toy size; ``settings`` are merged in, nested ones by nested dicts."""
    tree = _merged({**TINY, "catalog": str(catalog), "output": str(output)}, settings)
    return parse_run(tree)


def _merged(tree: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    result = dict(tree)
    for name, value in more.items():
        old = result.get(name)
        both = isinstance(old, dict) and isinstance(value, dict)
        result[name] = _merged(old, value) if both else value  # type: ignore[arg-type]
    return result


def write_run_file(folder: Path, count: int, output: str = "out", **settings: Any) -> Path:
    """``count`` paintings in `in` and a toy-size run over them in `RUN.yaml`; its path."""
    write_paintings(folder / "in", count)
    file = folder / "RUN.yaml"
    tree = _merged({**TINY, "catalog": "in", "output": output}, settings)
    file.write_text(yaml.safe_dump(tree))
    return file
