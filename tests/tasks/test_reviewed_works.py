"""Reviewed works through plan, run and manifest: redone with other frames, set aside, kept."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from local_runner import run_locally
from paintings import tiny_run, write_paintings

from catalogs import garbage, reviews
from catalogs.garbage import Needs
from catalogs.reviews import Decision
from tasks.collection import Collection
from tasks.config import RunConfig
from tasks.keychain import COLUMNS, KeyChain

torch = pytest.importorskip("torch")
torch.set_num_threads(1)


def review(run: RunConfig, *decisions: dict[str, str]) -> None:
    """Take decisions in; a work is named by its place, its key is the present one."""
    collection = Collection.open(run)
    keys: dict[str, set[str]] = {}
    for work in collection.works:
        keys.setdefault(work.item_id, set()).add(work.key)
    made = [_decision(collection, more) for more in decisions]
    find = collection.ledger.find
    settled = reviews.settle(
        made, collection.reviews, set(), keys, lambda key: find(key) is not None
    )
    assert len(settled.taken) == len(decisions)
    assert reviews.record(collection.store, settled, collection.reviews.seq + 1)


def _decision(collection: Collection, more: dict[str, Any]) -> Decision:
    item = collection.table["id"][more["work"]].as_py()
    key = next(work.key for work in collection.works if work.item_id == item)
    return Decision.model_validate({"id": item, "key": key, **more})


def by_place(collection: Collection) -> list[dict[str, Any]]:
    """Rows of the present works in the catalog's order."""
    rows = {row["key"]: row for row in collection.results().to_pylist()}
    return [rows[work.key] for work in collection.works]


@pytest.fixture
def run(tmp_path: Path) -> RunConfig:
    run = tiny_run(write_paintings(tmp_path / "in", 4), tmp_path / "out")
    run_locally(run)
    return run


def test_exactly_what_a_review_says_is_redone(run: RunConfig) -> None:
    before = by_place(Collection.open(run))
    review(
        run,
        {"work": 0, "verdict": "redo", "prompt": "the fire burns"},
        {"work": 1, "verdict": "redo"},
        {"work": 2, "verdict": "reject", "note": "melting hands"},
        {"work": 3, "verdict": "keep"},
    )
    opened = Collection.open(run)
    assert opened.store.counts["list"] == opened.store.counts["get"] == 1
    assert opened.finished_summary() is None
    plan = opened.plan
    assert plan.counts == {"changed: prompt, take": 1, "changed: take": 1, "rejected": 1, "done": 1}
    ids = opened.table["id"].to_pylist()
    assert sorted(entry.work.item_id for entry in plan.pending) == sorted(ids[:2])
    # The picture is prepared already; everything that is drawn with a seed is drawn anew.
    assert all("prepare" not in entry.stages for entry in plan.pending)
    assert all({"proxy", "animate"} <= set(entry.stages) for entry in plan.pending)

    summary, collection = run_locally(run)
    assert (summary.counts, summary.codes) == ({"done": 3, "skipped": 1}, {"rejected": 1})
    assert summary.failed == 0
    after = by_place(collection)
    redone = [
        old["frames_sha256"] != new["frames_sha256"] for old, new in zip(before, after, strict=True)
    ]
    assert redone == [True, True, False, False]
    assert [row["seed"] != old["seed"] for row, old in zip(after, before, strict=True)] == redone
    assert (after[0]["prompt"], after[0]["prompt_source"]) == ("the fire burns", "review")
    assert after[1]["prompt"] == before[1]["prompt"]
    assert (after[2]["status"], after[2]["code"]) == ("skipped", "rejected")
    assert after[2]["message"] == "melting hands"
    assert json.loads(after[0]["material"])["take"] == 1
    again = Collection.open(run)
    assert again.finished_summary()["counts"] == {"done": 3, "skipped": 1}
    assert again.store.counts == {"list": 1, "get": 2}


