"""Motion prompts: from the user, an overrides file, or templates chosen by title, genre and style.

The template provider needs no model and no network and depends on a row's own values alone, so a
work's prompt is the same in any order, shard or run.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa

from catalogs.errors import ConfigError

PROVIDERS = ("template", "none")
# What may fire on portraits and nudes: scenic words in their titles are surnames and places.
PEOPLE_RULES = frozenset(
    [
        "children",
        "figures",
        "portrait",
        "horse",
        "bird",
        "fish",
        "animal",
        "dance",
        "music",
        "reading",
        "flowers",
    ]
)
PEOPLE_GENRES = frozenset(("portrait", "nude_painting"))
# What may not fire where no person is the subject: "old town", "st petersburg", "book and skull".
FIGURE_RULES = frozenset(["portrait", "figures", "holy", "reading"])
SCENE_GENRES = frozenset(["landscape", "cityscape", "still_life"])
ABSTRACT = "abstract_painting"

# How much should move, by rule or genre; all others are medium.
_HIGH = frozenset(["waterfall", "storm_sea", "fire", "storm", "battle", "dance"])
_LOW = frozenset(
    [
        "angel",
        "holy",
        "reading",
        "sleep",
        "stilllife",
        "children",
        "figures",
        "portrait",
        "nude_painting",
        "religious_painting",
        "still_life",
        "sketch_and_study",
    ]
)
_WORD = re.compile(r"[^\W\d_]+")
_MARK = re.compile(r"[\u0300-\u036f]")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Choice:
    """A prompt with where it came from: source title, genre, style or generic; rule; motion."""

    prompt: str
    source: str
    rule: str
    motion: str


@dataclass(frozen=True)
class Lexicon:
    """The template provider's rules; the first rule in order that has a word of the title wins."""

    rule_of_word: Mapping[str, int]
    rules: Sequence[tuple[str, tuple[str, ...]]]
    genre: Mapping[str, tuple[str, ...]]
    style: Mapping[str, tuple[str, ...]]
    generic: tuple[str, ...]
    digest: str

    @property
    def model(self) -> str:
        """Name and digest for the column prompt_model."""
        return f"template:{self.digest[:12]}"

    def choose(
        self, work: str, title: str | None, genre: str | None, styles: Sequence[str] | None
    ) -> Choice:
        """The prompt of one work; its id picks among a rule's sentences."""
        if genre != ABSTRACT and title:
            index = self._title_rule(title, genre)
            if index is not None:
                rule, variants = self.rules[index]
                return Choice(pick(work, variants), "title", rule, motion(rule))
        if genre and genre in self.genre:
            return Choice(pick(work, self.genre[genre]), "genre", genre, motion(genre))
        for style in styles or ():
            if style in self.style:
                return Choice(pick(work, self.style[style]), "style", style, motion(style))
        return Choice(pick(work, self.generic), "generic", "generic", "medium")

    def _title_rule(self, title: str, genre: str | None) -> int | None:
        hits = [self.rule_of_word[w] for w in words(title) if w in self.rule_of_word]
        if genre in PEOPLE_GENRES:
            hits = [index for index in hits if self.rules[index][0] in PEOPLE_RULES]
        elif genre in SCENE_GENRES:
            hits = [index for index in hits if self.rules[index][0] not in FIGURE_RULES]
        return min(hits, default=None)


def words(title: str) -> list[str]:
    """Lower-case words of a title, split at whatever is no letter, without accents."""
    lowered = title.lower()
    if not lowered.isascii():
        lowered = _MARK.sub("", unicodedata.normalize("NFKD", lowered))
    return _WORD.findall(lowered)


def pick(work: str, variants: Sequence[str]) -> str:
    """One of a rule's sentences, by sha256(id) modulo their number."""
    if len(variants) == 1:
        return variants[0]
    digest = hashlib.sha256(work.encode("utf-8", "surrogatepass")).digest()
    return variants[int.from_bytes(digest, "big") % len(variants)]


def motion(rule: str) -> str:
    """How strongly a rule's or genre's prompt should move: low, medium or high."""
    return "high" if rule in _HIGH else "low" if rule in _LOW else "medium"


