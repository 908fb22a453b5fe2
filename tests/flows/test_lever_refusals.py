"""Levers that a model has no use for end `epa plan` and `epa run` before anything is loaded."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from paintings import write_paintings

WAN = {"name": "wan2.1-i2v-480p", "revision": "abc"}


def run_file(folder: Path, model: dict[str, Any], execution: dict[str, Any]) -> Path:
    write_paintings(folder / "in", 1)
    tree = {"catalog": "in", "output": "out", "model": model, "execution": execution}
    file = folder / "RUN.yaml"
    file.write_text(yaml.safe_dump(tree))
    return file


@pytest.mark.parametrize("command", ["plan", "run"])
@pytest.mark.parametrize(
    ("model", "execution", "sentence"),
    [
        (WAN, {"vae_slicing": True}, "vae_slicing would do nothing for wan2.1-i2v-480p"),
        (WAN | {"step_cache": {"name": "pab"}}, {}, "take step_cache 'first-block' or step_cache"),
        ({"vae_tiling": True}, {}, "preview has no network, so vae_tiling would do nothing"),
        (WAN, {"device": "cpu", "offload": "model"}, "to an accelerator, not the CPU"),
        (WAN | {"attention": "sage"}, {"device": "cpu"}, "'sage' computes on CUDA devices only"),
        (
            {"name": "cogvideox-5b-i2v", "revision": "abc", "guidance_scale": 1.0}
            | {"step_cache": {"name": "faster"}},
            {},
            "guidance_scale 1 means no guidance; take 'pab'",
        ),
        (
            WAN | {"step_cache": {"name": "taylorseer", "modules": ["attn["]}},
            {},
            "step_cache.modules 'attn[' is no pattern",
        ),
    ],
)
def test_plan_and_run_end_with_one_sentence(
    epa: Any,
    tmp_path: Path,
    command: str,
    model: dict[str, Any],
    execution: dict[str, Any],
    sentence: str,
) -> None:
    answer = epa(command, run_file(tmp_path, model, execution))
    assert answer.code == 2
    assert sentence in answer.err
    assert len(answer.err.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_no_torch_is_needed_to_refuse(tmp_path: Path) -> None:
    file = run_file(tmp_path, WAN, {"channels_last": True})
    code = (
        f"import sys; sys.argv=['epa','run',{str(file)!r}]\n"
        "from flows.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: print(end.code)\n"
        "print(sorted({'torch','prefect','diffusers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["2", "[]"]
    assert "has no 2-D convolutions" in done.stderr
