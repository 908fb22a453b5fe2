"""Reviews as facts: which decision counts, what it leads to, none lost and none counted twice."""

from __future__ import annotations

import pyarrow as pa
import pytest

from catalogs import reviews
from catalogs.errors import DamagedError
from catalogs.keys import derive_seed
from catalogs.reviews import Decision, Reviews, Settled
from catalogs.schema import table_from_rows
from catalogs.store import Store

FIRST, SECOND = "a" * 32, "b" * 32
NONE = Reviews()


def decision(verdict: str, key: str = FIRST, **more: str) -> Decision:
    return Decision.model_validate({"id": "x", "key": key, "verdict": verdict, **more})


def settle(
    new: Decision, before: Reviews = NONE, *, present: str = FIRST, made: bool = False
) -> Settled:
    return reviews.settle([new], before, set(), {"x": {present}}, lambda key: made)


def after(*steps: tuple[Decision, str, bool]) -> Reviews:
    """The reviews that come of decisions, each with the present key and whether it is made."""
    state = Reviews()
    for new, present, made in steps:
        settled = settle(new, state, present=present, made=made)
        assert settled.taken == (new,)
        state = Reviews(state.seq + 1, settled.standing)
    return state


def test_a_wish_to_redo_is_another_take_and_a_prompt_stays_until_the_next() -> None:
    state = after(
        (decision("redo", prompt="waves"), FIRST, True), (decision("redo", SECOND), SECOND, True)
    )
    assert state.standing["x"].version.model_dump() == {"take": 2, "prompt": "waves"}


def test_keeping_clears_a_rejection_and_the_take_stays() -> None:
    state = after((decision("redo"), FIRST, True), (decision("reject", SECOND), SECOND, True))
    assert state.rejected == {"x": ""}
    state = Reviews(2, settle(decision("keep", SECOND), state, present=SECOND, made=True).standing)
    assert state.rejected == {}
    assert state.standing["x"].version.take == 1


@pytest.mark.parametrize("later", ["redo", "reject", "keep"])
def test_of_two_curators_at_one_version_the_later_one_counts(later: str) -> None:
    first = after((decision("redo", note="A", prompt="waves"), FIRST, True))
    settled = settle(decision(later, note="B"), first, present=SECOND, made=False)
    stands = settled.standing["x"]
    assert settled.taken[0].note == stands.decision.note == "B"
    assert stands.version.model_dump() == {"take": int(later == "redo"), "prompt": None}


def test_a_decision_about_an_earlier_version_changes_nothing() -> None:
    first = after((decision("redo"), FIRST, True))
    settled = settle(decision("reject", note="late"), first, present=SECOND, made=True)
    assert (settled.taken, len(settled.outdated)) == ((), 1)
    assert settled.standing == first.standing
    assert len(settle(decision("keep", "f" * 32)).outdated) == 1


def test_the_same_decision_counts_once() -> None:
    new = decision("redo", reviewed_at="2026-01-01")
    settled = reviews.settle([new], Reviews(), {new}, {"x": {FIRST}}, lambda key: False)
    assert (settled.taken, settled.repeated, settled.standing) == ((), (new,), {})


def test_reviews_are_numbered_create_only_facts(tmp_path) -> None:
    store = Store.open(str(tmp_path))
    assert reviews.load(store) == Reviews()
    assert store.counts == {"list": 1}
    one = settle(decision("redo", note="=1+1\u202e", prompt="</script>"))
    assert reviews.record(store, one, 1)
    assert not reviews.record(store, settle(decision("keep")), 1)
    (tmp_path / "reviews" / "notes.txt").write_text("not ours")
    two = settle(decision("reject", SECOND), Reviews(1, one.standing), present=SECOND)
    assert reviews.record(store, two, 2)
    store.counts.clear()
    assert reviews.load(store) == Reviews(2, two.standing)
    assert store.counts == {"list": 1, "get": 1}
    told = [d for review in reviews.history(store) for d in review.decisions]
    assert told == [*one.taken, *two.taken]


def test_a_damaged_review_says_the_cure(tmp_path) -> None:
    (tmp_path / "reviews").mkdir()
    (tmp_path / "reviews" / "00000001.json").write_bytes(b'{"created": "never"}')
    with pytest.raises(DamagedError, match=r"reviews/00000001\.json is damaged.*move it away"):
        reviews.load(Store.open(str(tmp_path)))


def test_the_catalog_is_seen_with_takes_and_prompts() -> None:
    rows = [
        {"id": i, "image_uri": "i.png", "prompt": f"p{i}", "prompt_source": "title"} for i in "wxyz"
    ]
    table = table_from_rows(rows)
    assert Reviews().overlay(table)["take"].to_pylist() == [None] * 4
    settled = reviews.settle(
        [
            Decision(id="x", key=FIRST, verdict="redo", prompt="waves"),
            Decision(id="y", key=FIRST, verdict="redo"),
            Decision(id="z", key=FIRST, verdict="reject"),
        ],
        Reviews(),
        set(),
        {item: {FIRST} for item in "xyz"},
        lambda key: True,
    )
    seen = Reviews(1, settled.standing).overlay(table)
    assert seen["take"].to_pylist() == [None, 1, 1, None]
    assert seen["prompt"].to_pylist() == ["pw", "waves", "py", "pz"]
    assert seen["prompt_source"].to_pylist() == ["title", "review", "title", "title"]
    assert seen.schema.field("take").type == pa.int32()
    assert seen.drop(["take"]).schema == table.schema


def test_seeds_of_takes_differ_and_the_first_is_as_ever() -> None:
    seeds = {derive_seed(7, "x", "animate", take) for take in range(100)}
    assert len(seeds) == 100
    assert derive_seed(7, "x", "animate", 0) == derive_seed(7, "x", "animate")