@lru_cache(maxsize=4)
def load_lexicon(path: Path | None = None) -> Lexicon:
    """The packaged lexicon, or the one at a path; raises ConfigError for a damaged one."""
    source = path or Path(__file__).parent / "data" / "lexicon.json"
    try:
        raw = source.read_bytes()
        content = json.loads(raw)
        rules = [(rule["id"], tuple(rule["variants"])) for rule in content["rules"]]
        rule_of_word: dict[str, int] = {}
        for index, rule in enumerate(content["rules"]):
            for word in rule["words"]:
                rule_of_word.setdefault(word, index)
        return Lexicon(
            rule_of_word,
            rules,
            {name: tuple(texts) for name, texts in content["genre"].items()},
            {name: tuple(texts) for name, texts in content["style"].items()},
            tuple(content["generic"]),
            hashlib.sha256(raw).hexdigest(),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{source}: this lexicon cannot be read: {error!r}.") from error


def assign_prompts(
    table: pa.Table,
    *,
    prompt: str | None = None,
    overrides: str | Path | None = None,
    provider: str = "template",
    lexicon: Path | None = None,
) -> pa.Table:
    """The catalog with prompt, prompt_source, prompt_rule, prompt_model and motion filled.

    First that answers: `prompt` (for every work, source `cli`), the overrides file (`override`: it
    is a later edit than the catalog), the catalog's own prompt (`user`, or the source it already
    has), the provider (`title`, `genre`, `style`, `generic`); `none` leaves the rest null. Blank
    prompts count as none. Raises ConfigError for an unknown provider or a damaged file.
    """
    if provider not in PROVIDERS:
        raise ConfigError(
            f"prompt provider: {provider!r} is unknown; allowed are {', '.join(PROVIDERS)}."
        )
    rows = table.select(_INPUTS).to_pylist()
    edits = Overrides.read(overrides) if overrides else None
    templates = load_lexicon(lexicon) if provider == "template" else None
    for row in rows:
        _assign(row, _filled(prompt), edits, templates)
    if edits is not None:
        edits.warn_unused()
    for name in _OUTPUTS:
        field = table.schema.field(name)
        values = pa.array([row[name] for row in rows], field.type)
        table = table.set_column(table.schema.get_field_index(name), field, values)
    return table


_OUTPUTS = (
    "prompt",
    "proxy_prompt",
    "negative_prompt",
    "prompt_source",
    "prompt_rule",
    "prompt_model",
    "motion",
)
_INPUTS = ["id", "title", "artist", "genre", "styles", *_OUTPUTS]


def _assign(
    row: dict[str, Any], everywhere: str | None, edits: Overrides | None, templates: Lexicon | None
) -> None:
    edit = edits.find(row) if edits else None
    own = _filled(row["prompt"])
    if edit:
        for name in ("proxy_prompt", "negative_prompt"):
            row[name] = edit.get(name) or row[name]
    if everywhere or (edit and edit.get("prompt")):
        row["prompt"] = everywhere or (edit or {})["prompt"]
        row["prompt_source"] = "cli" if everywhere else "override"
        row["prompt_rule"] = row["prompt_model"] = None
    elif own:
        row["prompt"], row["prompt_source"] = own, row["prompt_source"] or "user"
    elif templates:
        chosen = templates.choose(row["id"], row["title"], row["genre"], row["styles"])
        row["prompt"], row["prompt_source"] = chosen.prompt, chosen.source
        row["prompt_rule"], row["prompt_model"] = chosen.rule, templates.model
        row["motion"] = row["motion"] or chosen.motion
    else:
        row["prompt"] = row["prompt_source"] = row["prompt_rule"] = row["prompt_model"] = None


def _filled(text: str | None) -> str | None:
    return text.strip() or None if text else None


class Overrides:
    """Edited prompts by id, by artist and genre, by artist, or by genre; the narrowest wins."""

    KEYS = ("id", "artist", "genre")

    def __init__(self, source: str, edits: list[dict[str, Any]]) -> None:
        self.source = source
        self.edits: dict[tuple[str | None, ...], dict[str, Any]] = {}
        for edit in edits:
            work, artist, genre = (edit.get(key) for key in self.KEYS)
            key = (work, None, None) if work else (None, _folded(artist), _folded(genre))
            if not any(key):
                raise ConfigError(f"{source}: a row names no id, artist or genre.")
            self.edits[key] = edit
        self.used: set[tuple[str | None, ...]] = set()

    @classmethod
    def read(cls, path: str | Path) -> Overrides:
        """Read a CSV or JSON-lines file with a prompt column and id, artist or genre columns."""
        from catalogs.builders.cells import identity, stripped
        from catalogs.builders.columns import normalise
        from catalogs.builders.table import read_any

        names, rows = read_any(str(path))
        ours = {name: normalise(name) for name in names}
        known = set(ours.values())
        if "prompt" not in known or not known & set(cls.KEYS):
            raise ConfigError(
                f"{path}: an overrides file has a column prompt and one of "
                f"{', '.join(cls.KEYS)}; this one has {', '.join(names)}."
            )
        edits = [
            {
                ours[name]: identity(value) if ours[name] == "id" else stripped(value)
                for name, value in row.items()
            }
            for row in rows
        ]
        return cls(str(path), edits)

    def find(self, row: Mapping[str, Any]) -> dict[str, Any] | None:
        """The narrowest edit for a catalog row, or null."""
        artist, genre = _folded(row["artist"]), _folded(row["genre"])
        for key in (
            (row["id"], None, None),
            (None, artist, genre),
            (None, artist, None),
            (None, None, genre),
        ):
            if any(key) and key in self.edits:
                self.used.add(key)
                return self.edits[key]
        return None

    def warn_unused(self) -> None:
        """Log the edits that no work of the catalog took, as a typing error would."""
        unused = [key for key in self.edits if key not in self.used]
        if unused:
            named = ", ".join(repr("/".join(part for part in key if part)) for key in unused[:5])
            logger.warning("%s: %d prompts fit no work: %s", self.source, len(unused), named)


def _folded(text: str | None) -> str | None:
    return " ".join(words(text)) or None if text else None
