"""Words to motion: what a prompt says moves, where, how and which way.

A prompt is cut into clauses ("The great wave rolls | and the boats rock"). In each, the last verb
that says a motion gives its kind, the nouns before the verb say what moves (a region of the
painting), and direction words say which way. Words are matched whole, by their stems. No tensors
and no pictures here: ``warp`` carries the motions out.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

Direction = tuple[float, float]
Found = TypeVar("Found")

RIGHT, LEFT, UP, DOWN = (1.0, 0.0), (-1.0, 0.0), (0.0, -1.0), (0.0, 1.0)


@dataclass(frozen=True)
class Motion:
    """One thing that moves.

    ``kind`` is a key of ``warp.KINDS``, ``region`` one of ``regions.REGIONS``; ``direction`` is a
    unit vector (x right, y down), None when the prompt names none; ``depth`` is +1 for towards the
    viewer, -1 for away; ``strength`` scales the amplitude (1 = usual).
    """

    kind: str
    region: str
    direction: Direction | None = None
    depth: int = 0
    strength: float = 1.0


# What a prompt gets of which no word is known.
BREATH: tuple[Motion, ...] = (Motion("breathe", "whole"),)

_KIND_WORDS = {
    "drift": "drift glide slide pass float blow sweep crawl creep hover wander travel scud race",
    "flow": "flow pour cascade run stream wash melt ooze trickle spill rush",
    "ripple": "ripple lap undulate billow waft",
    "roll": "roll crash break swell surge heave toss tumble splash",
    "rise": "rise lift ascend climb leap soar jump",
    "fall": "fall descend drop drip sink settle",
    "sway": "sway bend swing stir dance nod gesture walk stroll step gallop lean alive play",
    "flutter": "flutter rustle tremble ruffle quiver shake flap shiver wag",
    "swirl": "swirl churn whirl spiral eddy twist curl twirl",
    "turn": "turn spin rotate revolve",
    "rock": "rock bob",
    "sail": "sail row steer swim ride fly",
    "flicker": "flicker twinkle glow glint brighten shimmer waver shine sparkle gleam blaze",
    "breathe": "breathe blink smile pulse throb sleep sigh",
    "pan": "pan",
    "zoom": "zoom dolly",
    "move": "move shift change follow appear",
}
# A noun's region, and the kind of motion that it makes when its clause only says "moves".
_NOUN_WORDS = {
    ("sky", "drift"): "sky cloud heaven air peak mist fog haze moon aurora smoke steam",
    ("sky", "swirl"): "star constellation",
    ("water", "ripple"): (
        "water river lake pond pool reflection puddle harbour harbor canal lagoon bather lily "
        "lilies fish fin"
    ),
    ("water", "roll"): "sea ocean wave billows foam surf tide swell spray",
    ("water", "flow"): "waterfall stream fountain brook cascade torrent",
    ("ground", "ripple"): "ground grass field wheat grain meadow corn sand dune earth hay",
    ("foliage", "sway"): (
        "foliage branch branches tree garden forest plant bush cypress willow vine"
    ),
    ("flowers", "sway"): "flower bouquet rose tulip sunflower iris poppy poppies peony peonies",
    ("foliage", "flutter"): "leaf leaves petal blossom",
    ("boats", "rock"): "boat ship vessel sailboat rope mast gondola fleet barge",
    ("figures", "sway"): (
        "figure person people man men woman women child children girl boy hand finger arm face "
        "fabric robe hair cloth clothes skirt dress cloak veil banner flag dancer musician couple "
        "crowd body soldier rider scarf ribbon curtain sail windmill mill instrument"
    ),
    ("figures", "breathe"): "chest eye head mother king queen saint angel portrait skin they",
    ("figures", "flutter"): "wing feather ear tail mane",
    ("figures", "rock"): "horse animal bird dog cat cow sheep lion deer",
    ("light", "flicker"): (
        "light candle candlelight flame fire lamp lantern sun sunlight moonlight ray lightning "
        "glow spark shadow ember sunset gold glint"
    ),
    ("whole", "flow"): "colour color paint brushstroke stroke",
    ("whole", "drift"): "shape form pattern background",
    ("whole", "fall"): "rain snow snowflake hail",
    ("whole", "sway"): "wind breeze scene storm line everything world movement motion",
    ("whole", "zoom"): "camera view",
}
_DIRECTIONS: dict[str, Direction] = {
    "right": RIGHT,
    "rightward": RIGHT,
    "left": LEFT,
    "leftward": LEFT,
    "up": UP,
    "upward": UP,
    "down": DOWN,
    "downward": DOWN,
}
_NEVER = {"nothing", "static", "motionless", "frozen", "immobile", "unmoving", "none", "without"}
_RESTING = {"still", "calm", "quiet"}
_NEGATIONS = {"not", "no", "never", "nobody"}
_NEARER = {"viewer", "us", "closer", "forward", "forwards"}
_ZOOMS_IN = (["zoom", "in"], ["zooms", "in"], ["zooming", "in"])
_FAST = {"storm", "heavy", "fast", "quickly", "wildly", "violently", "strong", "fierce", "great"}
_SLOW = {"slow", "slowly", "slight", "slightly", "gently", "gentle", "softly", "soft", "little"}
# "In a light breeze" speaks of the breeze, "in the light" of the light.
_LIGHT_WIND = re.compile(r"\blight(?= (?:winds?|breezes?|airs?|gusts?|clouds?|mist|rain|snow)\b)")
_AIR = re.compile(r"\bgentle airs?\b")
_CUT = re.compile(r"[.,;:!?|]+|\b(?:and|as|while|when|with|then|but|under|through)\b")

_KINDS = {word: kind for kind, words in _KIND_WORDS.items() for word in words.split()}
_NOUNS = {word: found for found, words in _NOUN_WORDS.items() for word in words.split()}

# Some motions mean another thing for some regions (a boat does not drift like a cloud).
_MEANT = {
    ("rise", "water"): "roll",
    ("fall", "water"): "roll",
    ("swirl", "figures"): "sway",
    ("drift", "boats"): "sail",
    ("drift", "figures"): "sway",
    ("drift", "light"): "glide",
    ("flow", "figures"): "sway",
    ("flow", "sky"): "drift",
    ("turn", "boats"): "rock",
    ("rock", "water"): "roll",
    ("sway", "water"): "ripple",
    ("sway", "sky"): "drift",
    ("sway", "light"): "flicker",
    ("rise", "light"): "flicker",
    ("turn", "sky"): "swirl",
    ("rise", "figures"): "breathe",
    ("fall", "figures"): "breathe",
    ("roll", "sky"): "drift",
    ("roll", "figures"): "rock",
    ("roll", "whole"): "flow",
    ("ripple", "sky"): "drift",
    ("breathe", "sky"): "drift",
    ("sail", "sky"): "drift",
    ("sail", "whole"): "drift",
}


def _stems(token: str) -> list[str]:
    """The token and what it may be an inflection of, nearest first."""
    stems = [token]
    for ending, instead in (
        ("s", ""), ("es", ""), ("ies", "y"), ("ing", ""), ("ing", "e"), ("ed", ""), ("ed", "e"),
        ("d", ""), ("wards", "ward"), ("ves", "f"),
    ):  # fmt: skip
        if token.endswith(ending) and len(token) - len(ending) >= 2:
            stem = token[: -len(ending)] + instead
            stems.append(stem)
            if len(stem) > 3 and stem[-1] == stem[-2]:
                stems.append(stem[:-1])  # panning, bobbing
    return stems


def _first(table: Mapping[str, Found], token: str) -> Found | None:
    return next((table[stem] for stem in _stems(token) if stem in table), None)


def _noun(token: str) -> tuple[str, str] | None:
    return _first(_NOUNS, token)


def parse_motion(prompt: str) -> tuple[Motion, ...]:
    """Return the motions that ``prompt`` names, in its order, without repetition.

    Empty when it says that nothing moves; a slow breath of the whole when no word of it is known.
    """
    motions: list[Motion] = []
    waiting: list[tuple[str, str]] = []  # nouns whose verb comes in a later clause
    subjects: list[tuple[str, str]] = []
    rests = False
    words = _AIR.sub("gentle wind", _LIGHT_WIND.sub("gentle", prompt.lower()))
    for clause in _CUT.split(words):
        tokens = re.findall(r"[a-z]+", clause)
        if _is_still(tokens):
            rests, waiting = True, []
            continue
        kinds, nouns = _read(tokens)
        if not kinds:
            waiting += nouns
            continue
        subjects = waiting + nouns or subjects or [("whole", "sway")]
        waiting = []
        motions += _motions_of(kinds, subjects, tokens)
    if waiting and not motions:
        motions = _motions_of(["move"], waiting, [])
    if motions or rests:
        # The same thing said twice moves once.
        return tuple({(m.kind, m.region): m for m in reversed(motions)}.values())[::-1]
    return BREATH


def _is_still(tokens: list[str]) -> bool:
    words = set(tokens)
    kinds = [_first(_KINDS, token) for token in tokens]
    if words & _NEVER or (words & _NEGATIONS and any(kinds)) or {"no", "movement"} <= words:
        return True
    return bool(words & _RESTING) and not any(kinds)


def _read(tokens: list[str]) -> tuple[list[str], list[tuple[str, str]]]:
    """Verbs' kinds, and the nouns that move: those before the first verb, else those after it."""
    kinds: list[str] = []
    before: list[tuple[str, str]] = []
    after: list[tuple[str, str]] = []
    for index, token in enumerate(tokens):
        noun, kind = _noun(token), _first(_KINDS, token)
        subject = bool(before) and not kinds
        verb_follows = any(_first(_KINDS, later) for later in tokens[index + 1 :])
        if token in ("wave", "waves"):  # banners wave, but storm waves crash
            noun, kind = ("water", "roll"), "flutter"
            subject = subject and before[-1][0] in ("figures", "foliage")
        if kind is not None and (noun is None or (subject and not verb_follows)):
            kinds.append(kind)
        elif noun is not None:
            (after if kinds else before).append(noun)
    nouns = before or after
    return kinds, [noun for noun in nouns if noun[0] != "whole"] or nouns


