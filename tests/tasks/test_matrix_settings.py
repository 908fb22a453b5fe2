"""What a matrix says: its cells in the order written, and one sentence for what is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from paintings import tiny_run, write_paintings

from catalogs.errors import ConfigError
from tasks.collection import Collection, in_material
from tasks.config import Recipe, RunConfig
from tasks.levers import KEYED
from tasks.matrix import MOST_CELLS, settings_of
from tasks.runfile import parse_run

BASE = {"catalog": "in", "output": "out"}


def test_cells_are_every_combination_in_the_order_written() -> None:
    matrix = {"variant": ["V", "S"], "distill.p": [0.4, 1], "model.options.x": ["a", None]}
    cells = parse_run({**BASE, "matrix": matrix}).cells()
    assert [cell.label for cell in cells] == [
        f"variant={variant}, distill.p={p}, model.options.x={x}"
        for variant in ("V", "S")
        for p in ("0.4", "1")
        for x in ("a", "null")
    ]
    assert cells[5].recipe.variant == "S"
    assert cells[5].recipe.distill.p == 0.4
    assert cells[5].recipe.model.options == {"x": None}
    assert cells[5].recipe.encode.fps == 8  # resolved as any recipe


def test_without_a_matrix_there_is_one_cell_with_the_runs_recipe() -> None:
    for tree in (BASE, {**BASE, "matrix": {}}):
        [cell] = parse_run(tree).cells()
        assert (cell.label, cell.recipe) == (None, parse_run(BASE).recipe())


@pytest.mark.parametrize(
    ("matrix", "sentence"),
    [
        ({"distil.p": [0.4]}, "there is no such setting of a video; did you mean 'distill.p'?"),
        ({"title": ["a"]}, "matrix.title: there is no such setting of a video; allowed: seed,"),
        ({"execution.batch_size": [1, 2]}, "matrix.execution.batch_size: there is no such"),
        ({"distill": [{"p": 0.4}]}, "matrix.distill is a group of settings; name one: distill."),
        ({"model.name": ["preview", "svd"]}, "matrix.model.name: it is one to a run"),
        ({"proxy.dtype": ["float16"]}, "matrix.proxy.dtype: it is one to a run"),
        ({"distill.p": []}, "matrix.distill.p is empty"),
        ({"distill.p": [0.4, 2]}, "distill.p = 2: Input should be less than or equal to 1"),
        ({"variant": ["V", "U"]}, "variant = 'U': Input should be 'baseline', 'V', 'S'"),
        ({"distill.p": [0.4, 0.6, 0.40]}, "matrix: distill.p=0.4 is there twice"),
        ({"encode.fps": [8, 8.0]}, "matrix: encode.fps=8 is there twice"),
        ({"variant": "V"}, "matrix.variant = 'V'"),
        (["variant"], "matrix = ['variant']"),
        ({"seed": list(range(129)), "variant": ["V", "S"]}, f"258 cells; at most {MOST_CELLS}"),
        ({"proxy.strength": [0.3, 0.5]}, "'strength'"),
        ({"model.options": [{}], "model.options.x": [1]}, "matrix.model.options: another"),
    ],
)
def test_a_wrong_matrix_gets_one_sentence(matrix: Any, sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_run({**BASE, "matrix": matrix})
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_material_names_every_setting_that_may_vary(tmp_path: Path) -> None:
    # Of the choice among seeds the material says what is not as usual.
    select = {"candidates": 2, "max_seeds": 3, "rule": "motion", "flags": ["static"]}
    source = write_paintings(tmp_path / "in", 1)
    collection = Collection.open(tiny_run(source, tmp_path / "out", select=select))
    material = collection.material(collection.works[0])
    fixed = {"model.source", "model.revision", "proxy.source", "proxy.revision"}
    names = {in_material(name) for name, _ in settings_of(Recipe) if name not in fixed}
    names -= {f"model.{lever}" for lever in KEYED}  # one to a run, and off there
    assert names <= set(material)
    assert in_material("model.options.motion_strength") == "model.options"


def test_a_run_with_a_matrix_travels_as_json() -> None:
    run = parse_run({**BASE, "matrix": {"variant": ["V", "S"], "distill.p": [0.4, 0.8]}})
    assert RunConfig.model_validate(run.model_dump(mode="json")) == run
