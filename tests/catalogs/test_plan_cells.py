"""Several works to an item: which result a work supersedes, and what is made already."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import permutations
from typing import Any

import pytest

from catalogs.ledger import Ledger
from catalogs.plan import Plan, Work, make_plan
from catalogs.records import Record

DAYS = [f"2026-01-0{day}T00:00:00Z" for day in range(1, 6)]


def work(variant: str, fps: int = 8, item: str = "a", cell: int = 0) -> Work:
    """A work whose proxy and real path know nothing of the variant."""
    final = f"{item}-{variant}"
    keys = {"proxy": f"{item}-proxy", "distill": f"{item}-real", "animate": final}
    return Work(item, 0, {**keys, "encode": f"{final}-{fps}"}, cell)


def material(variant: str, fps: int = 8) -> dict[str, Any]:
    return {"prompt": "the sea rolls", "run.variant": variant, "encode.fps": fps}


def record(variant: str, fps: int = 8, *, day: int = 0, item: str = "a", **more: Any) -> Record:
    done = work(variant, fps, item)
    facts = {"status": "done", "material": json.dumps(material(variant, fps)), **more}
    return Record(
        item_id=item,
        shard_id="s",
        key=done.key,
        keys=dict(done.keys),
        finished_at=DAYS[day],
        **facts,
    )


def plan(rows: list[Record], variants: list[str], fps: int = 8, items: str = "a") -> Plan:
    works = [work(v, fps, item, c) for item in items for c, v in enumerate(variants)]

    def material_of(one: Work) -> Mapping[str, Any]:
        return material(variants[one.cell], fps)

    return make_plan(
        works, Ledger([], rows), shard_size=4, material_of=material_of, varied=["run.variant"]
    )


def test_a_result_of_another_cell_is_no_change() -> None:
    found = plan([record("V")], ["V", "S"])
    assert found.reasons == ("done", "new")
    # ... but what it made need not be made again.
    assert found.pending[0].stages == ("animate", "encode")


def test_a_result_of_a_cell_that_is_gone_is_no_change_either() -> None:
    assert plan([record("V")], ["S", "V+S"]).reasons == ("new", "new")


@pytest.mark.parametrize("order", permutations(range(3)))
def test_the_latest_result_of_the_same_cell_is_superseded(order: tuple[int, ...]) -> None:
    rows = [record("V", 10, day=1), record("V", 12, day=2), record("S", 12, day=3)]
    found = plan([rows[i] for i in order], ["V", "V+S"])
    assert found.reasons == ("changed: encode.fps 12 -> 8", "new")
    assert [pending.stages for pending in found.pending] == [("encode",), ("animate", "encode")]


def test_a_failure_is_superseded_but_has_made_nothing_for_others() -> None:
    failed = record("V", 12, status="failed", code="numeric")
    found = plan([failed], ["V", "S"])
    assert found.reasons == ("changed: encode.fps 12 -> 8", "new")
    # The changed work trusts its own failure's keys, as ever; the other makes what it needs.
    assert [pending.stages for pending in found.pending] == [
        ("encode",),
        ("proxy", "distill", "animate", "encode"),
    ]


def test_without_recorded_material_a_cell_cannot_be_told() -> None:
    assert plan([record("V", 12, material=None)], ["V"]).reasons == ("new",)


def test_what_one_work_will_make_its_neighbours_need_not() -> None:
    found = plan([], ["V", "S"], items="ab")
    assert [pending.stages for pending in found.pending] == [
        ("proxy", "distill", "animate", "encode"),
        ("animate", "encode"),
    ] * 2
    assert (found.total, found.items) == (4, 2)
    assert found.summary()["items"] == 2
    assert found.examples == {"new": ["a", "b"]}


def test_an_items_works_share_a_shard_whatever_its_size() -> None:
    found = plan([], ["V", "S", "V+S"], items="abcdefgh")
    assert len(found.shards) > 1
    for works in found.shards.values():
        items = [pending.work.item_id for pending in works]
        assert len(items) == 3 * len(set(items))
        assert [pending.work.cell for pending in works] == [0, 1, 2] * len(set(items))