def _motions_of(kinds: list[str], nouns: list[tuple[str, str]], tokens: list[str]) -> list[Motion]:
    words = set(tokens)
    strength = 1.25 if words & _FAST else 0.85 if words & _SLOW else 1.0
    direction, depth = _direction(tokens)
    motions: list[Motion] = []
    if "roll" in kinds and "boats" in {noun[0] for noun in map(_noun, tokens) if noun}:
        motions.append(Motion("rock", "boats", strength=strength))  # against the boats
    for region, usual in dict.fromkeys(nouns):
        for kind in kinds:
            chosen = usual if kind == "move" else kind
            if kind == "move" and region == "light":
                chosen = "glide"
            meant = _MEANT.get((chosen, region), chosen)
            motions.append(Motion(meant, region, direction, depth, strength))
    return motions


def _direction(tokens: list[str]) -> tuple[Direction | None, int]:
    """Direction in the picture, and depth: +1 towards the viewer, -1 away."""
    found: Direction | None = None
    depth = 0
    for index, token in enumerate(tokens):
        way = _first(_DIRECTIONS, token)
        if way is not None and "from" in tokens[max(0, index - 2) : index]:
            found = (-way[0], -way[1])
        elif way is not None:
            found = way
        elif token in ("away", "distance", "horizon", "out", "backwards"):
            depth = -1
        elif token in _NEARER or tokens[index - 1 : index + 1] in _ZOOMS_IN:
            depth = 1
    return found, depth
