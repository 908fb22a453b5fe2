"""`epa models`: the list, a model explained, what fits."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from epa_core.card_data import MODELS
from epa_core.errors import UnsupportedError
from epa_core.model_cards.card import Memory
from epa_core.model_cards.refused import REFUSED
from epa_core.recommend import (
    FP8,
    GROUP,
    LEVERS,
    MODEL,
    NONE,
    TEXT,
    Lever,
    fit_of,
    memory_of,
    needed,
)
from tasks.config import RunConfig

GIB = [4, 8, 12, 16, 24, 48, 80]


def fields(text: str) -> dict[str, str]:
    rows = (line.split(None, 1) for line in text.splitlines() if line[:1].strip())
    return dict(rows)


def test_every_model_is_listed_and_explained(epa: Any) -> None:
    listed = epa("models").out
    for name, card in MODELS.items():
        assert name in listed
        said = epa("models", "show", name)
        assert said.code == 0
        page = fields(said.out)
        assert page["licence"].startswith(card.licence)
        assert card.condition in page["licence"]
        assert f"multiples of {card.multiple}" in page["size"]
        assert page["frames"].startswith(str(card.num_frames))
        assert ("prompts only reach the proxy" in page["text"]) != card.uses_text
        assert all(trap in said.out for trap in card.traps)
        assert said.out == epa("models", name).out
    assert all(name in listed for name in REFUSED)


def test_an_unknown_name_is_sought_among_models_and_proxies(epa: Any) -> None:
    for wrong, meant in (("sdxl-refinr", "sdxl-refiner"), ("cogvideox-2b-i2", "cogvideox")):
        answer = epa("models", "show", wrong)
        assert answer.code == 2
        assert f"no model or proxy named {wrong!r}; did you mean '{meant}" in answer.err
    answer = epa("models", "show", "nomodel")
    assert "did you mean" not in answer.err
    assert {"cinemo", "sdxl-refiner"} < set(answer.err.replace(",", "").split())


def test_levels_and_t0_are_explained(epa: Any) -> None:
    flow = epa("models", "show", "hunyuanvideo-i2v").out
    assert "matched: the paper's 16, kappa 14.6 to 1.16" in flow
    assert "its first step has no signal" in flow
    assert "step 9 of 25, kappa 14.9" in flow
    own = epa("models", "show", "animate-anything").out
    assert "native: its own first 16 of 25 steps, kappa 14.6 to 1.16" in own
    assert "step 1, kappa 14.6" in own
    unknown = epa("models", "show", "kandinsky5-i2v-pro").out
    assert "decided by the scheduler that comes with the weights" in unknown


def test_what_fits_is_listed_with_its_lever_and_terms(epa: Any) -> None:
    said = epa("models", "recommend", "--memory", "24GB", "--licence", "commercial")
    assert said.code == 0
    rows = {line.split()[0]: line for line in said.out.splitlines() if line.split()[0] in MODELS}
    assert "none" in rows["i2vgen-xl"]
    assert "yes" in rows["i2vgen-xl"]
    assert "text encoder offload" in rows["wan2.2-ti2v-5b"]
    assert "fp8, model offload" in rows["wan2.1-i2v-480p"]
    assert "conditional" in rows["ltx-video"]
    assert "skyreels-v2-i2v-720p" not in rows
    assert "left out: skyreels-v2-i2v-720p, commercial use: unknown" in said.out
    assert "conditional: ltx-video, ltx-2: free below a yearly revenue" in said.out
    anything = epa("models", "recommend", "--memory", "24GB")
    assert "\nskyreels-v2-i2v-720p" in anything.out
    small = epa("models", "recommend", "--memory", "6000MB")
    assert "too large: hunyuanvideo-i2v, 15.3 GiB with group offload" in small.out


@pytest.mark.parametrize(
    ("option", "value", "sentence"),
    [
        ("--memory", "abc", "--memory is 'abc'; allowed are amounts such as 24GB"),
        ("--memory", "0GB", "--memory is '0GB'"),
        ("--memory", "-1", "--memory is '-1'"),
        ("--memory", "1e9", "--memory is '1e9'"),
        ("--licence", "free", "--licence is 'free'; allowed are any, commercial"),
    ],
)
def test_bad_input_gets_one_sentence(epa: Any, option: str, value: str, sentence: str) -> None:
    given = {"--memory": "24GB"} | {option: value}
    said = epa("models", "recommend", *(f"{name}={text}" for name, text in given.items()))
    assert said.code == 2
    assert sentence in said.err
    assert len(said.err.strip().splitlines()) == 1


def test_the_documentation_lists_what_is_driven_and_what_is_not_and_why() -> None:
    page = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")
    for name, reason in REFUSED.items():
        assert f"| `{name}` | {reason} |" in page
    diffusers = [c.pipeline_class for c in MODELS.values() if c.pipeline_class[:9] == "diffusers"]
    for name in {dotted.rpartition(".")[2] for dotted in diffusers}:
        assert f"`{name}`" in page.partition("## Classes of diffusers that are not driven")[0]


def test_nothing_heavy_is_imported() -> None:
    code = (
        "import sys; sys.argv=['epa','models','recommend','--memory','24GB']\n"
        "from flows.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch','prefect','diffusers','transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("text", "gib"),
    [("24GB", 24), ("24 gib", 24), ("24", 24), ("1.5g", 1.5), ("512MB", 0.5), (" 80GB ", 80)],
)
def test_amounts_of_memory(text: str, gib: float) -> None:
    assert memory_of(text) == gib


@pytest.mark.parametrize("text", ["", "GB", "24TB", "24 GB GB", "nan", "inf", "9" * 400])
def test_what_is_no_amount_of_memory(text: str) -> None:
    with pytest.raises(UnsupportedError, match="--memory is"):
        memory_of(text)


def test_needs_by_lever() -> None:
    parts = Memory(denoisers=(10.0, 8.0), text=6.0, other=1.0, running=3.0, decoding=2.0)
    gib = {lever: needed(parts, lever) for lever in LEVERS}
    assert gib == {NONE: 29.0, TEXT: 23.0, MODEL: 14.0, FP8: 9.0, GROUP: 5.5}
    large_text = replace(parts, text=40.0)  # goes through the GPU whole, except in groups
    assert needed(large_text, TEXT) == needed(large_text, FP8) == 41.0
    assert needed(large_text, GROUP) == 5.5


@pytest.mark.parametrize("name", [name for name, card in MODELS.items() if card.parts])
def test_more_memory_never_needs_a_heavier_lever(name: str) -> None:
    fits = [fit_of(MODELS[name], gib) for gib in GIB]
    weights = [len(LEVERS) if fit is None else LEVERS.index(fit.lever) for fit in fits]
    assert weights == sorted(weights, reverse=True)
    assert all(fit is None or fit.needs <= gib for fit, gib in zip(fits, GIB, strict=True))


@pytest.mark.parametrize("lever", LEVERS, ids=lambda lever: lever.name)
def test_the_settings_of_a_lever_are_those_of_a_run_file(lever: Lever, tmp_path: Path) -> None:
    given: dict[str, dict[str, str]] = {"model": {"name": "ltx-video"}, "execution": {}}
    for setting in filter(None, lever.settings.split(", ")):
        name, value = setting.split(": ")
        section, field = name.split(".")
        given[section][field] = value
    run = RunConfig.model_validate({"catalog": "in", "output": str(tmp_path), **given})
    for section, fields in given.items():
        told = getattr(run, section).model_dump()
        assert fields.items() <= told.items()
