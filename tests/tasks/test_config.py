"""Every setting either enters a key or is marked runtime-only; wrong ones get one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from catalog_rows import ROW
from pydantic import BaseModel

from catalogs.errors import ConfigError
from flows.template import run_template
from tasks.base import Params
from tasks.config import RUNTIME_ONLY, Recipe, RunConfig
from tasks.keychain import KeyChain
from tasks.runfile import dump_run, load_run_file, parse_run

BASE = {"catalog": "in", "output": "out"}
# Another valid value for every setting that enters a key.
OTHER: dict[str, Any] = {
    "seed": 1,
    "variant": "V",
    "one_stream": True,
    "model.name": None,  # another model needs weights; its identity is tested with the cards
    "model.source": None,  # the preview has none; likewise
    "model.revision": None,
    "model.dtype": None,  # of weights; below
    "model.num_frames": 5,
    "model.guidance_scale": None,  # which a closed formula has none of; below
    "model.options": {"x": 1},
    "model.storage_dtype": None,  # the preview has nothing for levers: test_lever_settings
    "model.vae_tiling": None,
    "model.attention": None,
    "model.step_cache.name": None,
    "model.step_cache.stages": None,
    "model.step_cache.interval": None,
    "model.step_cache.threshold": None,
    "model.step_cache.ratios": None,
    "model.step_cache.modules": None,
    "prepare.area": 4096,
    "prepare.multiple": 16,
    "proxy.name": "given",
    "proxy.source": None,  # of weights, which the preview has none of: see below
    "proxy.revision": None,
    "proxy.dtype": None,
    "proxy.area": 4096,
    "proxy.multiple": 16,
    "proxy.strength": None,
    "proxy.num_inference_steps": None,
    "proxy.guidance_scale": None,
    "proxy.image_guidance_scale": None,
    "proxy.aesthetic_score": None,
    "proxy.negative_aesthetic_score": None,
    "proxy.negative_prompt": None,
    "distill.num_inference_steps": 10,
    "distill.p": 0.5,
    "distill.alpha_curve": "linear-increasing",
    "distill.alpha_first": 9.0,
    "distill.alpha_last": 2.0,
    "distill.levels": "matched",
    "animate.num_inference_steps": 10,
    "animate.kappa0": 3.0,
    "animate.half_slerp": True,
    "select.candidates": 2,
    "select.max_seeds": 2,
    "select.rule": None,  # which is asked only where there is a choice: test_candidate_settings
    "select.flags": None,
    "encode.fps": 12,
    "encode.crf": 20,
    "encode.preset": "medium",
    "encode.loop": "ping-pong",
    "encode.cross_fade_frames": 3,
    "encode.archive": True,
    "encode.gif": True,
    "encode.preview_side": 128,
    "encode.mark_ai": False,
}


def leaves(model: type[BaseModel], prefix: str = "") -> list[str]:
    """Dotted names of all settings below ``model``."""
    names = []
    for name, field in model.model_fields.items():
        kind = field.annotation
        nested = isinstance(kind, type) and issubclass(kind, BaseModel)
        names += leaves(kind, f"{prefix}{name}.") if nested else [f"{prefix}{name}"]
    return names


def run_with(name: str | None = None, value: Any = None) -> RunConfig:
    tree: dict[str, Any] = dict(BASE)
    if name is not None:
        *parents, last = name.split(".")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = value
    return parse_run(tree)


def test_every_setting_is_in_a_key_or_runtime_only() -> None:
    settings = {name.partition(".")[0] for name in leaves(RunConfig)}
    in_keys = {name.partition(".")[0] for name in leaves(Recipe)}
    # `measure` has no settings yet, so it has no leaf.
    assert settings == in_keys | RUNTIME_ONLY
    assert not in_keys & RUNTIME_ONLY
    assert set(leaves(Recipe)) == set(OTHER)


@pytest.mark.parametrize("name", [name for name, value in OTHER.items() if value is not None])
def test_flipping_a_setting_changes_the_work_and_nothing_upstream(name: str) -> None:
    before = KeyChain(run_with().recipe()).keys(ROW)
    after = KeyChain(run_with(name, OTHER[name]).recipe()).keys(ROW)
    assert before["measure"] != after["measure"]
    stage = name.partition(".")[0]
    first = {
        "seed": "proxy",
        "one_stream": "proxy",
        "variant": "animate",
        "model": "distill.real",
        "select": "encode",  # its own key is there only then
    }.get(stage, stage)
    order = list(before)
    upstream = order[: order.index("distill.real" if first == "distill" else first)]
    assert all(before[s] == after[s] for s in upstream if s in after)
    if first in after:
        assert before.get(first) != after.get(first)


@pytest.mark.parametrize("name", ["where", "limit", "title", "execution.batch_size"])
def test_runtime_settings_keep_all_keys(name: str) -> None:
    value = {"where": "id = 'a'", "title": "x"}.get(name, 7)
    assert KeyChain(run_with().recipe()).keys(ROW) == KeyChain(run_with(name, value).recipe()).keys(
        ROW
    )


def test_a_default_said_aloud_is_the_same_key() -> None:
    silent, said = run_with().recipe(), run_with("encode.fps", run_with().recipe().encode.fps)
    assert KeyChain(silent).keys(ROW) == KeyChain(said.recipe()).keys(ROW)


@pytest.mark.parametrize(
    ("column", "value", "first"),
    [
        ("image_sha256", "1" * 64, "prepare"),
        ("prompt", "leaves sway", "proxy"),
        ("proxy_prompt", "a storm", "proxy"),
        ("title", "Another", "encode"),
        ("license", "CC0", "encode"),
    ],
)
def test_catalog_columns_enter_from_their_stage_on(column: str, value: str, first: str) -> None:
    chain = KeyChain(run_with().recipe())
    before, after = chain.keys(ROW), chain.keys({**ROW, column: value})
    order = list(before)
    changed = [stage for stage in order if before[stage] != after[stage]]
    # The proxy's own prompt does not touch the real path.
    real = {"distill.real"} if column == "proxy_prompt" else set()
    assert changed == [s for s in order[order.index(first) :] if s not in real]


def test_each_work_has_its_own_keys_and_seeds() -> None:
    chain = KeyChain(run_with().recipe())
    other = {**ROW, "id": "b"}
    assert chain.keys(ROW)["prepare"] == chain.keys(other)["prepare"]  # the same picture
    assert chain.keys(ROW)["proxy"] != chain.keys(other)["proxy"]  # another seed
    assert chain.seed(ROW, "animate") != chain.seed(ROW, "distill.real")


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"modle": {}}, "unknown key 'modle'; did you mean 'model'?"),
        ({"encode": {"fsp": 8}}, "unknown key 'encode.fsp'; did you mean 'fps'?"),
        ({"encode": {"fps": 0}}, "encode.fps = 0"),
        ({"encode": {"loop": "spiral"}}, "'ping-pong'"),
        ({"model": {"name": "previw"}}, "did you mean 'preview'?"),
        ({"proxy": {"name": "givne"}}, "did you mean 'given'?"),
        ({"variant": "V+X"}, "variant = 'V+X'"),
        ({"seed": -1}, "seed = -1"),
        ({"distill": {"p": float("nan")}}, "distill.p = nan"),
        ({"limit": "many"}, "limit = 'many'"),
    ],
)
def test_a_wrong_setting_gets_one_sentence(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_run({**BASE, **settings})
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_catalog_is_named() -> None:
    with pytest.raises(ConfigError, match="'catalog' is missing"):
        parse_run({"output": "x"})


@pytest.mark.parametrize("text", ["- a\n- b\n", "a: [1\n", "\x00", ""])
def test_a_run_file_that_is_none(tmp_path: Path, text: str) -> None:
    file = tmp_path / "RUN.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=r"run file '.*RUN\.yaml'"):
        load_run_file(str(file))


def test_paths_are_relative_to_the_run_file(tmp_path: Path) -> None:
    (tmp_path / "RUN.yaml").write_text("catalog: a.parquet\noutput: s3://bucket/x\n")
    run = load_run_file(str(tmp_path / "RUN.yaml"))
    assert run.catalog == str(tmp_path / "a.parquet")
    assert run.output == "s3://bucket/x"


def test_a_dumped_run_loads_to_the_same(tmp_path: Path) -> None:
    run = parse_run({**BASE, "encode": {"fps": 12}, "execution": {"keep": ["proxy"]}})
    assert parse_run(yaml.safe_load(dump_run(run))) == run


def test_the_template_holds_every_setting_at_its_default() -> None:
    tree = yaml.safe_load(run_template())
    run = parse_run(tree)
    assert run == parse_run({"catalog": run.catalog, "output": run.output})
    flat = set(leaves(RunConfig))
    text = run_template()
    assert all(f"{name.rpartition('.')[2]}:" in text for name in flat)


def test_params_are_frozen_and_closed() -> None:
    for field in Recipe.model_fields.values():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Params):
            assert kind.model_config["frozen"]
            assert kind.model_config["extra"] == "forbid"


NEURAL = {"name": "i2vgen-xl", "revision": "0123456789abcdef0123456789abcdef01234567"}


@pytest.mark.parametrize(("name", "value"), [("dtype", "float32"), ("guidance_scale", 2.0)])
def test_what_only_weights_have_a_use_for_enters_their_keys(name: str, value: object) -> None:
    run, other = (parse_run({**BASE, "model": {**NEURAL, **more}}) for more in ({}, {name: value}))
    before, after = (KeyChain(one.recipe()).keys(ROW) for one in (run, other))
    changed = [stage for stage in before if before[stage] != after[stage]]
    assert changed == ["distill.real", "distill.proxy", "animate", "encode", "measure"]


@pytest.mark.parametrize(
    ("tree", "sentence"),
    [
        ({"model": {"dtype": "float16"}}, "model.dtype = 'float16': the model 'preview'"),
        ({"model": {"guidance_scale": 2}}, "model.guidance_scale = 2: the model 'preview'"),
        ({"matrix": {"model.guidance_scale": [1, 2]}}, "model.guidance_scale = 1: the model"),
        ({"proxy": {"dtype": "bfloat16"}}, "proxy.dtype = 'bfloat16': the proxy 'preview'"),
        ({"proxy": {"name": "given", "dtype": "float16"}}, "proxy.dtype = 'float16': the proxy"),
    ],
)
def test_what_would_change_keys_and_nothing_else_is_refused(
    tree: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_run({**BASE, **tree})
    assert sentence in str(caught.value)


def test_the_one_precision_of_the_preview_may_be_said() -> None:
    said = parse_run({**BASE, "model": {"dtype": "float32"}, "proxy": {"dtype": "float32"}})
    assert KeyChain(said.recipe()).keys(ROW) == KeyChain(run_with().recipe()).keys(ROW)
