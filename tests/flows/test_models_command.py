"""`epa models`: the list, a model explained, what fits."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from epa_core.card_data import MODELS
from epa_core.cards import PROXIES
from epa_core.errors import UnsupportedError
from epa_core.model_cards.card import Memory, ModelCard
from epa_core.model_cards.refused import REFUSED
from epa_core.recommend import (
    FP8,
    GROUP,
    LEVERS,
    MODEL,
    NONE,
    RESERVED_GIB,
    Lever,
    fit_of,
    memory_of,
    needed,
    said,
)
from flows.model_pages import explained
from tasks.config import RunConfig

GIB = [4, 8, 12, 16, 24, 48, 80]


def fields(text: str) -> dict[str, str]:
    rows = ((line[:16].strip(), line[17:]) for line in text.splitlines() if line[:1].strip())
    return dict(rows)


def test_every_model_is_listed_and_explained(epa: Any) -> None:
    listed = epa("models").out
    assert listed == epa("models", "list").out
    for name, card in MODELS.items():
        assert name in listed
        said = epa("models", "show", name)
        assert said.code == 0
        page = fields(said.out)
        assert page["licence"].startswith(card.licence)
        assert card.condition in page["licence"]
        assert f"multiples of {card.multiple}" in page["size"]
        assert all(page.values()), page
        assert page["frames"].startswith(str(card.num_frames))
        assert ("prompts only reach the proxy" in page["text"]) != card.uses_text
        assert all(trap in said.out for trap in card.traps)
        assert said.out == epa("models", name).out
    assert all(name in listed for name in REFUSED)
    assert re.search(r"cogvideox-5b-i2v .* 480x720 only +49 ", listed)
    assert re.search(r"wan2.1-i2v-480p .* 624x624 +81 ", listed)
    fixed = fields(epa("models", "show", "cogvideox-5b-i2v").out)["size"]
    assert fixed.startswith("computed at 480x720 (height x width) whatever the painting's shape")


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
    assert "matched: motion is distilled at the paper's 16, kappa 14.6 to 1.16" in flow
    assert "its first step has no signal" in flow
    assert "since at step 1 nothing would be left of the fused clip" in flow
    edm = epa("models", "show", "svd").out
    assert "next to no signal; its own first 16 of 25 would be kappa 700 to 3.87" in edm
    assert "step 13 of 25, kappa 15.6, the nearest to the paper's 14.6" in edm
    assert "step 9 of 25, kappa 14.9" in flow
    own = epa("models", "show", "animate-anything").out
    assert "native: motion is distilled at its own first 16 of 25 steps, kappa 14.6 to 1.16" in own
    assert "step 1, kappa 14.6" in own
    unknown = dict(explained(replace(MODELS["svd"], schedule=None)))
    assert "decided by the scheduler that comes with the weights" in unknown["levels"]


def test_a_page_says_which_levers_the_model_takes_and_which_are_refused(epa: Any) -> None:
    pages = {name: fields(epa("models", "show", name).out) for name in ("wan2.1-i2v-480p", "pia")}
    taken, refused = pages["wan2.1-i2v-480p"]["levers"].split("; not: ")
    assert "step_cache (first-block, mag, taylorseer)" in taken
    assert "compile (true, blocks)" in taken
    assert refused == "vae_slicing, channels_last, options.decode_chunk_size"
    taken, refused = pages["pia"]["levers"].split("; not: ")
    assert taken.startswith("offload (model, block, leaf), storage_dtype, compile (true), vae_")
    assert refused == "attention, options.decode_chunk_size, step_cache"
    assert fields(epa("models", "show", "preview").out)["levers"] == "none: it has no network"


def test_options_are_listed_with_default_meaning_and_what_is_allowed(epa: Any) -> None:
    for name, card in MODELS.items():
        page = epa("models", "show", name).out
        told = json.loads(epa("models", "show", name, "--json").out)["options"]
        if card.options is None:
            assert f"further arguments of the call of {card.pipeline_class}" in page
            assert told is None
            continue
        for option, known in card.options.known.items():
            [line] = [line for line in page.splitlines() if f" {option}: " in line]
            assert f"{option}: {json.dumps(known.default)}; {known.meaning}" in line
            assert line.endswith(f"({known.words})")
            assert told[option]["default"] == known.default
            assert told[option]["allowed"] == known.words
    assert 'epa_reading: "absolute"' in epa("models", "show", "cinemo").out


def test_what_fits_is_listed_with_its_lever_and_terms(epa: Any) -> None:
    said = epa("models", "recommend", "--memory", "24GB", "--licence", "commercial")
    assert said.code == 0
    lines = (line for line in said.out.splitlines() if line.partition(" ")[0] in MODELS)
    rows = {line.partition(" ")[0]: line for line in lines}
    assert " no offload" in rows["i2vgen-xl"]
    assert "yes" in rows["i2vgen-xl"]
    assert " model offload" in rows["wan2.2-ti2v-5b"]
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
        ("--memory", "24XB", "--memory is '24XB'; allowed are amounts such as 24GB, 16GiB or 8000"),
        ("--memory", "", "--memory is ''"),
        ("--memory", "1e9", "--memory is '1e9'"),
        ("--licence", "free", "--licence is 'free'; allowed are any, commercial"),
        ("--licence", "MIT", "--licence is 'MIT'; allowed are any, commercial"),
    ],
)
def test_bad_input_gets_one_sentence(epa: Any, option: str, value: str, sentence: str) -> None:
    given = {"--memory": "24GB"} | {option: value}
    for words in (
        [f"{name}={text}" for name, text in given.items()],
        [word for pair in given.items() for word in pair],
    ):
        said = epa("models", "recommend", *words)
        assert said.code == 2
        assert sentence in said.err
        assert len(said.err.strip().splitlines()) == 1
        assert not said.out


def test_the_documentation_lists_what_is_driven_and_what_is_not_and_why() -> None:
    page = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")
    for name, reason in REFUSED.items():
        assert f"| `{name}` | {reason} |" in page
    diffusers = [c.pipeline_class for c in MODELS.values() if c.pipeline_class[:9] == "diffusers"]
    for name in {dotted.rpartition(".")[2] for dotted in diffusers}:
        assert f"`{name}`" in page.partition("## Classes of diffusers that are not driven")[0]


def test_json_says_what_the_pages_say(epa: Any) -> None:
    listed = json.loads(epa("models", "--json").out, parse_constant=pytest.fail)
    assert listed == json.loads(epa("models", "list", "--json").out)
    assert [model["name"] for model in listed["models"]] == list(MODELS)
    assert [proxy["name"] for proxy in listed["proxies"]] == list(PROXIES)
    assert listed["not_driven"] == REFUSED
    for model in listed["models"]:
        if model["name"] not in ("preview", "svd", "ltx-video", "kandinsky5-i2v-pro"):
            continue
        assert json.loads(epa("models", "show", model["name"], "--json").out) == model
        page = epa("models", model["name"]).out
        for lever, gib in model["needs_gib"].items():
            assert f"{gib:5.1f} GiB with {lever}" in page
        levels = model["levels"]
        assert (levels is None) == (MODELS[model["name"]].schedule is None)
        assert levels is None or f"levels           {levels['choice']}: " in page
    assert json.loads(epa("models", "show", "none", "--json").out)["name"] == "none"


def test_json_recommends_what_the_page_does(epa: Any) -> None:
    asked = ("models", "recommend", "--memory", "24GB", "--licence", "commercial")
    found, page = json.loads(epa(*asked, "--json").out), epa(*asked).out
    assert (found["memory_gib"], found["licence"]) == (24, "commercial")
    rows = [line.split()[0] for line in page.splitlines()[1 : len(found["fits"]) + 1]]
    assert [fit["model"] for fit in found["fits"]] == rows
    assert all(fit["gib"] <= 24 and fit["commercial"] != "no" for fit in found["fits"])
    wan = next(fit for fit in found["fits"] if fit["model"] == "wan2.1-i2v-480p")
    assert wan["settings"] == {
        **{"execution.offload": "model", "model.storage_dtype": "float8_e4m3fn"}
    }
    cog = next(fit for fit in found["fits"] if fit["model"] == "cogvideox-5b-i2v")
    assert cog["settings"] == {"model.vae_tiling": "true"}
    assert "counted with model.vae_tiling: true, frames decoded in tiles: cogvideox-5b" in page
    assert {left["because"] for left in found["left_out"]} <= {"licence", "memory"}
    assert {fit["model"] for fit in found["fits"]} | {
        left["model"] for left in found["left_out"]
    } == set(MODELS)
    assert epa("models", "recommend", "--memory=24XB", "--json").code == 2


@pytest.mark.parametrize("columns", [80, 200])
@pytest.mark.parametrize(
    "command", [[], ["show", "svd"], ["recommend", "--memory", "24GB"]], ids=" ".join
)
def test_a_terminal_is_filled_by_whole_words(
    epa: Any, monkeypatch: pytest.MonkeyPatch, columns: int, command: list[str]
) -> None:
    piped = epa("models", *command).out
    assert not any(line != line.rstrip() for line in piped.splitlines())
    for name, value in {"FORCE_COLOR": "1", "NO_COLOR": "1", "COLUMNS": str(columns)}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TERM", "xterm-256color")
    wrapped = epa("models", *command).out
    plain = re.sub(r"\x1b\[[0-9;]*m", "", wrapped)
    assert max(map(len, plain.splitlines())) <= columns
    assert sorted(plain.split()) == sorted(piped.split())
    assert not re.search(r"\x1b\[[0-9;]*[34]\d", wrapped)  # emphasis, no colour


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


def card_of(**parts: Any) -> ModelCard:
    """A card in two bytes with parts of so many GiB."""
    billions = {"denoisers": (10.0, 8.0), "text": 6.0, "other": 1.0} | parts
    unit = 2**30 / 2e9
    memory = Memory(
        denoisers=tuple(part * unit for part in billions["denoisers"]),
        text=billions["text"] * unit,
        other=billions["other"] * unit,
        running=3.0,
        decoding=2.0,
    )
    return replace(MODELS["ltx-video"], parts=memory)


def test_needs_by_lever() -> None:
    gib = {lever: needed(card_of(), lever) for lever in LEVERS}
    assert gib == pytest.approx({NONE: 29.0, MODEL: 14.0, FP8: 9.0, GROUP: 5.5})
    large_text = card_of(text=40.0)  # goes through the GPU whole, except in groups
    assert needed(large_text, MODEL) == pytest.approx(41.0)
    assert needed(large_text, FP8) == pytest.approx(41.0)
    assert needed(large_text, GROUP) == pytest.approx(5.5)


def test_needs_by_dtype() -> None:
    """Twice the bytes are twice of all but the reserve, and fp8 is one byte whatever computes."""
    card = card_of()
    for lever in (NONE, MODEL, GROUP):
        half, whole = (needed(card, lever, dtype) - 1 for dtype in ("float16", "float32"))
        assert whole == pytest.approx(2 * half)
    assert needed(card, FP8, "float32") == pytest.approx(0.25 * 20.0 + 6.0 + 1.0 + 1.0)
    assert needed(card, NONE, "bfloat16") == needed(card, NONE)


@pytest.mark.parametrize("name", [name for name, card in MODELS.items() if card.weights])
def test_a_heavier_lever_never_needs_more_and_float32_never_less(name: str) -> None:
    card = MODELS[name]
    gib = [needed(card, lever) for lever in LEVERS]
    assert gib[:3] == sorted(gib[:3], reverse=True)
    assert needed(card, GROUP) <= needed(card, MODEL)
    assert all(needed(card, lever, "float32") > needed(card, lever) for lever in LEVERS)
    assert card.parts is not None
    weights = sum(card.parts.denoisers) + card.parts.text + card.parts.other
    work = max(card.parts.running, card.parts.decoding)
    assert gib[0] == pytest.approx(weights * 2e9 / 2**30 + work + RESERVED_GIB)


@pytest.mark.parametrize("name", [name for name, card in MODELS.items() if card.parts])
def test_more_memory_never_needs_a_heavier_lever(name: str) -> None:
    fits = [fit_of(MODELS[name], gib) for gib in GIB]
    weights = [len(LEVERS) if fit is None else LEVERS.index(fit.lever) for fit in fits]
    assert weights == sorted(weights, reverse=True)
    assert all(fit is None or fit.needs <= gib for fit, gib in zip(fits, GIB, strict=True))


@pytest.mark.parametrize("lever", LEVERS, ids=lambda lever: lever.name)
def test_the_settings_of_a_lever_are_those_of_a_run_file(lever: Lever, tmp_path: Path) -> None:
    given: dict[str, dict[str, str]] = {"model": {"name": "ltx-video"}, "execution": {}}
    for name, value in lever.settings:
        assert f"{name}: {value}" in said(lever.settings)
        section, field = name.split(".")
        given[section][field] = value
    run = RunConfig.model_validate({"catalog": "in", "output": str(tmp_path), **given})
    for section, fields in given.items():
        told = getattr(run, section).model_dump()
        assert fields.items() <= told.items()
