"""The plan: for each work exactly one reason, known before any work starts.

| reason | meaning | pending |
|---|---|---|
| `done` | a result of this very key is recorded | no |
| `new` | nothing is recorded of the item (in this cell of a matrix) | yes |
| `changed: <fields>` | the item has a result under another key; what differs | yes |
| `failed, will retry` | failed in a way that may pass, attempts are left | yes |
| `retry asked` | failed, and somebody asked to try again since | yes |
| `file lost` | there was a result, but a file of it is missing or damaged | yes |
| `failed` | failed for good, or no attempts are left | no |
| `skipped`, `quarantined` | set aside, as recorded | no |
| `rejected` | set aside by a curator, until it is reviewed again | no |
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from catalogs import records
from catalogs.changes import Past, pasts
from catalogs.facts import SEEDED, Ledger
from catalogs.keys import KEY_BYTES
from catalogs.rows import LOST, REJECTED
from catalogs.shards import ShardId, partition

EXAMPLES = 10
DONE = "done"
NEW = "new"
CHANGED = "changed: "
WILL_RETRY = "failed, will retry"
RETRY_ASKED = "retry asked"
FILE_LOST = "file lost"
FAILED = "failed"
_FILES = "encode"  # the stage that makes them


@dataclass(frozen=True, slots=True)
class Work:
    """One row of the catalog under one configuration: its id, place and stage keys.

    `keys` maps stages to keys in pipeline order; the last is the work's key. `cell` numbers the
    configuration where a run has several.
    """

    item_id: str
    index: int
    keys: Mapping[str, str]
    cell: int = 0

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
    """What a run would do. `reasons` are in the order of the works; `shards` hold pending works.

    The shards that will take longest come first, so that what is left at the end is small.
    `total` counts works, `items` the rows of the catalog that they are made of.
    """

    plan_key: str
    total: int
    items: int
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
            "items": self.items,
            "pending": sum(map(len, self.shards.values())),
            "shards": len(self.shards),
            "counts": dict(self.counts.most_common()),
            "examples": self.examples,
            "seconds_estimate": self.seconds_estimate,
        }


def key_of_works(works: Iterable[Work]) -> str:
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
    plan_key: str | None = None,
    material_of: Callable[[Work], Mapping[str, Any]],
    varied: Collection[str] = (),
    seeds_of: Callable[[Work], int] = lambda work: 1,
) -> Plan:
    """Compare the works with the ledger; no request, no work.

    All works of an item are neighbours in `works` and in one shard; `shard_size` counts items.
    `material_of` gives a work's key material, flat and JSON-able; it is called for changed works
    only. Fields named "stage.field" are settings of the run: their values are shown. `varied` are
    the fields in which works of one item differ: what differs in one of them is no change.
    `plan_key` is the plan's name where it has another than the hash of its works' keys. `seeds_of`
    says how many seeds a work is animated with at least, for the estimate.
    """
    decisions = [_decide(work, ledger, max_attempts) for work in works]
    unknown = [i for i, (reason, _) in enumerate(decisions) if reason == NEW]
    before = pasts(works, unknown, ledger, material_of, varied)
    changes = {i: CHANGED + past.change for i, past in before.items() if past.change is not None}
    reasons = [changes.get(i, reason) for i, (reason, _) in enumerate(decisions)]
    pending = {
        i: PendingWork(works[i], reasons[i], decisions[i][1], stages)
        for i, stages in _stages_to_do(works, decisions, before)
    }
    places: dict[str, list[int]] = {}
    for i, work in enumerate(works):
        places.setdefault(work.item_id, []).append(i)
    items = list(places)
    todo = {
        name: [pending[i] for place in group for i in places[items[place]] if i in pending]
        for name, group in partition(items, shard_size).items()
    }
    pending_in = {name: group for name, group in todo.items() if group}
    seconds = _seconds(pending_in, ledger, seeds_of)
    costs = seconds or {name: len(group) for name, group in pending_in.items()}
    shards = dict(sorted(pending_in.items(), key=lambda entry: -costs[entry[0]]))
    return Plan(
        plan_key=plan_key or key_of_works(works),
        total=len(works),
        items=len(items),
        reasons=tuple(reasons),
        shards=shards,
        examples=_examples(works, reasons),
        seconds_estimate=None if seconds is None else sum(seconds.values()),
        counts=Counter(reasons),
    )


def _examples(works: Sequence[Work], reasons: Sequence[str]) -> dict[str, list[str]]:
    """Give the first item ids of each reason."""
    examples: dict[str, dict[str, None]] = {}
    for work, reason in zip(works, reasons, strict=True):
        shown = examples.setdefault(reason, {})
        if len(shown) < EXAMPLES:
            shown[work.item_id] = None
    return {reason: list(shown) for reason, shown in examples.items()}


_Decision = tuple[str, int]  # reason, attempt (0: nothing to do)


def _decide(work: Work, ledger: Ledger, max_attempts: int) -> _Decision:
    """Find a work's reason from what is recorded of its key."""
    key = work.key
    row = ledger.find(key)
    lost = ledger.lost.get(key, 0)  # an attempt up to this one is never done
    if row is None:
        return NEW, lost + 1
    if row.status == "done":
        return DONE, 0
    following = max(row.attempt, lost) + 1
    if row.code == REJECTED:
        return REJECTED, 0
    if row.code == LOST:
        return FILE_LOST, following
    counted = row.attempt - max(ledger.retries.get(key, 0), lost)  # since somebody asked again
    if counted <= 0:
        return RETRY_ASKED, following
    if row.status == "failed" and row.retryable and counted < max_attempts:
        return WILL_RETRY, following
    return row.status, 0