def test_a_rejected_work_waits_for_another_review(run: RunConfig, tmp_path: Path) -> None:
    review(run, {"work": 0, "verdict": "reject"})
    assert run_locally(run)[0].counts == {"done": 3, "skipped": 1}
    changed = tiny_run(tmp_path / "in", tmp_path / "out", encode={"fps": 12})
    summary, collection = run_locally(changed)
    assert (summary.counts, summary.works) == ({"done": 3, "skipped": 1}, 4)
    first = by_place(collection)[0]
    assert (first["code"], first["fps"]) == ("rejected", 8.0)  # its last video is still there
    assert first["outputs"]
    review(changed, {"work": 0, "verdict": "keep"})
    summary, collection = run_locally(changed)
    assert summary.counts == {"done": 4}
    assert by_place(collection)[0]["fps"] == 12.0


def test_keeping_what_was_rejected_makes_nothing_anew(run: RunConfig) -> None:
    before = by_place(Collection.open(run))
    review(run, {"work": 0, "verdict": "reject"})
    run_locally(run)
    review(run, {"work": 0, "verdict": "keep"})
    assert not Collection.open(run).plan.pending
    summary, collection = run_locally(run)
    assert summary.counts == {"done": 4}
    assert by_place(collection) == before


def test_the_old_version_stays(run: RunConfig) -> None:
    old = by_place(Collection.open(run))[0]
    review(run, {"work": 0, "verdict": "redo"})
    _, collection = run_locally(run)
    history = [record.key for record in collection.ledger.history(old["item_id"])]
    assert history == [old["key"], by_place(collection)[0]["key"]]
    stages = frozenset(key for work in collection.works for key in work.keys.values())
    found = garbage.find_garbage(
        collection.store, Needs(collection.plan_key, stages, 600), timedelta(0)
    )
    assert "cache" in found.found  # it is thrown away, as are the stages of changed settings
    garbage.remove(collection.store, found)
    for output in old["outputs"]:
        assert collection.store.head(output["path"]) is not None
    assert len(collection.store.list("reviews")) == 1


def test_all_versions_under_a_matrix_are_redone_together(tmp_path: Path) -> None:
    matrix = {"variant": ["baseline", "V+S"]}
    run = tiny_run(write_paintings(tmp_path / "in", 2), tmp_path / "out", matrix=matrix)
    run_locally(run)
    before = by_place(Collection.open(run))
    review(run, {"work": 1, "verdict": "redo"})
    assert Collection.open(run).plan.counts == {"done": 2, "changed: take": 2}
    _, collection = run_locally(run)
    after = by_place(collection)
    assert [a["key"] == b["key"] for a, b in zip(after, before, strict=True)] == [
        True,
        True,
        False,
        False,
    ]


@pytest.mark.parametrize("settings", [{}, {"one_stream": True}, {"variant": "baseline"}])
def test_takes_enter_the_keys_of_what_is_drawn_with_a_seed(
    run: RunConfig, settings: dict[str, Any]
) -> None:
    chain = KeyChain(run.model_copy(update=settings).recipe())
    row = Collection.open(run).table.select(list(COLUMNS)).to_pylist()[0]
    first = chain.keys({name: value for name, value in row.items() if name != "take"})
    assert chain.keys(row) == chain.keys({**row, "take": 0}) == first
    takes = [chain.keys({**row, "take": take}) for take in (1, 2)]
    for keys in takes:
        same = {stage for stage, key in keys.items() if key == first[stage]}
        assert same == {"prepare"}
    assert takes[0]["animate"] != takes[1]["animate"]


def test_the_name_of_a_plan_knows_takes_and_reviews(run: RunConfig) -> None:
    names = [Collection.open(run).plan_key]
    for verdict in ("keep", "reject", "keep", "redo"):
        review(run, {"work": 0, "verdict": verdict})
        names.append(Collection.open(run).plan_key)
    assert len(set(names)) == len(names)
