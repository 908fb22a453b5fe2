"""What prompts say: kinds, regions, directions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lexicon import lexicon_prompts

from epa_core.models.fields import KINDS
from epa_core.models.motion import BREATH, DOWN, LEFT, RIGHT, UP, parse_motion
from epa_core.models.regions import REGIONS


def said(prompt: str) -> set[tuple[str, str]]:
    return {(motion.kind, motion.region) for motion in parse_motion(prompt)}


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("Clouds drift across the sky", {("drift", "sky")}),
        ("The water flows slowly", {("flow", "water")}),
        ("The water ripples", {("ripple", "water")}),
        ("Waves roll towards the shore", {("roll", "water")}),
        ("Storm waves crash against the boats", {("roll", "water"), ("rock", "boats")}),
        ("Smoke rises from the chimney", {("rise", "sky")}),
        ("falling petals", {("fall", "foliage")}),
        ("Leaves and branches sway", {("sway", "foliage")}),
        ("Leaves flutter in the breeze", {("flutter", "foliage")}),
        ("Banners wave", {("flutter", "figures")}),
        ("Clouds and stars swirl across the night sky", {("swirl", "sky")}),
        ("Candlelight flickers", {("flicker", "light")}),
        ("The woman breathes", {("breathe", "figures")}),
        ("The great wave rolls and the boats rock", {("roll", "water"), ("rock", "boats")}),
        ("The boats slowly sail towards the distance.", {("sail", "boats")}),
        ("The shapes drift and the colours flow slowly", {("drift", "whole"), ("flow", "whole")}),
        ("Grass ripples in the wind and clouds drift", {("ripple", "ground"), ("drift", "sky")}),
        ("the camera pans left", {("pan", "whole")}),
        ("slow zoom in", {("zoom", "whole")}),
        ("Snow falls softly through still air", {("fall", "whole")}),
        ("Clouds drift but the water stays still", {("drift", "sky")}),
        ("Leaves and flowers sway in a light breeze", {("sway", "foliage"), ("sway", "flowers")}),
        ("In a light breeze the leaves flutter", {("flutter", "foliage")}),
        ("In light air the bouquet sways", {("sway", "flowers")}),
        ("The light flickers in the wind", {("flicker", "light")}),
        ("Mill sails turn as clouds pass behind", {("turn", "figures"), ("drift", "sky")}),
    ],
)
def test_sentences_say_what_moves_and_how(prompt: str, expected: set[tuple[str, str]]) -> None:
    assert said(prompt) == expected


@pytest.mark.parametrize(
    "prompt", ["nothing moves", "Nothing moves.", "static", "the water is still", "no movement"]
)
def test_still_prompts_move_nothing(prompt: str) -> None:
    assert parse_motion(prompt) == ()


@pytest.mark.parametrize("prompt", ["", "Mona Lisa", "1889", "モナ・リザ", "clou drif"])
def test_unknown_words_breathe(prompt: str) -> None:
    assert parse_motion(prompt) == BREATH


@pytest.mark.parametrize(
    ("prompt", "direction"),
    [
        ("clouds drift to the left", LEFT),
        ("clouds drift rightwards", RIGHT),
        ("clouds drift from the left to the right", RIGHT),
        ("clouds drift from the right", LEFT),
        ("smoke drifts upward", UP),
        ("leaves drift down", DOWN),
        ("clouds drift", None),
    ],
)
def test_directions(prompt: str, direction: tuple[float, float] | None) -> None:
    assert {motion.direction for motion in parse_motion(prompt)} == {direction}


def test_depth_is_signed() -> None:
    assert parse_motion("the boat sails away")[0].depth == -1
    assert parse_motion("the boat sails towards us")[0].depth == 1
    assert parse_motion("zoom out")[0].depth == -1


def test_slow_and_strong_words_scale() -> None:
    slow, usual, strong = (
        parse_motion(f"{word} waves roll")[0].strength for word in ("gentle", "blue", "heavy")
    )
    assert slow < usual < strong


def test_a_light_wind_is_a_gentle_one() -> None:
    assert parse_motion("In a light wind the grass ripples")[0].strength < 1


def test_every_sentence_of_the_lexicon_is_understood() -> None:
    prompts = lexicon_prompts()
    assert len(prompts) > 90
    assert [prompt for prompt in prompts if parse_motion(prompt) in ((), BREATH)] == []


@given(st.text(max_size=200))
def test_any_text_gives_known_motions(prompt: str) -> None:
    motions = parse_motion(prompt)
    assert motions == parse_motion(prompt)
    for motion in motions:
        assert motion.kind in KINDS
        assert motion.region in REGIONS
        assert 0 < motion.strength <= 2
