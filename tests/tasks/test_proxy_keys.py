"""A proxy is a stage of its own: what changes its key, and that no video model does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from catalog_rows import ROW

from catalogs.errors import ConfigError
from epa_core.errors import UnsupportedError
from tasks.config import Recipe
from tasks.keychain import KeyChain
from tasks.runfile import parse_run

REFINER = {"name": "sdxl-refiner", "revision": "462165984030d82259a11f4367a4eed129e94a7b"}


def recipe(model: dict[str, Any] | None = None, **proxy: Any) -> Recipe:
    tree = {
        "catalog": "in",
        "output": "out",
        "model": model or {"name": "i2vgen-xl", "revision": "main"},
        "proxy": {**REFINER, **proxy},
    }
    return parse_run(tree).recipe()


def keys(of: Recipe, **columns: Any) -> dict[str, str]:
    return KeyChain(of).keys({**ROW, **columns})


@pytest.mark.parametrize(
    "model",
    [
        {"name": "i2vgen-xl", "revision": "main", "guidance_scale": 3.0},
        {"name": "wan2.1-i2v-480p", "revision": "main"},
        {"name": "preview"},
    ],
)
def test_one_proxy_serves_every_model_and_setting(model: dict[str, Any]) -> None:
    here, there = keys(recipe()), keys(recipe(model))
    assert here["proxy"] == there["proxy"]
    assert here["prepare.proxy"] == there["prepare.proxy"]
    assert here["distill.proxy"] != there["distill.proxy"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("revision", "main"),
        ("dtype", "float32"),
        ("area", 512 * 512),
        ("multiple", 8),
        ("strength", 0.6),
        ("num_inference_steps", 20),
        ("guidance_scale", 4.0),
        ("aesthetic_score", 7.0),
        ("negative_aesthetic_score", 1.0),
        ("negative_prompt", "blur"),
    ],
)
def test_each_setting_of_the_maker_redraws_and_leaves_the_real_path(name: str, value: Any) -> None:
    before, after = keys(recipe()), keys(recipe(**{name: value}))
    assert before["proxy"] != after["proxy"]
    assert before["distill.proxy"] != after["distill.proxy"]
    assert before["distill.real"] == after["distill.real"]


def test_a_default_said_aloud_is_the_same_proxy() -> None:
    said = recipe(strength=0.5, num_inference_steps=50, dtype="float16", area=1024 * 1024)
    assert keys(recipe()) == keys(said)


def test_a_maker_without_a_canvas_draws_on_the_models() -> None:
    found = parse_run({"catalog": "in", "output": "out"}).recipe()
    assert "prepare.proxy" not in keys(found)
    other = parse_run({"catalog": "in", "output": "out", "proxy": {"area": 4096}}).recipe()
    assert keys(other)["prepare"] == keys(found)["prepare"] != keys(other)["prepare.proxy"]


@pytest.mark.parametrize(
    ("proxy", "sentence"),
    [
        ({"name": "preview", "strength": 0.5}, "'preview' has no setting 'strength'"),
        ({**REFINER, "image_guidance_scale": 2.0}, "did you mean 'guidance_scale'?"),
        ({**REFINER, "strength": 0}, "strength = 0.0 of the proxy 'sdxl-refiner'"),
        ({**REFINER, "strength": 0.01, "num_inference_steps": 20}, "0.01"),
        ({"name": "given", "area": 4096}, "the proxy 'given' draws on no canvas"),
        ({"name": "sdxl-refinr"}, "did you mean 'sdxl-refiner'?"),
    ],
)
def test_a_setting_that_is_not_the_makers_is_refused(proxy: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_run({"catalog": "in", "output": "out", "proxy": proxy})
    assert sentence in str(caught.value)


OWN = {"mask_uri": "m.png", "motion_strength": "5", "negative_prompt": "blur"}


@pytest.fixture
def takes_all(tmp_path: Path) -> Recipe:
    (tmp_path / "model_index.json").write_text('{"_class_name": "LatentToVideoPipeline"}')
    return recipe({"name": "animate-anything", "source": str(tmp_path)})


@pytest.mark.parametrize("column", OWN)
def test_what_the_model_reads_of_a_work_enters_its_latents(column: str, takes_all: Recipe) -> None:
    before, after = keys(takes_all), keys(takes_all, **{column: OWN[column]})
    changed = [stage for stage in before if before[stage] != after[stage]]
    assert changed == ["distill.real", "distill.proxy", "animate", "encode", "measure"]
    # A model that does not read the column keeps its results.
    svd = recipe({"name": "svd", "revision": "main"})
    assert keys(svd) == keys(svd, **{column: OWN[column]})


@pytest.mark.parametrize(
    ("variant", "changed"),
    [
        ("V", ["encode", "measure"]),  # it is in the files' tags
        ("V+S", ["proxy", "distill.proxy", "animate", "encode", "measure"]),
    ],
)
def test_a_prompt_that_the_model_does_not_read_costs_no_pass_of_it(
    variant: str, changed: list[str]
) -> None:
    svd = recipe({"name": "svd", "revision": "main"})
    svd = svd.model_copy(update={"variant": variant})
    before, after = keys(svd, prompt="a storm"), keys(svd, prompt="a calm")
    assert [stage for stage in before if before[stage] != after[stage]] == changed
    reader = recipe({"name": "i2vgen-xl", "revision": "main"})
    reader = reader.model_copy(update={"variant": variant})
    before, after = keys(reader, prompt="a storm"), keys(reader, prompt="a calm")
    assert {"distill.real", "animate"} <= {s for s in before if before[s] != after[s]}


def test_a_masks_digest_counts_for_more_than_its_place(takes_all: Recipe) -> None:
    extra = [("mask_sha256", "a" * 64)]
    here = keys(takes_all, mask_uri="here.png", extra=extra)
    assert here == keys(takes_all, mask_uri="there.png", extra=extra)
    assert here != keys(takes_all, mask_uri="here.png", extra=[("mask_sha256", "b" * 64)])


def test_one_strength_is_one_key_however_it_is_written(takes_all: Recipe) -> None:
    written = {keys(takes_all, motion_strength=text)["animate"] for text in ("8", "8.0", " 8")}
    assert len(written) == 1


def test_strengths_that_differ_in_any_digit_have_keys_of_their_own(takes_all: Recipe) -> None:
    written = ("12.345678", "12.345681", "12.3457")
    assert len({keys(takes_all, motion_strength=text)["animate"] for text in written}) == 3


@pytest.mark.parametrize(
    ("text", "in_keys"),
    [("8.0", "8"), ("0.5", "0.5"), ("12.50", "12.5"), ("1e-5", "1e-05"), ("a lot", "a lot")],
)
def test_short_strengths_stay_in_keys_as_they_were(
    text: str, in_keys: str, takes_all: Recipe
) -> None:
    own = KeyChain(takes_all).own({**ROW, "motion_strength": text})
    assert own["motion_strength"] == in_keys


@pytest.mark.parametrize(
    ("variant", "setting", "matters"),
    [
        ("baseline", {"kappa0": 5.0}, False),
        ("V", {"kappa0": 5.0}, True),
        ("baseline", {"half_slerp": True}, False),
        ("V", {"half_slerp": True}, False),
        ("V+U", {"half_slerp": True}, False),
        ("S", {"half_slerp": True}, True),
        ("V+S", {"half_slerp": True}, True),
    ],
)
def test_a_setting_that_a_variant_does_not_use_is_in_none_of_its_keys(
    variant: str, setting: dict[str, Any], matters: bool
) -> None:
    base = {"catalog": "in", "output": "out", "variant": variant}
    before = keys(parse_run(base).recipe())
    after = keys(parse_run({**base, "animate": setting}).recipe())
    assert (before != after) == matters


@pytest.mark.parametrize("variant", ["baseline", "V"])
def test_a_variant_without_proxy_needs_no_proxy_maker(variant: str) -> None:
    tree = {"catalog": "in", "output": "out", "proxy": {"name": "sdxl-refiner"}}
    with pytest.raises(UnsupportedError, match="revision"):
        keys(parse_run(tree).recipe())
    chain = KeyChain(parse_run({**tree, "variant": variant}).recipe())
    assert "proxy" not in chain.keys(ROW)
    with pytest.raises(UnsupportedError, match="revision"):  # a cell that does need it
        chain.under(parse_run(tree).recipe())
