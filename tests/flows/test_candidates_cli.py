"""What the command line says of works that are the best of several seeds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from command_line import Answer
from local_runner import run_locally
from paintings import TINY, tiny_run, write_paintings

from flows.template import run_template
from tasks.runfile import parse_run

Epa = Callable[..., Answer]


def test_why_says_which_seed_was_kept_and_what_came_of_the_others(epa: Epa, tmp_path: Path) -> None:
    source, out = write_paintings(tmp_path / "in", 1), tmp_path / "out"
    select = {"candidates": 2, "rule": "motion"}
    run_locally(tiny_run(source, out))
    _, collection = run_locally(tiny_run(source, out, select=select))
    tree: dict[str, Any] = {**TINY, "catalog": str(source), "output": ".", "select": select}
    (out / "run.yaml").write_text(yaml.safe_dump(tree))
    [row] = collection.results().to_pylist()
    said = epa("why", out, "Work 0").out
    assert f", best of 2 (seed {row['seed']}): 0 {row['flag']} " in said
    assert said.count("(kept)") == said.count("best of") == 1
    assert "select.candidates = 2" in said
    # The plan tells works that would be chosen anew under another rule.
    file = tmp_path / "RUN.yaml"
    changed = {**tree, "output": str(out), "select": {**select, "rule": "fidelity"}}
    file.write_text(yaml.safe_dump(changed))
    assert "changed: select.rule motion -> fidelity" in epa("plan", file).out


def test_why_of_cells_with_and_without_candidates(epa: Epa, tmp_path: Path) -> None:
    source, out = write_paintings(tmp_path / "in", 1), tmp_path / "out"
    matrix = {"select.candidates": [1, 2], "select.max_seeds": [1]}
    run_locally(tiny_run(source, out, matrix=matrix))
    tree: dict[str, Any] = {**TINY, "catalog": str(source), "output": ".", "matrix": matrix}
    (out / "run.yaml").write_text(yaml.safe_dump(tree))
    answer = epa("why", out, "Work 0")
    assert answer.code == 0, answer.err
    assert answer.out.count("best of 2") == answer.out.count("select.candidates = 2") == 1


def test_the_run_file_of_init_shows_the_group_switched_off() -> None:
    text = run_template()
    assert "\nselect:\n  candidates: 1  # " in text
    tree = yaml.safe_load(text)
    assert tree["select"] == {
        "candidates": 1,
        "max_seeds": 1,
        "rule": "balanced",
        "flags": ["cross-fade", "static"],
    }
    assert not parse_run(tree).recipe().select.active
