"""The plan: for each work exactly one reason, known before any work starts.

| reason | meaning | pending |
|---|---|---|
| `done` | a result of this very key is recorded | no |
| `new` | nothing is recorded of the item | yes |
| `changed: <fields>` | the item has a result under another key; what differs | yes |
| `failed, will retry` | failed in a way that may pass, attempts are left | yes |
| `retry asked` | failed, and somebody asked to try again since | yes |
| `failed` | failed for good, or no attempts are left | no |
| `skipped`, `quarantined` | set aside, as recorded | no |
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from catalogs import records
from catalogs.facts import Ledger
from catalogs.keys import KEY_BYTES
from catalogs.rows import Row
from catalogs.shards import ShardId, partition

EXAMPLES = 10
FIELDS = 3  # named in a reason; the rest is counted
DONE = "done"
NEW = "new"
CHANGED = "changed: "
WILL_RETRY = "failed, will retry"
RETRY_ASKED = "retry asked"
FAILED = "failed"
_SHORT = 24


@dataclass(frozen=True, slots=True)
class Work:
    """One row of the catalog under one configuration: its id, place and stage keys.

    `keys` maps stages to keys in pipeline order; the last is the work's key.
    """

    item_id: str
    index: int
    keys: Mapping[str, str]

    @property
    def key(self) -> str:
        """Key of the finished work."""
        return next(reversed(self.keys.values()))  # type: ignore[call-overload]  # dicts reverse


@dataclass(frozen=True, slots=True)
class PendingWork:
    """A work to be done: why, as which attempt (from 1), and which stages have no result yet."""

    work: Work
    reason: str
    attempt: int
    stages: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """What a run would do. `reasons` are in the order of the works; `shards` hold pending works."""

    plan_key: str
    total: int
    reasons: tuple[str, ...]
    shards: dict[ShardId, list[PendingWork]]
    examples: dict[str, list[str]]
    seconds_estimate: float | None = None
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def pending(self) -> list[PendingWork]:
        """All works to be done, shard by shard."""
        return [work for works in self.shards.values() for work in works]

    def summary(self) -> dict[str, Any]:
        """Write the plan as plain JSON data: totals, counts, examples, seconds; no works."""
        return {
            "plan_key": self.plan_key,
            "total": self.total,
            "pending": sum(map(len, self.shards.values())),
            "shards": len(self.shards),
            "counts": dict(self.counts.most_common()),
            "examples": self.examples,
            "seconds_estimate": self.seconds_estimate,
        }


def plan_key(works: Iterable[Work]) -> str:
    """Name of a plan: hash of its works' keys in the order of their item ids."""
    state = hashlib.blake2b(b"epa1/plan\0", digest_size=KEY_BYTES)
    pairs = sorted((work.item_id, work.key) for work in works)
    state.update("\0".join(key for _, key in pairs).encode())
    return state.hexdigest()


def make_plan(
    works: Sequence[Work],
    ledger: Ledger,
    *,
    shard_size: int,
    max_attempts: int = 3,
    material_of: Callable[[Work], Mapping[str, Any]],
) -> Plan:
    """Compare the works with the ledger; no request, no work.

    `material_of` gives a work's key material, flat and JSON-able; it is called for changed works
    only. Fields named "stage.field" are settings of the run: their values are shown.
    """
    decisions = [_decide(work, ledger, max_attempts) for work in works]
    changed = _changes(works, decisions, ledger, material_of)
    reasons = [changed[i][0] if i in changed else why for i, (why, _, _) in enumerate(decisions)]

    def pending(i: int) -> PendingWork:
        stages = changed[i][1] if i in changed else tuple(works[i].keys)
        return PendingWork(works[i], reasons[i], decisions[i][1], stages)

    groups = partition([work.item_id for work in works], shard_size)
    todo = {name: [pending(i) for i in group if decisions[i][1]] for name, group in groups.items()}
    shards = {name: group for name, group in todo.items() if group}
    return Plan(
        plan_key=plan_key(works),
        total=len(works),
        reasons=tuple(reasons),
        shards=shards,
        examples=_examples(works, reasons),
        seconds_estimate=_estimate(shards, ledger),
        counts=Counter(reasons),
    )


