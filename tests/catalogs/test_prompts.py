"""Motion prompts: who answers first, which words count, and that order does not matter."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalogs.builders import build_wikiart
from catalogs.errors import ConfigError
from catalogs.prompts import assign_prompts, load_lexicon
from catalogs.schema import GENRES, table_from_rows

LEXICON = json.loads((Path(__file__).parents[2] / "catalogs" / "data" / "lexicon.json").read_text())
VARIANTS = {rule["id"]: rule["variants"] for rule in LEXICON["rules"]}


def table(*rows):
    return table_from_rows({"id": f"w{n}", "image_uri": "x", **row} for n, row in enumerate(rows))


def assigned(*rows, **options):
    return assign_prompts(table(*rows), **options).to_pylist()


@pytest.mark.parametrize(
    ("row", "source", "rule"),
    [
        ({"title": "The shipwreck of the Minotaur"}, "title", "storm_sea"),
        ({"title": "Étretat"}, "title", "sea"),
        ({"title": "BOATS at night"}, "title", "boats"),  # both fire: the earlier rule wins
        ({"title": "A boatman"}, "generic", "generic"),  # whole words only
        ({"title": "Bauernhof2river"}, "title", "water"),  # digits split words
        ({"title": "Morning series", "genre": "abstract_painting"}, "genre", "abstract_painting"),
        ({"title": "Mrs. Rivers Hill", "genre": "portrait"}, "title", "portrait"),
        ({"title": "John Hill", "genre": "portrait"}, "genre", "portrait"),
        ({"title": "Girl with a dog", "genre": "portrait"}, "title", "animal"),
        ({"title": "Nude by the sea", "genre": "nude_painting"}, "title", "figures"),
        ({"title": "Old town", "genre": "cityscape"}, "title", "crowd"),
        ({"title": "Old Vladivostok", "genre": "cityscape"}, "genre", "cityscape"),
        ({"title": "Old Vladivostok"}, "title", "portrait"),
        ({"title": "Untitled", "genre": "still_life"}, "genre", "still_life"),
        ({"title": None, "styles": ["Baroque", "Cubism"]}, "style", "Cubism"),
        ({"title": None, "styles": ["Baroque"]}, "generic", "generic"),
        ({"title": "", "genre": "unheard of"}, "generic", "generic"),
    ],
)
def test_templates(row, source, rule):
    (out,) = assigned(row)
    assert (out["prompt_source"], out["prompt_rule"]) == (source, rule)
    sentences = {**LEXICON["genre"], **LEXICON["style"], **VARIANTS, "generic": LEXICON["generic"]}
    assert out["prompt"] in sentences[rule]
    assert out["prompt_model"] == load_lexicon().model
    assert out["motion"] in ("low", "medium", "high")


def test_own_prompts_win_and_blank_ones_do_not():
    rows = assigned({"prompt": " Waves roll "}, {"prompt": " \n"}, {"prompt": "p" * 5_000})
    assert (rows[0]["prompt"], rows[0]["prompt_source"]) == ("Waves roll", "user")
    assert rows[0]["prompt_rule"] is None
    assert rows[1]["prompt_source"] == "generic"
    assert len(rows[2]["prompt"]) == 5_000


def test_one_prompt_for_all():
    rows = assigned({"prompt": "own"}, {"title": "sea"}, prompt="  Everything sways ")
    assert {(row["prompt"], row["prompt_source"]) for row in rows} == {("Everything sways", "cli")}
    assert assigned({"prompt": "own"}, prompt="  ")[0]["prompt_source"] == "user"


def test_overrides_from_the_narrowest(tmp_path):
    path = tmp_path / "o.csv"
    path.write_text(
        "id,artist,genre,prompt,proxy_prompt\n"
        "w0,,,By id,Still by id\n"
        ",Claude Monet,landscape,By both,\n"
        ",claude-monet,,By artist,\n"
        ",,landscape,By genre,\n"
        "nobody,,,Unused,\n"
    )
    monet, landscape = {"artist": "Claude Monet"}, {"genre": "landscape"}
    rows = assigned(
        {**monet, **landscape, "prompt": "own"},
        {**monet, **landscape, "prompt": "own"},
        {**monet, "genre": "portrait"},
        {"artist": "Édouard Manet", **landscape},
        {"title": "sea", "prompt": "own"},
        overrides=path,
    )
    assert [row["prompt"] for row in rows] == ["By id", "By both", "By artist", "By genre", "own"]
    assert [row["prompt_source"] for row in rows] == ["override"] * 4 + ["user"]
    assert rows[0]["proxy_prompt"] == "Still by id"


def test_overrides_that_fit_nothing_are_said(tmp_path, caplog):
    (tmp_path / "o.jsonl").write_text('{"id": "typo", "prompt": "x"}\n')
    assigned({}, overrides=tmp_path / "o.jsonl")
    assert "1 prompts fit no work: 'typo'" in caplog.text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("title,prompt\na,b\n", "a column prompt and one of id, artist, genre; this one has title"),
        ("id,text\na,b\n", "a column prompt"),
        ("id,artist,prompt\n,,b\n", "a row names no id, artist or genre"),
    ],
)
def test_wrong_overrides(tmp_path, content, message):
    (tmp_path / "o.csv").write_text(content)
    with pytest.raises(ConfigError, match=message):
        assigned({}, overrides=tmp_path / "o.csv")
    with pytest.raises(ConfigError, match="does not exist"):
        assigned({}, overrides=tmp_path / "none.csv")


def test_no_provider_leaves_null():
    (row,) = assigned({"title": "sea"}, provider="none")
    assert row["prompt"] is row["prompt_source"] is row["prompt_rule"] is None
    with pytest.raises(ConfigError, match="'vlm' is unknown; allowed are template, none"):
        assigned({}, provider="vlm")


def test_assigning_twice_changes_nothing():
    once = assign_prompts(table({"title": "sea"}, {"prompt": "own"}, {"genre": "portrait"}))
    assert assign_prompts(once).equals(once)
    assert once.schema.equals(table({}).schema)


@settings(deadline=None, max_examples=30)
@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "id": st.text(min_size=1),
                "title": st.none() | st.text() | st.sampled_from(["the sea", "old man"]),
                "genre": st.none() | st.sampled_from(GENRES),
            }
        ),
        min_size=1,
        unique_by=lambda row: row["id"],
    ),
    st.randoms(),
)
def test_a_prompt_depends_on_its_own_row_only(rows, random):
    whole = {row["id"]: row["prompt"] for row in assigned(*rows)}
    random.shuffle(rows)
    for row in rows:
        assert assigned(row)[0]["prompt"] == whole[row["id"]]
    assert all(prompt and prompt.strip() for prompt in whole.values())


def test_the_lexicon_is_whole():
    assert len({rule["id"] for rule in LEXICON["rules"]}) == len(LEXICON["rules"]) == 43
    assert set(LEXICON["genre"]) == set(GENRES)
    sentences = [s for rule in LEXICON["rules"] for s in rule["variants"]]
    for group in (*LEXICON["genre"].values(), *LEXICON["style"].values(), LEXICON["generic"]):
        sentences += group
    assert all(3 <= len(sentence.split()) <= 11 for sentence in sentences)
    banned = re.compile(r"\b(camera|zoom|pan|painting|picture|photo|style|then|finally)\b", re.I)
    assert not [sentence for sentence in sentences if banned.search(sentence)]


def test_variants_are_both_used():
    prompts = {row["prompt"] for row in assigned(*[{"title": "the sea"}] * 40)}
    assert prompts == set(VARIANTS["sea"])


def test_every_wikiart_work_gets_a_prompt():
    catalog = build_wikiart(Path(__file__).parents[1] / "data" / "wikiart").table
    out = assign_prompts(catalog)
    assert out["prompt"].null_count == out["prompt_source"].null_count == 0
    assert set(out["prompt_source"].to_pylist()) == {"title", "genre", "style", "generic"}


def test_a_damaged_lexicon_is_refused(tmp_path):
    (tmp_path / "l.json").write_text('{"rules": []}')
    with pytest.raises(ConfigError, match="this lexicon cannot be read"):
        assigned({}, lexicon=tmp_path / "l.json")
