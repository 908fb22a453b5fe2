import json
import time
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from catalogs import paths
from catalogs.errors import ConfigError
from catalogs.keys import (
    StageKeyer,
    canonical_json,
    derive_seed,
    digest_bytes,
    item_slug,
    stage_key,
)

GOLDEN = Path(__file__).parents[1] / "golden" / "keys.json"
HOSTILE = [
    "../../x", "a/b", "a\\b", "<script>", "🎨", "🖼", "", ".", "..", "A", "a", "CON", "-", "x" * 500,
    "é", "e\u0301", "a b", "a-b", "a\0b", "\ud800", "...", "a..b", "%2e%2e", "~", "Ａ",
]  # fmt: skip


def test_keys_are_those_of_every_earlier_version() -> None:
    # A key that moves throws away every result ever made under it: bump a stage's VERSION instead.
    golden = json.loads(GOLDEN.read_text())
    assert len(golden["stage_keys"]) >= 5
    for case in golden["stage_keys"]:
        arguments = dict(case["arguments"])
        stage, version = arguments.pop("stage"), arguments.pop("version")
        assert stage_key(stage, version, **arguments) == case["key"]
    for run_seed, item_id, stage, seed in golden["seeds"]:
        assert derive_seed(run_seed, item_id, stage) == seed
    for item_id, slug in golden["slugs"]:
        assert item_slug(item_id) == slug


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (8, 8.0, True),
        (0.0, -0.0, True),
        (1, True, False),
        (0.1, 0.1 + 1e-18, True),
        (0.1, 0.1 + 1e-16, False),
        (2**53, float(2**53), False),  # a float of this size stands for several integers
        ("é", "e\u0301", True),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, True),
        ([1, 2], (1, 2), True),
        ([1, 2], [2, 1], False),
        (None, "", False),
        ("1", 1, False),
    ],
)
def test_what_counts_as_the_same_value(one: object, other: object, same: bool) -> None:
    assert (canonical_json(one) == canonical_json(other)) is same


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), {1, 2}, b"x", print, {1: "a"}, "\ud800", {"é": 1, "e\u0301": 2}],
)
def test_what_no_key_is_made_of(value: object) -> None:
    with pytest.raises(ConfigError):
        canonical_json({"field": value})


def test_the_error_names_the_field() -> None:
    with pytest.raises(ConfigError, match=r"value\.encode\.fps is nan"):
        canonical_json({"encode": {"fps": float("nan")}})


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.text(st.characters(codec="ascii")), inner, max_size=4),
    max_leaves=10,
)  # fmt: skip


@given(PLAIN)
def test_canonical_json_is_a_fixed_point(value: object) -> None:
    text = canonical_json(value)
    assert canonical_json(json.loads(text)) == text


BASE = {
    "stage": "encode",
    "version": 1,
    "params": {"fps": 8, "crf": 18},
    "inputs": {"animate": "a" * 32},
    "model": "preview",
    "seed": 5,
}
FLIPS = [
    {"stage": "encod"},
    {"version": 2},
    {"params": {"fps": 12, "crf": 18}},
    {"params": {"fps": 8}},
    {"inputs": {"animate": "b" * 32}},
    {"inputs": {"animat": "a" * 32}},
    {"model": None},
    {"model": "other"},
    {"seed": None},
    {"seed": 6},
]


@pytest.mark.parametrize("flip", FLIPS)
def test_every_argument_is_part_of_the_key(flip: dict[str, object]) -> None:
    def key(arguments: dict[str, object]) -> str:
        rest = dict(arguments)
        return stage_key(rest.pop("stage"), rest.pop("version"), **rest)  # type: ignore[arg-type]

    assert key({**BASE, **flip}) != key(BASE)
    assert len(key(BASE)) == 32