def _examples(works: Sequence[Work], reasons: Sequence[str]) -> dict[str, list[str]]:
    """Give the first item ids of each reason."""
    examples: dict[str, list[str]] = {}
    for work, reason in zip(works, reasons, strict=True):
        shown = examples.setdefault(reason, [])
        if len(shown) < EXAMPLES:
            shown.append(work.item_id)
    return examples


_Decision = tuple[str, int, Row | None]  # reason, attempt (0: nothing to do), row of the other key


def _decide(work: Work, ledger: Ledger, max_attempts: int) -> _Decision:
    """Find a work's reason from what is recorded of its key and its item."""
    key = work.key
    row = ledger.find(key)
    if row is None:
        other = ledger.latest(work.item_id)
        return (CHANGED, 1, other) if other is not None else (NEW, 1, None)
    if row.status == "done":
        return DONE, 0, None
    counted = row.attempt - ledger.retries.get(key, 0)  # attempts since somebody asked again
    if counted <= 0:
        return RETRY_ASKED, row.attempt + 1, None
    if row.status == "failed" and row.retryable and counted < max_attempts:
        return WILL_RETRY, row.attempt + 1, None
    return row.status, 0, None


def _changes(
    works: Sequence[Work],
    decisions: Sequence[_Decision],
    ledger: Ledger,
    material_of: Callable[[Work], Mapping[str, Any]],
) -> dict[int, tuple[str, tuple[str, ...]]]:
    """Say of each changed work what changed, and which stages are to be redone."""
    changed = {i: row for i, (_, _, row) in enumerate(decisions) if row is not None}
    details = ledger.details(list(changed.values()))
    found = {}
    for i, (recorded, old_keys) in zip(changed, details, strict=True):
        work = works[i]
        stages = tuple(s for s, key in work.keys.items() if old_keys.get(s) != key)
        old = json.loads(recorded) if recorded else None
        fields = _differences(old, material_of(work)) if old is not None else []
        # Equal material under another key: the stage itself is another version now.
        found[i] = (CHANGED + _listing(fields or [f"{stages[0]} (version)"]), stages)
    return found


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Name the fields that differ, settings of the run with their values."""
    names = [name for name, value in new.items() if name not in old or old[name] != value]
    names += [name for name in old if name not in new]
    pairs = ((name, _plain(old.get(name)), _plain(new.get(name))) for name in names)
    return [_difference(name, before, after) for name, before, after in pairs if before != after]


def _plain(value: Any) -> Any:
    """Compare as JSON would have it: tuples are lists."""
    return list(value) if isinstance(value, tuple) else value


def _difference(name: str, old: Any, new: Any) -> str:
    """Show both values of a setting where they are short; a work's own texts are only named."""
    if "." not in name:
        return name
    shown = [
        value if isinstance(value, str) else json.dumps(value, default=str) for value in (old, new)
    ]
    if any(len(text) > _SHORT for text in shown):
        return name
    return f"{name} {shown[0]} -> {shown[1]}"


def _listing(fields: Sequence[str]) -> str:
    more = len(fields) - FIELDS
    return ", ".join(fields[:FIELDS]) + (f" and {more} more" if more > 0 else "")


def _estimate(shards: Mapping[ShardId, list[PendingWork]], ledger: Ledger) -> float | None:
    """Seconds of work ahead, from the recorded medians; None when nothing was recorded."""
    stages = Counter(work.stages for works in shards.values() for work in works)
    if not stages:
        return 0.0
    medians = ledger.seconds()
    if not medians:
        return None
    return sum(
        count * sum(medians.get(name, 0.0) for name in _timings(names))
        for names, count in stages.items()
    )


def _timings(stages: Iterable[str]) -> set[str]:
    """Timings that the stages to redo take: `distill_proxy` counts in `t_distill`."""
    names = set(records.TIMINGS)
    found = {f"t_{_family(stage)}" for stage in stages} & names
    return found | {"t_upload"} | ({"t_fetch"} if "t_prepare" in found else set())


def _family(stage: str) -> str:
    """First word of a stage's name."""
    return stage.replace(".", "_").replace("-", "_").partition("_")[0]
