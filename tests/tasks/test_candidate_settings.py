"""Several seeds in the run file: what enters the keys, what is refused, which rule keeps what."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, get_args

import pytest
from catalog_rows import ROW
from hypothesis import given, settings
from hypothesis import strategies as st

from catalogs.errors import ConfigError
from epa_core.metrics.quality import Flag, Quality
from tasks import select
from tasks.config import RunConfig
from tasks.keychain import KeyChain
from tasks.runfile import parse_run

GOLDEN = Path(__file__).parents[1] / "golden" / "chains.json"


def run_of(**tree: Any) -> RunConfig:
    return parse_run({"catalog": "in", "output": "out", **tree})


def chain_of(**tree: Any) -> KeyChain:
    return KeyChain(run_of(**tree).recipe())


def keys_of(params: select.Params | None = None, **tree: Any) -> dict[str, str]:
    given = {} if params is None else {"select": params.model_dump(mode="json")}
    return chain_of(**given, **tree).keys(ROW)


@pytest.mark.parametrize("case", json.loads(GOLDEN.read_text()), ids=lambda c: str(c["settings"]))
def test_without_candidates_all_keys_are_as_before_there_were_any(case: dict[str, Any]) -> None:
    chain = chain_of(**case["settings"])
    assert chain.keys(ROW) == case["keys"]
    assert chain.seed(ROW, "animate") == chain.seed(ROW, "animate", 0) == case["seed"]
    assert not {name for name in chain.constants if name.startswith("select")}
    assert not {name for name in chain.material(ROW) if name.startswith("select")}
    assert hashlib.blake2b(chain.configuration, digest_size=16).hexdigest() == case["config"]


def test_candidates_keep_everything_up_to_the_first_animation() -> None:
    before, after = keys_of(), keys_of(select.Params(candidates=4))
    assert [stage for stage in after if after[stage] != before.get(stage)] == [
        *("select", "encode", "measure")
    ]
    assert list(after)[-4:] == ["animate", "select", "encode", "measure"]


PARAMS = st.builds(
    select.Params,
    candidates=st.integers(1, 3),
    max_seeds=st.integers(1, 3),
    rule=st.sampled_from(get_args(select.Rule)),
    flags=st.lists(st.sampled_from(get_args(select.RetriedFlag)), max_size=3).map(tuple),
)


@settings(max_examples=60, deadline=None)
@given(PARAMS, PARAMS)
def test_keys_differ_exactly_where_a_result_can(one: select.Params, other: select.Params) -> None:
    def decides(params: select.Params) -> tuple[object, ...]:
        seeds = max(params.candidates, params.max_seeds if params.flags else 1)
        if seeds == 1:
            return ()
        again = seeds > params.candidates
        return params.candidates, params.rule, again and (seeds, set(params.flags))

    assert (keys_of(one) == keys_of(other)) == (decides(one) == decides(other))
    same_plan = chain_of(select=one.model_dump()).constants == (
        chain_of(select=other.model_dump()).constants
    )
    assert same_plan == (decides(one) == decides(other))


def test_another_version_of_the_measures_is_another_judge(monkeypatch: pytest.MonkeyPatch) -> None:
    from tasks import measure

    several = select.Params(candidates=2)
    before, plain = keys_of(several), keys_of()
    monkeypatch.setattr(measure, "VERSION", measure.VERSION + 1)
    assert keys_of(several)["select"] != before["select"]
    assert keys_of()["encode"] == plain["encode"]


@given(st.integers(0, 2**63 - 1), st.booleans())
@settings(max_examples=20, deadline=None)
def test_every_candidate_has_a_seed_of_its_own(seed: int, one_stream: bool) -> None:
    chain = chain_of(seed=seed, one_stream=one_stream)
    seeds = [chain.seed(ROW, "animate", number) for number in range(select.MOST)]
    assert len(set(seeds)) == select.MOST
    assert all(0 <= seed < 2**63 for seed in seeds)
    if one_stream:
        assert seeds[1] == (seed + 1) % 2**63
    else:
        assert seeds[1] != chain.seed({**ROW, "id": "b"}, "animate", 1)


def test_flags_are_those_of_the_measures() -> None:
    assert {*get_args(select.RetriedFlag), "good"} == set(get_args(Flag))


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"candidates": 0}, "select.candidates = 0"),
        ({"candidates": 65}, "less than or equal to 64"),
        ({"max_seeds": 65}, "select.max_seeds = 65"),
        ({"rule": "best"}, "'balanced', 'fidelity' or 'motion'"),
        ({"flags": ["cross_fade"]}, "'cross-fade'"),
        ({"candidate": 2}, "did you mean 'candidates'?"),
    ],
)
def test_a_wrong_setting_gets_one_sentence(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        run_of(select=given)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


# -- the rules


def quality(flag: Flag = "good", **measures: float | None) -> Quality:
    usual = {"motion": 0.01, "motion_top5": 0.01, "first_frame_ssim": 0.9, "blend_share": 0.1}
    usual |= {"flicker": 0.5, "drift": 1.0, "loop_seam": 1.0}
    return Quality(flag=flag, **{**usual, **measures})  # type: ignore[arg-type]


def test_what_each_rule_likes() -> None:
    true, lively = quality(first_frame_ssim=0.95), quality(motion_top5=0.03)
    wild = quality(motion_top5=0.3, first_frame_ssim=0.5, flicker=1.4)
    clips = {"true": true, "lively": lively, "wild": wild}

    def best(rule: select.Rule) -> str:
        return max(clips, key=lambda name: select.score(clips[name], rule))

    found = {rule: best(rule) for rule in get_args(select.Rule)}
    assert found == {"fidelity": "true", "balanced": "lively", "motion": "wild"}
    # By hand: 0.9 - 1 / 10, as much for motion from 6/256 on, less 0.5 / 10.
    assert select.score(lively, "balanced") == pytest.approx(0.8 + 1 - 0.05)
    assert select.score(true, "fidelity") == pytest.approx(0.85)
    undefined = quality(motion_top5=None, first_frame_ssim=None, flicker=None)
    assert select.score(undefined, "balanced") == pytest.approx(-0.1)


NUMBER = st.none() | st.floats(-1, 2)
QUALITIES = st.builds(
    Quality,
    **dict.fromkeys(("motion", "motion_top5", "first_frame_ssim", "blend_share"), NUMBER),
    **dict.fromkeys(("flicker", "drift", "loop_seam"), NUMBER),
    flag=st.sampled_from(get_args(Flag)),
)


@settings(deadline=None)
@given(
    st.lists(QUALITIES, min_size=1, max_size=6), st.sampled_from(get_args(select.Rule)), st.data()
)
def test_the_best_is_one_and_does_not_depend_on_who_is_judged_first(
    found: list[Quality], rule: select.Rule, data: st.DataObject
) -> None:
    places = [select.rank(one, rule, number) for number, one in enumerate(found)]
    assert len(set(places)) == len(places)
    order = data.draw(st.permutations(range(len(found))))
    best = min(order, key=lambda number: places[number])
    unflagged = [number for number, one in enumerate(found) if one.flag == "good"]
    rivals = unflagged or range(len(found))
    assert best in rivals
    assert all(select.score(found[best], rule) >= select.score(found[n], rule) for n in rivals)
    equal = [n for n in rivals if select.score(found[n], rule) == select.score(found[best], rule)]
    assert best == min(equal)