@given(
    st.dictionaries(st.text(st.characters(codec="ascii")), st.text(st.characters(codec="utf-8"))),
    st.none() | st.integers(0, 2**63),
)
def test_a_keyer_gives_the_keys_of_stage_key(inputs: dict[str, str], seed: int | None) -> None:
    keyer = StageKeyer("animate", 3, params={"p": 0.6}, model="m")
    expected = stage_key("animate", 3, params={"p": 0.6}, model="m", inputs=inputs, seed=seed)
    assert keyer.key(inputs, seed=seed) == expected
    assert keyer.key(inputs, seed=seed) == expected


@given(st.integers(-(2**70), 2**70), st.text(), st.text(st.characters(codec="ascii")))
def test_seeds_fit_63_bits_and_differ_by_item_and_stage(run: int, item: str, stage: str) -> None:
    seed = derive_seed(run, item, stage)
    assert 0 <= seed < 2**63
    assert seed == derive_seed(run, item, stage)
    assert derive_seed(run, item + "x", stage) != seed
    assert derive_seed(run, item, stage + "x") != seed
    assert derive_seed(run + 1, item, stage) != seed


@given(st.text(st.characters()))
@example("../../x")
@example("\ud800")
def test_slugs_are_safe_components(item_id: str) -> None:
    slug = item_slug(item_id)
    assert set(slug) <= set("abcdefghijklmnopqrstuvwxyz0123456789.-")
    assert 10 <= len(slug) <= 69
    assert not slug.startswith((".", "-"))
    assert ".." not in slug
    assert paths.output(item_id, "k" * 32, "d" * 64, "video.mp4").count("/") == 3


def test_hostile_ids_get_slugs_of_their_own() -> None:
    slugs = [item_slug(item_id) for item_id in HOSTILE]
    assert len({slug.lower() for slug in slugs}) == len(HOSTILE)


def test_a_label_makes_a_slug_readable_and_nothing_more() -> None:
    assert item_slug("a/b", "Vincent van Gogh, The Starry Night").startswith("vincent-van-gogh-the")
    assert item_slug("a/b", "../..")[-8:] == item_slug("a/b")[-8:]
    assert item_slug("a/b", "Untitled") != item_slug("a/c", "Untitled")


@pytest.mark.parametrize("bad", ["../x", "a/b", "", ".hidden", "a\0b", "ü"])
def test_paths_take_plain_components_only(bad: str) -> None:
    for make in (
        lambda: paths.cache_object(bad, "k" * 32, "png"),
        lambda: paths.cache_object("prepare", bad, "png"),
        lambda: paths.record(bad, "k" * 32, 1),
        lambda: paths.output("item", "k" * 32, "d" * 64, bad),
        lambda: paths.seal("plan", bad),
        lambda: paths.run_file(bad, "run.yaml"),
    ):
        with pytest.raises(ValueError, match="component"):
            make()


def test_paths_are_read_back() -> None:
    assert paths.parse_record(paths.record("s01", "k" * 32, 12)) == ("s01", "k" * 32, 12)
    assert paths.parse_record("records/s01/.tmp-0123.json") is None
    assert paths.sequence_of(paths.head(17)) == 17
    assert sorted([paths.head(9), paths.head(10)]) == [paths.head(9), paths.head(10)]
    with pytest.raises(ValueError, match="attempt"):
        paths.record("s", "k", 0)


def test_digest_is_sha256() -> None:
    assert digest_bytes(b"abc").startswith("ba7816bf8f01cfea414140de5dae2223")


def test_a_large_collection_gets_its_keys_in_seconds() -> None:
    keyer = StageKeyer("animate", 1, params={"steps": 25, "p": 0.6}, model="preview")
    start = time.process_time()
    for i in range(20_000):
        keyer.key({"real": "a" * 32, "prompt": "the sea rolls"}, seed=derive_seed(1, str(i), "a"))
    # 560,000 keys in 4 s would be 0.14 s here; the bound allows for a busy machine.
    assert time.process_time() - start < 1.0
