import itertools
import json
import time
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalogs.errors import ConfigError
from catalogs.keys import StageKeyer
from catalogs.ledger import Ledger
from catalogs.plan import Plan, Work, key_of_works, make_plan
from catalogs.records import Record, to_parquet, to_table
from catalogs.shards import partition

STAGES = ("prepare", "proxy", "distill_real", "animate", "encode")
BASE: dict[str, Any] = {
    "prepare.area": 262144,
    "proxy.strength": 0.35,
    "distill_real.p": 0.6,
    "animate.levels": "matched",
    "encode.fps": 8,
    "encode.crf": 18,
}
START = datetime(2026, 1, 1, tzinfo=UTC)


class Collection:
    """Works under one configuration, keyed as tasks do it: each stage chains on the last."""

    def __init__(
        self, *items: str, prompt: str = "the sea rolls", version: int = 1, **settings: Any
    ) -> None:
        self.settings = {**BASE, **{k.replace("__", "."): v for k, v in settings.items()}}
        self.prompt = prompt
        keyers = [
            StageKeyer(
                stage,
                version if stage == "animate" else 1,
                params={k: v for k, v in self.settings.items() if k.startswith(f"{stage}.")},
            )
            for stage in STAGES
        ]
        self.works = []
        for index, item in enumerate(items):
            keys: dict[str, str] = {}
            last = item
            for keyer in keyers:
                inputs = {"last": last} | ({"prompt": prompt} if keyer.stage != "prepare" else {})
                last = keys[keyer.stage] = keyer.key(inputs)
            self.works.append(Work(item, index, keys))

    def material(self, work: Work) -> Mapping[str, Any]:
        return {"source": f"{work.item_id}.jpg", "prompt": self.prompt, **self.settings}

    def record(self, index: int, **fields: Any) -> Record:
        work = self.works[index]
        base = {
            "item_id": work.item_id,
            "shard_id": "s",
            "key": work.key,
            "keys": dict(work.keys),
            "status": "done",
            "material": json.dumps(self.material(work)),
            "finished_at": START,
        }
        return Record(**{**base, **fields})

    def plan(self, ledger: Ledger, **options: Any) -> Plan:
        return make_plan(
            self.works, ledger, **{"shard_size": 4, "material_of": self.material, **options}
        )


NOW = Collection("a")
FAILED = {"status": "failed", "code": "cuda_oom", "retryable": True}
ONE_WORK: list[tuple[list[Record], dict[str, int], str, int]] = [
    ([], {}, "new", 1),
    ([NOW.record(0)], {}, "done", 0),
    ([NOW.record(0), NOW.record(0, **FAILED, attempt=1)], {}, "done", 0),
    ([NOW.record(0, **FAILED, attempt=1)], {}, "failed, will retry", 2),
    ([NOW.record(0, **FAILED, attempt=i) for i in (1, 2)], {}, "failed, will retry", 3),
    ([NOW.record(0, **FAILED, attempt=3)], {}, "failed", 0),
    ([NOW.record(0, **FAILED, attempt=3)], {"a": 3}, "retry asked", 4),
    ([NOW.record(0, **FAILED, attempt=4)], {"a": 3}, "failed, will retry", 5),
    ([NOW.record(0, **FAILED, attempt=5)], {"a": 3}, "failed, will retry", 6),
    ([NOW.record(0, **FAILED, attempt=6)], {"a": 3}, "failed", 0),
    ([NOW.record(0, **{**FAILED, "retryable": False})], {}, "failed", 0),
    ([NOW.record(0, **{**FAILED, "retryable": False})], {"a": 1}, "retry asked", 2),
    ([NOW.record(0, status="skipped", code="no_rights")], {}, "skipped", 0),
    ([NOW.record(0, status="quarantined", code="worker_killed")], {}, "quarantined", 0),
    ([NOW.record(0, status="quarantined", attempt=3)], {"a": 3}, "retry asked", 4),
    ([NOW.record(0)], {"a": 9}, "done", 0),
    ([Collection("a", encode__fps=12).record(0)], {}, "changed: encode.fps 12 -> 8", 1),
    ([Collection("a", encode__fps=12).record(0, **FAILED)], {}, "changed: encode.fps 12 -> 8", 1),
    ([Collection("b").record(0)], {}, "new", 1),
]


@pytest.mark.parametrize(("rows", "asked", "reason", "attempt"), ONE_WORK)
def test_each_work_has_its_reason(
    rows: list[Record], asked: dict[str, int], reason: str, attempt: int
) -> None:
    retries = {NOW.works[0].key: asked["a"]} if asked else {}
    for order in itertools.permutations(rows):
        plan = NOW.plan(Ledger([], order, retries))
        assert plan.reasons == (reason,)
        assert plan.counts == {reason: 1}
        assert [work.attempt for work in plan.pending] == ([attempt] if attempt else [])
        assert [work.reason for work in plan.pending] == ([reason] if attempt else [])


