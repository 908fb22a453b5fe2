"""What a report says of a collection in numbers: states, failures, time, where things came from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from catalogs.codes import CODES, FailureCode
from catalogs.records import STATUSES, TIMINGS
from catalogs.rows import LOST
from catalogs.run_report_columns import UNKNOWN, Columns, Numbers, label_of, quantile
from catalogs.safe_text import on_one_line

PENDING = "pending"
EXAMPLES = 3  # of a failure code
SLOWEST = 10
_MOST = 12  # values listed of a column
# What runs on the accelerator, one after the other; fetching and encoding go on beside it.
_COMPUTED = ("t_proxy", "t_distill", "t_animate")

FIELDS = (
    *("item_id", "key", "cell", "status", "attempt", "code", "message", "title", "artist", "style"),
    *TIMINGS,
    *("duration", "device", "peak_memory", "batch_size", "worker", "finished_at"),
    *("torch", "code_version", "model", "model_identity", "proxy", "proxy_identity"),
    *("prompt_source", "prompt_rule", "prompt_cut", "strict_numerics"),
    *("motion", "motion_top5", "first_frame_ssim", "blend_share", "flicker", "drift"),
    *("loop_seam", "flag"),
)


@dataclass(frozen=True)
class Stage:
    """Seconds that a stage took: of all works, their share, and of a work."""

    name: str
    works: int
    seconds: float
    share: float
    median: float
    p95: float


@dataclass(frozen=True)
class Example:
    """A work that a figure is about."""

    key: str
    item: str
    title: str = ""
    cell: str = ""
    message: str = ""
    seconds: float = 0.0
    stage: str = ""
    share: float = 0.0


@dataclass(frozen=True)
class Failures:
    """The works that failed with one code, and what the table of codes says about it."""

    about: FailureCode
    works: int
    examples: Sequence[Example]


@dataclass(frozen=True)
class Cell:
    """A cell of the run's matrix: its works by state."""

    label: str
    works: int
    states: Mapping[str, int]


class RunFigures(BaseModel):
    """What one run came to: the works it set out to make, as far as they ended. Seconds, UTC."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    run_id: str
    ended_at: str
    seconds: float
    works: int
    counts: dict[str, int]
    codes: dict[str, int]
    stage_seconds: dict[str, float]
    gpu_seconds: float
    video_seconds: float

    @property
    def ended(self) -> int:
        """Works that ended in some way."""
        return sum(self.counts.values())

    @property
    def per_hour(self) -> float | None:
        """Works ended per hour of wall time."""
        return 3600 * self.ended / self.seconds if self.seconds > 0 and self.ended else None


@dataclass(frozen=True)
class Figures:
    """What the manifest says of all works of a plan."""

    works: int
    states: Mapping[str, int]  # those that occur, `pending` last
    failures: Sequence[Failures]
    stages: Sequence[Stage]
    seconds: float  # of all stages
    gpu_seconds: float
    per_work: Sequence[float]  # median and 95th percentile over done works, or empty
    video_seconds: float
    slowest: Sequence[Example]
    flagged: Mapping[str, Sequence[Example]]  # flags but `good`
    cells: Sequence[Cell]
    period: tuple[str, str] | None  # first and last moment that a work ended
    lists: Mapping[str, Sequence[tuple[str, int]]]  # heading -> value, works
    numbers: Mapping[str, int]


def figures_of(columns: Columns, planned: Mapping[str | None, int]) -> Figures:
    """Count a manifest of columns FIELDS; ``planned`` are the plan's works by cell."""
    works = sum(planned.values())
    total, done = _seconds(columns), columns.equal("status", "done")
    spent = total[done & (total > 0)]
    return Figures(
        works=works,
        states=_states(columns.counts("status"), works),
        failures=_failures(columns),
        stages=_stages(columns),
        seconds=float(total.sum()),
        gpu_seconds=_gpu_seconds(columns),
        per_work=quantile(spent, 0.5, 0.95),
        video_seconds=float(np.nansum(columns.numbers("duration")[done])),
        slowest=_slowest(columns, total),
        flagged=_flagged(columns),
        cells=_cells(columns, planned),
        period=columns.range("finished_at"),
        lists={
            "Prompts come from": _listed(columns.counts("prompt_source")),
            "Rules that made them": _listed(columns.counts("prompt_rule"), none=False),
            "Models": _pairs(columns, "model"),
            "Proxy makers": _pairs(columns, "proxy"),
            "Devices": _listed(columns.counts("device")),
            "epa": _listed(columns.counts("code_version")),
            "torch": _listed(columns.counts("torch"), none=False),
            "Works in one call": _listed(columns.counts("batch_size"), none=False),
        },
        numbers={
            "prompts cut by the text encoder": columns.count - columns.counts("prompt_cut")[None],
            "works done again in float32": columns.counts("strict_numerics")[True],
            "working processes": len([w for w in columns.counts("worker") if w]),
            "peak GPU memory": int(np.nan_to_num(_most(columns.numbers("peak_memory")))),
        },
    )