def _stages_to_do(
    works: Sequence[Work], decisions: Sequence[_Decision], before: Mapping[int, Past]
) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Yield the places of pending works and their stages that no other work has made or will."""
    item, coming = None, set[str]()
    for i, (work, (reason, attempt)) in enumerate(zip(works, decisions, strict=True)):
        if not attempt:
            continue
        if work.item_id != item:
            item, coming = work.item_id, set()
        made = before[i].made | coming if i in before else coming
        stages = tuple(stage for stage, key in work.keys.items() if key not in made)
        if reason == FILE_LOST:  # what came before the files may be in the cache
            stages = stages[stages.index(_FILES) :] if _FILES in stages else stages
        coming.update(work.keys[stage] for stage in stages)
        yield i, stages


def _seconds(
    shards: Mapping[ShardId, list[PendingWork]], ledger: Ledger, seeds_of: Callable[[Work], int]
) -> dict[ShardId, float] | None:
    """Seconds of work ahead in each shard, by the recorded medians; None without any."""
    if not shards:
        return {}
    medians = ledger.seconds()
    if not medians:
        return None

    @cache
    def of(stages: tuple[str, ...], seeds: int) -> float:
        return sum(medians.get(name, 0.0) * _times(name, seeds) for name in _timings(stages))

    return {
        name: sum(of(pending.stages, seeds_of(pending.work)) for pending in works)
        for name, works in shards.items()
    }


def _times(timing: str, seeds: int) -> int:
    """How often a work takes a timing's median, which is that of one seed."""
    return seeds if timing == SEEDED else 1


def _timings(stages: Iterable[str]) -> set[str]:
    """Timings that the stages to redo take: `distill_proxy` counts in `t_distill`."""
    names = set(records.TIMINGS)
    found = {f"t_{_family(stage)}" for stage in stages} & names
    return found | {"t_upload"} | ({"t_fetch"} if "t_prepare" in found else set())


def _family(stage: str) -> str:
    """First word of a stage's name."""
    if stage == "select":  # which animates with several seeds
        return "animate"
    return stage.replace(".", "_").replace("-", "_").partition("_")[0]