CHANGES: list[tuple[dict[str, Any], str, str]] = [
    ({"encode__fps": 12}, "encode.fps 8 -> 12", "encode"),
    ({"encode__crf": 23, "encode__fps": 12}, "encode.fps 8 -> 12, encode.crf 18 -> 23", "encode"),
    ({"animate__levels": "native"}, "animate.levels matched -> native", "animate"),
    ({"distill_real__p": 0.7}, "distill_real.p 0.6 -> 0.7", "distill_real"),
    ({"proxy__strength": None}, "proxy.strength 0.35 -> null", "proxy"),
    ({"prepare__area": 65536}, "prepare.area 262144 -> 65536", "prepare"),
    ({"prompt": "the clouds drift"}, "prompt", "proxy"),
    ({"animate__levels": "m" * 99}, "animate.levels", "animate"),
    ({"encode__loop": "ping-pong"}, "encode.loop null -> ping-pong", "encode"),
    ({"version": 2}, "animate (version)", "animate"),
    (
        {"encode__a": 1, "encode__b": 1, "encode__c": 1, "encode__d": 1, "encode__e": 1},
        "encode.a null -> 1, encode.b null -> 1, encode.c null -> 1 and 2 more",
        "encode",
    ),
]


@pytest.mark.parametrize(("change", "fields", "first"), CHANGES)
def test_a_change_is_named_and_only_what_depends_on_it_is_redone(
    change: dict[str, Any], fields: str, first: str
) -> None:
    old, new = Collection("a", "b"), Collection("a", "b", **change)
    plan = new.plan(Ledger([to_parquet(to_table([old.record(0), old.record(1)]))]))
    assert plan.counts == {f"changed: {fields}": 2}
    assert {work.stages for work in plan.pending} == {STAGES[STAGES.index(first) :]}


def test_a_change_back_finds_its_results_again() -> None:
    old, new = Collection("a"), Collection("a", encode__fps=12)
    later = new.record(0, finished_at=START + timedelta(days=1))
    ledger = Ledger([], [old.record(0), later])
    assert old.plan(ledger).counts == new.plan(ledger).counts == {"done": 1}
    third = Collection("a", encode__fps=24)
    assert third.plan(ledger).counts == {"changed: encode.fps 12 -> 24": 1}


def test_a_change_whose_material_was_not_recorded_is_still_a_change() -> None:
    old, new = Collection("a"), Collection("a", encode__fps=12)
    for row, stages in [
        (old.record(0, material=None), ("encode",)),
        (old.record(0, material=None, keys={}), STAGES),
    ]:
        [pending] = new.plan(Ledger([], [row])).pending
        assert pending.reason == f"changed: {stages[0]} (version)"
        assert pending.stages == stages


def test_material_is_asked_for_changed_works_only() -> None:
    items = [f"w{i}" for i in range(20)]
    old, new = Collection(*items), Collection(*items, encode__fps=12)
    rows = [new.record(i) for i in range(10)] + [old.record(i) for i in range(10, 15)]
    asked = []

    def material(work: Work) -> Mapping[str, Any]:
        asked.append(work.item_id)
        return new.material(work)

    plan = new.plan(Ledger([], rows), material_of=material)
    assert asked == items[10:15]
    assert plan.counts == {"done": 10, "changed: encode.fps 8 -> 12": 5, "new": 5}


def test_the_summary_is_plain_data_with_first_examples() -> None:
    items = [f"w{i}" for i in range(30)]
    collection = Collection(*items)
    rows = [collection.record(i) for i in range(5)]
    plan = collection.plan(Ledger([], rows), shard_size=6)
    summary = json.loads(json.dumps(plan.summary()))
    assert summary["counts"] == {"new": 25, "done": 5}
    assert summary["examples"] == {"done": items[:5], "new": items[5:15]}
    assert (summary["total"], summary["pending"]) == (30, 25)
    assert summary["shards"] == len(plan.shards)
    assert summary["plan_key"] == plan.plan_key
    assert summary["seconds_estimate"] is None


def test_pending_works_keep_the_shard_all_works_give_them() -> None:
    items = [f"w{i}" for i in range(40)]
    collection = Collection(*items)
    whole = partition(items, 4)
    for done in (0, 13, 39, 40):
        plan = collection.plan(Ledger([], [collection.record(i) for i in range(done)]))
        assert all(plan.shards.values())
        for shard, works in plan.shards.items():
            assert {work.work.index for work in works} <= set(whole[shard])
        assert len(plan.pending) == 40 - done


def test_the_estimate_counts_the_stages_to_redo() -> None:
    times = {"t_fetch": 1.0, "t_prepare": 2.0, "t_proxy": 4.0, "t_distill": 8.0}
    times |= {"t_animate": 16.0, "t_encode": 32.0, "t_upload": 64.0}
    items = ["a", "b", "c", "d"]
    base = Collection(*items)
    done = [base.record(i, **{k: v * (i + 1) for k, v in times.items()}) for i in range(3)]
    failed = base.record(3, **{**FAILED, "retryable": False}, **dict.fromkeys(times, 1e6))
    ledger = Ledger([], [*done, failed])
    assert base.plan(ledger).seconds_estimate == 0
    median = 2
    redo = {"encode__fps": 32 + 64, "animate__levels": 16 + 32 + 64, "prepare__area": 127}
    for name, seconds in redo.items():
        changed = Collection(*items, **{name: 1})
        assert changed.plan(ledger).seconds_estimate == 4 * median * seconds
    more = Collection(*items, "e")
    assert more.plan(ledger).seconds_estimate == median * 127
    assert more.plan(Ledger()).seconds_estimate is None


