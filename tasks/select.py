"""Between stages 4 and 5, where it is switched on: which of several seeds' videos a work keeps.

What varies is the noise of the final animation alone: both distilled paths serve all candidates.
Candidate 0 has the seed of a work without candidates, and every candidate its own, so that
candidate k is the same video however many there are.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator

from catalogs.choice import Tried
from tasks.base import Params as _Params

if TYPE_CHECKING:
    from epa_core.metrics.quality import Quality

VERSION = 1
MOST = 64
Rule = Literal["balanced", "fidelity", "motion"]
RetriedFlag = Literal["static", "cross-fade", "drift", "flicker"]  # of epa_core.metrics.quality

# CIEDE2000 of drift, or grey levels of flicker, that weigh as much as all of the SSIM.
_TEN = 10.0
# Motion of the fastest twentieth, in shorter sides per frame, from where VBench calls a pair of
# frames dynamic; more of it earns no more in the rule "balanced".
MOVES = 6 / 256


class Params(_Params):
    """Several seeds for every work, of which the best is kept (off: 1 and 1)."""

    candidates: int = Field(1, ge=1, le=MOST, description="seeds tried for every work")
    max_seeds: int = Field(
        1,
        ge=1,
        le=MOST,
        description="seeds tried in all, one by one, as long as the best one is flagged",
    )
    rule: Rule = Field("balanced", description="unflagged first; what the score is made of")
    flags: tuple[RetriedFlag, ...] = Field(
        ("cross-fade", "static"), description="that ask for another seed"
    )

    @field_validator("flags")
    @classmethod
    def _as_a_set(cls, flags: tuple[RetriedFlag, ...]) -> tuple[RetriedFlag, ...]:
        return tuple(sorted(set(flags)))

    @property
    def most(self) -> int:
        """Seeds that a work may use in all."""
        return max(self.candidates, self.max_seeds if self.flags else 0)

    @property
    def active(self) -> bool:
        """Whether there is anything to choose; if not, the stage has no key."""
        return self.most > 1

    def material(self) -> dict[str, Any]:
        """What can change the choice, as it enters the key; nothing where there is none."""
        if not self.active:
            return {}
        found: dict[str, Any] = {"candidates": self.candidates, "rule": self.rule}
        if self.most > self.candidates:
            found |= {"max_seeds": self.max_seeds, "flags": self.flags}
        return found


def score(quality: Quality, rule: Rule) -> float:
    """What ``rule`` says of a video, higher is better; a measure that is undefined counts 0.

    fidelity: SSIM of the first frame to the painting, less a tenth of the drift. motion: length of
    the fastest twentieth's motion. balanced: fidelity, and as much again for motion up to MOVES,
    less a tenth of the flicker.
    """
    moves = quality.motion_top5 or 0.0
    if rule == "motion":
        return round(moves, 6)
    faithful = (quality.first_frame_ssim or 0.0) - (quality.drift or 0.0) / _TEN
    if rule == "fidelity":
        return round(faithful, 6)
    return round(faithful + min(1.0, moves / MOVES) - (quality.flicker or 0.0) / _TEN, 6)


def rank(quality: Quality, rule: Rule, candidate: int) -> tuple[bool, float, int]:
    """Place among the candidates, the smallest is the best: unflagged, higher score, lower number.

    Scores are compared as they are recorded, to six digits.
    """
    return quality.flag != "good", -score(quality, rule), candidate


def tried(seed: int, quality: Quality, rule: Rule) -> Tried:
    """What is recorded of a candidate that became a video."""
    measures = {
        name: float(f"{value:.5g}")
        for name, value in asdict(quality).items()
        if isinstance(value, float)
    }
    return Tried(seed=seed, flag=quality.flag, score=score(quality, rule), measures=measures)
