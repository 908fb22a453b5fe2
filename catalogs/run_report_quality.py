"""What a report says of the videos: their measures and flags, by style, by artist, by cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from catalogs.run_report_columns import Columns, Group, Numbers, quantile
from catalogs.safe_text import on_one_line

CATEGORIES = 12
POINTS = 12  # so few values are shown one by one
SHARES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True)
class Measure:
    """A number about a video: its column, what it means, how it is written."""

    name: str
    title: str
    meaning: str
    scale: float = 1.0
    plotted: bool = True


MEASURES = (
    Measure("motion", "Motion", "mean motion, % of the shorter side per frame", 100),
    Measure("motion_top5", "Fastest 5 %", "motion of the fastest 5 % of the picture", 100, False),
    Measure("first_frame_ssim", "First frame", "SSIM of first frame and painting; 1 is equal"),
    Measure("blend_share", "Cross-fade", "1 is a mere fade from the first frame to the last"),
    Measure("flicker", "Flicker", "grey levels between frames that motion does not explain"),
    Measure("drift", "Colour drift", "CIEDE2000 between the palettes; 1 is just visible"),
    Measure("loop_seam", "Loop seam", "jump from last to first frame, in mean steps", 1, False),
)
PLOTTED = tuple(measure for measure in MEASURES if measure.plotted)
# Flag -> what it says of a video.
FLAGS: Mapping[str, str] = {
    "good": "moves, and nothing is wrong with it",
    "static": "hardly moves",
    "cross-fade": "fades from one picture to another instead of moving",
    "drift": "colours leave the painting's",
    "flicker": "brightness or grain jumps from frame to frame",
}


@dataclass(frozen=True)
class Spread:
    """How a measure is spread over a group: quantiles at SHARES, or each value where few."""

    quantiles: Sequence[float] = ()
    points: Sequence[float] = ()

    @property
    def median(self) -> float | None:
        """The middle one; None where nothing was measured."""
        return self.quantiles[2] if self.quantiles else None


@dataclass(frozen=True)
class GroupQuality:
    """The done works of one style, artist or cell."""

    label: str
    works: int
    flags: Mapping[str, int]
    spreads: Mapping[str, Spread]


@dataclass(frozen=True)
class Quality:
    """All done works together, and grouped by style, artist or cell where these differ."""

    whole: GroupQuality
    groups: Mapping[str, Sequence[GroupQuality]] = field(default_factory=dict)

    @property
    def flags(self) -> list[str]:
        """The flags that occur, in the order of their table, unknown ones last."""
        found = self.whole.flags
        return [name for name in FLAGS if name in found] + sorted(set(found) - set(FLAGS))


def quality_of(columns: Columns, *, cells: Sequence[str] = ()) -> Quality:
    """Measures and flags of the done works; ``cells`` are those of a matrix, in its order."""
    done = columns.equal("status", "done")
    whole = _quality(columns, Group("all works", np.flatnonzero(done)))
    groups = {name: columns.groups(name, CATEGORIES, done) for name in ("style", "artist")}
    if cells:
        order = {on_one_line(cell): place for place, cell in enumerate(cells)}
        found = columns.groups("cell", CATEGORIES, done, on_one_line)
        groups["cell"] = sorted(found, key=lambda group: order.get(group.label, len(order)))
    grouped = {
        name: [_quality(columns, group) for group in found]
        for name, found in groups.items()
        if len(found) > 1  # one alone says what the whole says
    }
    return Quality(whole, grouped)


def _quality(columns: Columns, group: Group) -> GroupQuality:
    chosen = np.zeros(columns.count, bool)
    chosen[group.places] = True
    flags = {
        on_one_line(flag, 40): count
        for flag, count in columns.counts("flag", chosen).items()
        if flag
    }
    spreads = {
        measure.name: _spread(columns.numbers(measure.name)[group.places] * measure.scale)
        for measure in MEASURES
    }
    return GroupQuality(group.label, len(group.places), flags, spreads)


def _spread(values: Numbers) -> Spread:
    known = values[~np.isnan(values)]
    points = tuple(known.tolist()) if known.size <= POINTS else ()
    return Spread(tuple(quantile(known, *SHARES)), points)
