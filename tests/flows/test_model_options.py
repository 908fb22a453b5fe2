"""Options that a model does not take end `epa plan` with one sentence, before it is loaded."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from paintings import write_paintings


def run_file(folder: Path, **settings: Any) -> Path:
    write_paintings(folder / "in", 1)
    file = folder / "RUN.yaml"
    file.write_text(yaml.safe_dump({"catalog": "in", "output": "out", **settings}))
    return file


@pytest.mark.parametrize(
    ("model", "options", "sentence"),
    [
        ("consisti2v", {"frame_stride": 0}, "model.options: frame_stride is 0; use a whole number"),
        ("cinemo", {"epa_readin": "x"}, "cinemo takes no 'epa_readin'; did you mean 'epa_reading'"),
        ("svd", {"motion_bucket": 3}, "model.options: svd takes no 'motion_bucket'; did you mean"),
        ("svd", {"fps": "fast"}, "model.options: fps is 'fast'; use a whole number"),
    ],
)
def test_plan_says_what_a_model_does_not_take(
    epa: Any, tmp_path: Path, model: str, options: dict[str, Any], sentence: str
) -> None:
    choice = {"name": model, "revision": "0" * 40, "options": options}
    answer = epa("plan", run_file(tmp_path, model=choice))
    assert answer.code == 2
    assert sentence in answer.err
    assert len(answer.err.strip().splitlines()) == 1


def test_every_cell_of_a_matrix_is_looked_at(epa: Any, tmp_path: Path) -> None:
    model = {"name": "consisti2v", "revision": "0" * 40}
    matrix = {"model.options.noise": ["vanilla", "pink"]}
    answer = epa("plan", run_file(tmp_path, model=model, matrix=matrix))
    assert answer.code == 2
    assert "noise is 'pink'; use pyoco_mixed, vanilla" in answer.err


def test_described_options_are_checked_without_torch(tmp_path: Path) -> None:
    options = {"frame_init_filter": "box"}
    model = {"name": "consisti2v", "revision": "0" * 40, "options": options}
    code = (
        f"import sys; sys.argv = ['epa', 'plan', {str(run_file(tmp_path, model=model))!r}]\n"
        "from flows.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "print(sorted({'torch', 'prefect', 'diffusers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