def run_figures(
    columns: Columns, begun: Mapping[str, int], *, run_id: str, ended_at: str, seconds: float
) -> RunFigures:
    """What a run came to that set out with the works ``begun``: key -> number of the attempt."""
    chosen = columns.isin("key", set(begun))
    places = np.flatnonzero(chosen)
    keys, attempts = columns.exact("key", places), columns.numbers("attempt")[places]
    ended = [a >= begun[key] for key, a in zip(keys, attempts, strict=True)]
    chosen[places] = np.asarray(ended, bool)
    failed = columns.counts("code", chosen & ~columns.equal("status", "done"))
    stages = {name: np.nansum(columns.numbers(name)[chosen]) for name in TIMINGS}
    video = columns.numbers("duration")[chosen & columns.equal("status", "done")]
    return RunFigures(
        run_id=run_id,
        ended_at=ended_at,
        seconds=seconds,
        works=len(begun),
        counts=columns.counts("status", chosen),
        codes={str(code or ""): count for code, count in failed.items()},
        stage_seconds={name: round(float(value), 3) for name, value in stages.items() if value},
        gpu_seconds=round(_gpu_seconds(columns, chosen), 3),
        video_seconds=round(float(np.nansum(video)), 3),
    )


def _states(found: Counter[Any], works: int) -> dict[str, int]:
    states = {state: found[state] for state in STATUSES if found[state]}
    left = works - sum(states.values())
    return states | ({PENDING: left} if left > 0 else {})


def _seconds(columns: Columns) -> Numbers:
    """Seconds of all stages of each work."""
    total = np.zeros(columns.count)
    for name in TIMINGS:
        total += np.nan_to_num(columns.numbers(name))
    return total


def _gpu_seconds(columns: Columns, chosen: NDArray[np.bool_] | None = None) -> float:
    cuda = [name for name in columns.counts("device") if name and name.startswith("cuda")]
    on_gpu = columns.isin("device", cuda)
    rows = on_gpu if chosen is None else on_gpu & chosen
    return sum(float(np.nansum(columns.numbers(name)[rows])) for name in _COMPUTED)


def _stages(columns: Columns) -> list[Stage]:
    found = []
    for name in TIMINGS:
        values = columns.numbers(name)
        if quantiles := quantile(values, 0.5, 0.95):
            works = int((~np.isnan(values)).sum())
            found.append(Stage(name, works, float(np.nansum(values)), 0.0, *quantiles))
    whole = sum(stage.seconds for stage in found) or 1.0
    return [Stage(s.name, s.works, s.seconds, s.seconds / whole, s.median, s.p95) for s in found]


_LOST = FailureCode(
    LOST,
    "data",
    True,
    "A file of the result is missing or damaged.",
    "The next run makes it again.",
)


def _failures(columns: Columns) -> list[Failures]:
    failed = ~columns.equal("status", "done")
    found = []
    for code, count in sorted(
        columns.counts("code", failed).items(), key=lambda entry: (-entry[1], str(entry[0]))
    ):
        places = np.flatnonzero(failed & columns.equal("code", code))[:EXAMPLES]
        name = on_one_line(code or "without a code", 60)
        unknown = FailureCode(name, "bug", False, "A code of another version.", "")
        about = _LOST if code == LOST else CODES.get(str(code), unknown)
        found.append(Failures(about, count, [_example(columns, place) for place in places]))
    return found


def _slowest(columns: Columns, total: Numbers) -> list[Example]:
    order = np.argsort(-total, kind="stable")[:SLOWEST]
    examples = []
    for place in order[total[order] > 0]:
        of_stages = [float(np.nan_to_num(columns.numbers(name)[place])) for name in TIMINGS]
        most = int(np.argmax(of_stages))
        seconds = float(total[place])
        examples.append(
            _example(
                columns,
                place,
                seconds=seconds,
                stage=TIMINGS[most],
                share=of_stages[most] / seconds,
            )
        )
    return examples


def _flagged(columns: Columns) -> dict[str, list[Example]]:
    done = columns.equal("status", "done")
    return {
        on_one_line(flag, 40): [
            _example(columns, place)
            for place in np.flatnonzero(done & columns.equal("flag", flag))[:EXAMPLES]
        ]
        for flag in columns.counts("flag", done)
        if flag and flag != "good"
    }


def _example(columns: Columns, place: int, **facts: Any) -> Example:
    named = [columns.text(name, place) for name in ("title", "artist")]
    return Example(
        key=columns.exact("key", np.array([place]))[0],
        item=columns.text("item_id", place, 120),
        title=", ".join(name for name in named if name),
        cell=columns.text("cell", place),
        message=columns.text("message", place, 300),
        **facts,
    )


def _cells(columns: Columns, planned: Mapping[str | None, int]) -> list[Cell]:
    """Works by cell; none where the run has no matrix."""
    return [
        Cell(
            on_one_line(label),
            works,
            _states(columns.counts("status", columns.equal("cell", label)), works),
        )
        for label, works in planned.items()
        if label is not None
    ]


def _listed(found: Counter[Any], *, none: bool = True) -> list[tuple[str, int]]:
    """The most frequent values as a reader may see them, the rest as one."""
    listed = [
        (UNKNOWN if value is None else label_of(value), count)
        for value, count in sorted(
            found.items(), key=lambda entry: (entry[0] is None, -entry[1], str(entry[0]))
        )
        if none or value is not None
    ]
    rest = listed[_MOST:]
    more = [(f"{len(rest):,} others", sum(count for _, count in rest))] if rest else []
    return listed[:_MOST] + more


def _pairs(columns: Columns, name: str) -> list[tuple[str, int]]:
    """A model's names with the identities they had."""
    found: Counter[str] = Counter()
    for value in columns.counts(name):
        if value is None:
            continue
        identities = columns.counts(f"{name}_identity", columns.equal(name, value))
        for identity, count in identities.items():
            told = str(identity or "")
            found[told if told.startswith(f"{value}@") else f"{value}: {told or UNKNOWN}"] += count
    return [(on_one_line(value), count) for value, count in found.most_common(_MOST)]


def _most(values: Numbers) -> float:
    return float(np.nanmax(values)) if np.any(~np.isnan(values)) else 0.0
