"""The paper's preset: one line of a run file for what its authors used, and nothing more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny_animate_anything import write_released_checkpoint
from tiny_proxies import write_refiner

from catalogs.errors import ConfigError
from epa_core.cards import model_card
from epa_core.errors import UnsupportedError
from flows.template import run_template
from tasks.config import RunConfig
from tasks.keychain import COLUMNS, KeyChain
from tasks.presets import PRESETS, place
from tasks.runfile import dump_run, load_run_file, parse_run

PAPER = {"catalog": "in", "output": "out", "preset": "paper"}
ROW: dict[str, Any] = dict.fromkeys(COLUMNS) | {
    "id": "a",
    "image_uri": "a.png",
    "image_sha256": "0" * 64,
    "prompt": "the water ripples",
}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny weights in the released layouts, in folders as the written run file names them."""
    folder = tmp_path_factory.mktemp("weights")
    write_released_checkpoint(folder / "animate_anything_512_v1.02")
    write_refiner(folder / "stable-diffusion-xl-refiner-1.0")
    return folder


def sources(weights: Path) -> dict[str, Any]:
    """Settings that name both folders."""
    return {
        "model": {"source": str(weights / "animate_anything_512_v1.02")},
        "proxy": {"source": str(weights / "stable-diffusion-xl-refiner-1.0")},
    }


def by_hand() -> dict[str, Any]:
    """A run file's tree with the preset's values written out."""
    tree: dict[str, Any] = {"catalog": "in", "output": "out"}
    for name, given in PRESETS["paper"].items():
        place(tree, name, given.value)
    return tree


def test_the_papers_numbers() -> None:
    run = parse_run(PAPER)
    recipe = run.recipe()
    assert (recipe.seed, recipe.variant) == (42, "V+S")
    assert (recipe.model.name, recipe.model.num_frames) == ("animate-anything", 16)
    assert (recipe.model.guidance_scale, recipe.model.options) == (9, {"motion_strength": 8})
    assert (recipe.prepare.area, recipe.prepare.multiple) == (512 * 512, 8)
    proxy = recipe.proxy
    assert (proxy.name, proxy.strength) == ("sdxl-refiner", 0.5)
    assert (proxy.num_inference_steps, proxy.guidance_scale) == (50, 5)
    distill = recipe.distill
    assert (distill.num_inference_steps, distill.p) == (25, 0.6)
    assert distill.alpha_curve == "stepwise-decreasing"
    assert (distill.alpha_first, distill.alpha_last) == (10, 1)
    assert recipe.animate.num_inference_steps == 25
    assert (recipe.encode.fps, recipe.encode.gif) == (8, True)
    # Where the paper and its code differ, it is the paper's reading.
    assert (recipe.one_stream, recipe.animate.half_slerp) == (False, False)


def test_the_preset_enters_no_key(weights: Path) -> None:
    short = parse_run({**PAPER, **sources(weights)})
    tree = by_hand()
    for section, source in sources(weights).items():
        tree[section] |= source
    assert "preset" not in tree
    keys = KeyChain(short.recipe()).keys(ROW)
    assert KeyChain(parse_run(tree).recipe()).keys(ROW) == keys
    tree["distill"]["p"] = 0.5
    assert KeyChain(parse_run(tree).recipe()).keys(ROW) != keys


def test_the_weights_are_the_users_to_name() -> None:
    with pytest.raises(UnsupportedError, match=r"model\.source") as caught:
        KeyChain(parse_run(PAPER).recipe())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("written", "field", "value"),
    [
        ({"seed": 7}, "seed", 7),
        ({"encode": {"gif": False}}, "encode.gif", False),
        ({"model": {"guidance_scale": None}}, "model.guidance_scale", None),
        ({"model": {"options": {"motion_strength": 3}}}, "model.options", {"motion_strength": 3}),
        ({"distill": {"p": 0.4}}, "distill.p", 0.4),
        ({"proxy": {"strength": 0.3}}, "proxy.strength", 0.3),
    ],
)
def test_what_is_written_overrides_and_nothing_else(
    written: dict[str, Any], field: str, value: object
) -> None:
    plain, run = parse_run(PAPER), parse_run({**PAPER, **written})

    def at(run: RunConfig) -> object:
        found: Any = run
        for part in field.split("."):
            found = getattr(found, part)
        return found

    assert at(run) == value != at(plain)
    *parents, last = field.split(".")
    tree = plain.model_dump()
    node = tree
    for parent in parents:
        node = node[parent]
    node[last] = value
    assert run.model_dump() == tree
    assert parse_run(yaml.safe_load(dump_run(run))) == run


def test_another_model_or_maker_takes_none_of_their_settings() -> None:
    run = parse_run({**PAPER, "model": {"name": "preview"}, "proxy": {"name": "given"}})
    assert run.model.options == {}
    assert run.model.guidance_scale is None
    assert run.proxy.settings() == {}
    assert (run.distill.p, run.encode.gif, run.seed) == (0.6, True, 42)


@pytest.mark.parametrize("name", ["wan2.1-i2v-480p", "svd", "preview"])
def test_another_model_keeps_its_own_canvas_and_pace(name: str) -> None:
    card = model_card(name)
    recipe = parse_run({**PAPER, "model": {"name": name}}).recipe()
    assert (recipe.prepare.area, recipe.prepare.multiple) == (card.area, card.multiple)
    assert (recipe.encode.fps, recipe.encode.gif) == (card.fps, True)
    asked = {**PAPER, "model": {"name": name}, "prepare": {"area": 65536}}
    prepare = parse_run(asked).recipe().prepare
    assert (prepare.area, prepare.multiple) == (65536, card.multiple)


def test_a_dump_says_only_what_differs_from_the_preset() -> None:
    run = parse_run({**PAPER, "encode": {"gif": False}})
    tree = yaml.safe_load(dump_run(run))
    assert tree == {**PAPER, "encode": {"gif": False}}
    # As Prefect hands it on: JSON, with every value.
    assert RunConfig.model_validate(run.model_dump(mode="json")) == run


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("papre", "there is no such preset; did you mean 'paper'?"),
        ("fast", "there is no such preset; allowed: paper"),
        (3, "preset = 3"),
    ],
)
def test_an_unknown_preset(name: object, sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_run({**PAPER, "preset": name})
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_written_run_file_is_the_preset(weights: Path) -> None:
    text = run_template("paper")
    file = weights / "RUN.yaml"
    file.write_text(text)
    run = load_run_file(str(file))
    own = {**sources(weights), "proxy": {"revision": "main"}}  # the refiner's own hub id
    assert run.recipe() == parse_run({**PAPER, **own}).recipe()
    assert KeyChain(run.recipe()).proxy.endswith("stable-diffusion-xl-refiner-1.0@main")
    for name, given in PRESETS["paper"].items():
        last = name.rpartition(".")[2]
        marked = (line for line in text.splitlines() if f"'paper': {given.source}" in line)
        assert any(f"{last}: " in line for line in marked), name
    with pytest.raises(ConfigError, match="did you mean 'paper'"):
        run_template("papr")


def test_the_plain_template_has_no_preset_beneath_its_values() -> None:
    assert "preset" not in yaml.safe_load(run_template())
