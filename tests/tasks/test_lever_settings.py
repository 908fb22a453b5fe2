"""Levers in a run file: which enter the keys of which stages, what is refused before any work."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from catalog_rows import ROW
from paintings import tiny_run, write_paintings
from tiny_animate_anything import write_released_checkpoint

from catalogs.errors import ConfigError
from epa_core.errors import UnsupportedError
from epa_core.levers import CACHE_SETTINGS, Levers
from tasks import compute, models, shards
from tasks.collection import Collection
from tasks.config import Execution, ModelChoice, RunConfig
from tasks.keychain import KeyChain
from tasks.levers import KEYED, RUNTIME, in_float32, levers_of
from tasks.runfile import dump_run, parse_run

torch.set_num_threads(1)

# It has something for most of them.
LTX = {"name": "ltx-video", "revision": "abc"}
CONSISTI2V = {"name": "consisti2v", "revision": "abc"}
EXECUTION: list[tuple[dict[str, str], dict[str, Any]]] = [
    (LTX, {"offload": "block", "offload_blocks": 2, "attention": "flash"}),
    (LTX, {"offload": "leaf", "offload_stream": True}),
    (CONSISTI2V, {"vae_slicing": True, "channels_last": True, "compile": True}),
]


def run_of(**tree: Any) -> RunConfig:
    model = tree.pop("model", {})
    model = model if "name" in model else LTX | model
    return parse_run({"catalog": "in", "output": "out", "model": model, **tree})


def changed(before: RunConfig, after: RunConfig) -> set[str]:
    """Stages whose keys differ by their own settings, not only by those of their inputs."""
    one, other = (KeyChain(run.recipe()) for run in (before, after))
    alike = {"of": "the same inputs"}
    own = {
        stage
        for stage, keyer in one._keyers.items()
        if keyer.key(alike, seed=1) != other._keyers[stage].key(alike, seed=1)
    }
    old, new = one.keys(ROW), other.keys(ROW)
    assert (old != new) == bool(own)
    return own


def test_every_lever_is_on_one_side() -> None:
    assert set(RUNTIME) <= set(Execution.model_fields)
    assert set(KEYED) <= set(ModelChoice.model_fields)
    levers = set(RUNTIME) | {"storage_dtype", "vae_tiling", "quantised_attention", "step_cache"}
    assert levers == set(Levers.__dataclass_fields__)
    assert {name for _, pulled in EXECUTION for name in pulled} == set(RUNTIME)


@pytest.mark.parametrize(("model", "execution"), EXECUTION)
def test_levers_of_the_execution_keep_all_keys(
    model: dict[str, str], execution: dict[str, Any]
) -> None:
    plain, pulled = run_of(model=model), run_of(model=model, execution=execution)
    assert not changed(plain, pulled)
    assert KeyChain(plain.recipe()).configuration == KeyChain(pulled.recipe()).configuration


ALL = {"distill.real", "distill.proxy", "animate"}


@pytest.mark.parametrize(
    ("model", "variant", "stages"),
    [
        ({"storage_dtype": "float8_e4m3fn"}, "V+S", ALL),
        ({"storage_dtype": "float8_e5m2"}, "baseline", ALL),
        ({"vae_tiling": True}, "V+S", ALL),
        ({"vae_tiling": True}, "S", ALL),
        ({"attention": "sage"}, "V+S", ALL),
        # Ablation S has static latents, which the denoiser has no part in.
        ({"attention": "sage"}, "S", {"animate"}),
        ({"storage_dtype": "float8_e4m3fn"}, "S", {"animate"}),
        ({"step_cache": {"name": "pab"}}, "V+S", {"animate"}),
        ({"step_cache": {"name": "pab", "stages": ["distill"]}}, "V+S", ALL - {"animate"}),
        ({"step_cache": {"name": "pab", "stages": ["distill", "animate"]}}, "V+S", ALL),
        ({"vae_tiling": False, "step_cache": {"name": None}}, "V+S", set()),
    ],
)
def test_what_shows_enters_the_keys_of_the_stages_it_touches(
    model: dict[str, Any], variant: str, stages: set[str]
) -> None:
    assert changed(run_of(variant=variant), run_of(variant=variant, model=model)) == stages


def test_what_a_cache_reads_is_in_the_key_and_nothing_else() -> None:
    def cache(**given: Any) -> RunConfig:
        return run_of(model={"step_cache": given})

    usual = cache(name="first-block")
    assert changed(usual, cache(name="first-block", threshold=0.1)) == {"animate"}
    assert not changed(usual, cache(name="first-block", threshold=0.05))  # as usual, said aloud
    assert not changed(usual, cache(name="first-block", stages=["animate", "animate"]))
    one, other = cache(name="mag", ratios=[1, 0.9]), cache(name="mag", ratios=[1, 0.8])
    assert changed(one, other) == {"animate"}


def test_levers_show_in_what_a_work_is_made_of_where_they_are_used() -> None:
    pulled = run_of(model={"vae_tiling": True, "step_cache": {"name": "taylorseer"}})
    facts = KeyChain(pulled.recipe()).material(ROW)
    assert facts["model.vae_tiling"] is True
    assert facts["model.step_cache"] == {
        **{"name": "taylorseer", "interval": 5, "modules": [], "stages": ["animate"]}
    }
    json.dumps(facts["model.step_cache"])
    usual = KeyChain(run_of().recipe()).material(ROW)
    assert not {f"model.{name}" for name in KEYED} & set(usual)
    assert KeyChain(pulled.recipe()).configuration != KeyChain(run_of().recipe()).configuration


def test_a_run_file_says_the_levers_again() -> None:
    model = {"storage_dtype": "float8_e4m3fn", "step_cache": {"name": "mag", "ratios": [1.0, 0.5]}}
    run = run_of(model=model, execution={"compile": False, "offload": "leaf"})
    again = parse_run(yaml.safe_load(dump_run(run)))
    assert again == run
    levers = levers_of(again.model, again.execution)
    assert levers.step_cache is not None
    assert levers.step_cache.ratios == (1.0, 0.5)
    assert (levers.offload, levers.storage_dtype) == ("leaf", "float8_e4m3fn")
    assert run_of(execution={"compile": "blocks"}).execution.compile == "blocks"
    assert run_of(execution={"compile": True}).execution.compile is True


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"execution": {"offload": "some"}}, "'none', 'model', 'sequential', 'block' or 'leaf'"),
        ({"execution": {"attention": "sage"}}, "execution.attention = 'sage'"),
        ({"execution": {"compile": "some"}}, "execution.compile"),
        ({"execution": {"offload": "leaf", "compile": True}}, "leave compile out"),
        (
            {"execution": {"compile": True}, "model": {"storage_dtype": "float8_e4m3fn"}},
            "leave one of them out",
        ),
        ({"model": {"storage_dtype": "int8"}}, "model.storage_dtype = 'int8'"),
        ({"model": {"step_cache": {"name": "deep"}}}, "model.step_cache.name = 'deep'"),
        ({"model": {"step_cache": {"name": "mag"}}}, "needs ratios"),
        ({"model": {"step_cache": {"name": "pab", "interval": 1}}}, "greater than or equal to 2"),
        ({"model": {"step_cache": {"name": "pab", "threshold": 0.5}}}, "reads no threshold"),
        ({"model": {"step_cache": {"nmae": "pab"}}}, "did you mean 'name'"),
        ({"matrix": {"model.vae_tiling": [True, False]}}, "it is one to a run and cannot vary"),
        ({"matrix": {"model.step_cache.name": ["pab"]}}, "it is one to a run and cannot vary"),
    ],
)
def test_what_cannot_be_is_refused_with_the_run_file(tree: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        run_of(**tree)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_second_go_in_float32_has_no_lever_of_fewer_bits() -> None:
    run = run_of(
        model={"storage_dtype": "float8_e4m3fn", "vae_tiling": True, "dtype": "bfloat16"},
        execution={"attention": "flash", "offload": "model"},
    )
    choice, execution = in_float32(run.model, run.execution)
    assert choice.dtype == "float32"
    levers = levers_of(choice, execution)
    assert levers == Levers(vae_tiling=True, offload="model")
    assert in_float32(run.model, Execution(attention="xformers"))[1].attention == "xformers"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_released_checkpoint(tmp_path_factory.mktemp("released"))


def test_a_model_is_loaded_with_the_levers_of_its_run(weights: Path) -> None:
    models.release()
    choice = {"name": "animate-anything", "source": str(weights), "dtype": "float32"}
    run = run_of(model={**choice, "storage_dtype": "float8_e5m2"}, execution={"vae_slicing": True})
    pipeline = models.model(run.model, run.execution)
    assert pipeline.vae.use_slicing
    assert torch.float8_e5m2 in {weight.dtype for weight in pipeline.unet.parameters()}
    plain = run_of(model=choice)
    other = models.model(plain.model, plain.execution)
    assert other is not pipeline
    assert {weight.dtype for weight in other.unet.parameters()} == {torch.float32}
    models.release()


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"execution": {"offload": "leaf"}}, "moves modules to an accelerator, not the CPU"),
        ({"model": {"num_frames": 1}}, r"model\.num_frames is 1; AnimateAnything.* 2 or more"),
    ],
)
@pytest.mark.skipif(torch.cuda.is_available(), reason="there, the device auto is no CPU")
def test_what_only_the_machine_or_the_model_tells_ends_a_run_before_any_proxy_is_drawn(
    tmp_path: Path, weights: Path, tree: dict[str, Any], message: str
) -> None:
    """The pass that every run begins with; `epa run` ends with code 2 (tests/flows/test_cli.py)."""
    source = write_paintings(tmp_path / "in", 1)
    model = {"name": "animate-anything", "source": str(weights), "num_frames": 4}
    model |= tree.get("model", {})
    execution = {"device": "auto", **tree.get("execution", {})}
    run = tiny_run(source, tmp_path / "out", model=model, execution=execution)
    collection = Collection.open(run)
    with pytest.raises(UnsupportedError, match=message):
        shards.check(run, next(iter(collection.plan.shards)))
    models.release()


def test_memory_md_has_a_row_for_every_lever() -> None:
    text = (Path(compute.__file__).parents[1] / "docs" / "memory.md").read_text()
    for name in RUNTIME:
        assert f"`execution.{name}`" in text or f"`{name}`" in text, name
    for name in KEYED:
        assert f"`model.{name}`" in text, name
    for cache in CACHE_SETTINGS:
        assert f"`{cache}`" in text, cache