def test_shards_that_take_longest_come_first() -> None:
    items = [f"w{i}" for i in range(60)]
    plan = Collection(*items).plan(Ledger(), shard_size=6)
    sizes = [len(works) for works in plan.shards.values()]
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) > 1
    # By seconds where some are recorded: few works in all their stages outweigh many to encode.
    whole = partition(items, 6)
    by_size = sorted(whole, key=lambda name: len(whole[name]))
    new, encoded = by_size[0], by_size[-1]
    base = Collection(*items)
    times = {"t_animate": 100.0, "t_encode": 1.0}
    rows = [base.record(i, **times) for name in whole if name != new for i in whole[name]]
    changed = Collection(*items, encode__fps=9)
    order = list(changed.plan(Ledger([], rows), shard_size=6).shards)
    assert order[0] == new
    assert len(whole[new]) < len(whole[encoded])
    assert set(order) == set(whole)


def test_the_plan_key_names_the_works_and_nothing_else() -> None:
    items = ["a", "b", "c"]
    base = Collection(*items)
    key = key_of_works(base.works)
    assert key_of_works(list(reversed(base.works))) == key
    assert base.plan(Ledger(), shard_size=1, max_attempts=9).plan_key == key
    assert base.plan(Ledger([], [base.record(0)])).plan_key == key
    others = [Collection(*items, encode__fps=9), Collection("a", "b"), Collection(*items, "d")]
    assert len({key, *(key_of_works(other.works) for other in others)}) == 4
    assert key_of_works([]) != key


def test_an_empty_plan_and_a_wrong_size() -> None:
    plan = Collection().plan(Ledger())
    assert (plan.total, plan.shards, plan.seconds_estimate) == (0, {}, 0.0)
    with pytest.raises(ConfigError, match="shard_size"):
        Collection("a").plan(Ledger(), shard_size=0)


ITEMS = [f"w{i}" for i in range(12)]
BEFORE, AFTER = Collection(*ITEMS), Collection(*ITEMS, encode__fps=12)
FACTS = st.lists(
    st.builds(
        lambda own, index, status, attempt, retryable: (AFTER if own else BEFORE).record(
            index, status=status, attempt=attempt, retryable=retryable
        ),
        st.booleans(),
        st.integers(0, 11),
        st.sampled_from(["done", "failed", "skipped", "quarantined"]),
        st.integers(1, 4),
        st.booleans(),
    ),
    max_size=15,
)


@settings(max_examples=40, deadline=None)
@given(FACTS, st.sets(st.integers(0, 11)))
def test_plans_of_the_parts_make_the_plan_of_the_whole(facts: list[Record], part: set[int]) -> None:
    def reasons(works: list[Work]) -> dict[str, str]:
        plan = make_plan(works, ledger, shard_size=3, material_of=AFTER.material)
        assert sum(plan.counts.values()) == len(works) == plan.total
        pending = {work.work.item_id: work.reason for work in plan.pending}
        found = {work.item_id: why for work, why in zip(works, plan.reasons, strict=True)}
        assert pending.items() <= found.items()
        final = {"done", "failed", "skipped", "quarantined"}
        assert {name for name, why in found.items() if why not in final} == set(pending)
        return found

    ledger = Ledger([], facts)
    inside = [work for work in AFTER.works if work.index in part]
    outside = [work for work in AFTER.works if work.index not in part]
    assert reasons(inside) | reasons(outside) == reasons(AFTER.works)


@pytest.mark.parametrize("case", ["new", "done", "changed"])
def test_a_large_collection_is_planned_in_seconds(case: str) -> None:
    count = 20_000
    works = [
        Work(f"artist/{i}", i, {"animate": f"{i:032x}", "encode": f"{i:032x}f"})
        for i in range(count)
    ]
    other = "e" if case == "changed" else "f"
    material = json.dumps({"prompt": "x", **BASE})
    rows = [
        Record(
            item_id=work.item_id,
            shard_id="s",
            key=work.key[:-1] + other,
            keys={**work.keys, "encode": work.key[:-1] + other},
            status="done",
            material=material,
        )
        for work in works
        if case != "new"
    ]
    ledger = Ledger([to_parquet(to_table(rows))])
    start = time.process_time()
    plan = make_plan(
        works,
        ledger,
        shard_size=48,
        material_of=lambda work: {"prompt": "x", **BASE, "encode.fps": 12},
    )
    seconds = time.process_time() - start
    expected = {"new": "new", "done": "done", "changed": "changed: encode.fps 8 -> 12"}[case]
    assert plan.counts == Counter({expected: count})
    assert seconds < 2.5  # 80,000 works in 3 s would be 0.75 s; the rest is for a busy machine
