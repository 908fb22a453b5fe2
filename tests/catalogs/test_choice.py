"""What was measured of several seeds, in a record, a manifest and on a page."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalogs.choice import Choice, Tried, tried_text
from catalogs.gallery_rows import detail_of
from catalogs.records import Record, from_parquet, from_table, parse, to_parquet, to_table

CHOICE = Choice(
    candidate=1,
    tried=(
        Tried(seed=2**62 + 1, flag="static", score=0.4125, measures={"drift": 1.5}),
        Tried(seed=8, flag="good", score=1.2),
        Tried(seed=9, code="numeric"),
    ),
)
TEXT = "0 static 0.412, 1 good 1.2 (kept), 2 numeric"


def record(**fields: object) -> Record:
    usual = {"item_id": "a", "shard_id": "s0", "key": "ab" * 16, "status": "done"}
    return Record(**{**usual, **fields})  # type: ignore[arg-type]


def test_a_choice_goes_through_record_and_manifest() -> None:
    row = record(seed=8, **CHOICE.facts())
    assert parse(row.to_bytes()) == row
    [back] = from_table(from_parquet(to_parquet(to_table([row]))))
    assert back == row
    assert (back.candidate, back.candidates, back.candidate_score) == (1, 3, 1.2)
    assert tried_text(back.model_dump()) == TEXT
    assert Choice.model_validate_json(CHOICE.model_dump_json()) == CHOICE
    assert tried_text(record().model_dump()) == ""


@pytest.mark.parametrize(
    "text",
    [
        '{"candidate": 3, "tried": [{"seed": 1}]}',
        '{"candidate": 0, "tried": [{"seed": 1, "code": "numeric"}]}',
        '{"candidate": -1, "tried": [{"seed": 1}]}',
        "[]",
    ],
)
def test_a_choice_of_none_is_no_choice(text: str) -> None:
    with pytest.raises(ValueError, match=r"candidate|object"):
        Choice.model_validate_json(text)


def test_the_gallery_says_which_of_how_many() -> None:
    more = detail_of(record(seed=8, **CHOICE.facts()).model_dump())
    assert (more["seed"], more["candidates"], more["tried"]) == ("8", 3, TEXT)
    more = detail_of(record(seed=8).model_dump())
    assert (more["seed"], more["candidates"], more["tried"]) == ("8", None, None)


@settings(deadline=None)
@given(st.none() | st.text() | st.sampled_from(["[1]", '{"seed": 1}', '[{"seed": "x"}]', "[[]]"]))
def test_what_something_else_wrote_breaks_no_page(text: str | None) -> None:
    assert tried_text({"candidates_tried": text, "candidate": "<b>"}) == ""
