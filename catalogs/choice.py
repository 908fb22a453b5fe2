"""Which of several seeds' videos a work has kept, and what was measured of each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, NonNegativeInt, TypeAdapter, model_validator


class Tried(BaseModel):
    """One candidate: its seed, and its measures, or the code of the failure that it ended in."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    seed: NonNegativeInt
    code: str | None = None
    flag: str | None = None
    score: float | None = None
    measures: dict[str, float] = {}


class Choice(BaseModel):
    """The number of the kept candidate (from 0) among all that were tried."""

    model_config = ConfigDict(frozen=True)

    candidate: NonNegativeInt
    tried: tuple[Tried, ...]

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if self.candidate >= len(self.tried) or self.tried[self.candidate].code is not None:
            raise ValueError("the kept candidate is none of those that became a video")
        return self

    def facts(self) -> dict[str, Any]:
        """The choice as fields of a record."""
        return {
            "candidate": self.candidate,
            "candidates": len(self.tried),
            "candidate_score": self.tried[self.candidate].score,
            "candidates_tried": _LIST.dump_json(self.tried, exclude_defaults=True).decode(),
        }


_LIST = TypeAdapter(tuple[Tried, ...])


def tried_text(row: Mapping[str, Any]) -> str:
    """All candidates of a row of the manifest in one line; empty where there was no choice.

    `0 static 0.412, 1 good 1.2 (kept), 2 numeric`: number, flag and score, or failure code.
    """
    try:
        tried = _LIST.validate_json(row.get("candidates_tried") or "[]")
    except ValueError:  # a manifest that something else has written
        return ""
    kept = row.get("candidate")
    return ", ".join(_text(n, one) + " (kept)" * (n == kept) for n, one in enumerate(tried))


def _text(number: int, one: Tried) -> str:
    score = "" if one.score is None else f" {one.score:.3g}"
    return f"{number} {one.code or one.flag or 'unknown'}{score}"
