"""Verification finds what is missing, cut, altered, damaged or said twice, with few requests."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from dying import Dying, Killed
from fabricated import PLAN, START, key_of, record_of, write_files, write_works

from catalogs import paths
from catalogs.ledger import load, reopen, seal_all, seal_shard
from catalogs.store import Store
from catalogs.verification import Verification, redo, verify

ITEMS = ("sunset", "storm", "wave")
WORKS = {key_of(item): item for item in ITEMS}


@pytest.fixture(params=["local", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    local = request.param == "local"
    store = Store.open(str(tmp_path / "out") if local else f"memory://{tmp_path.name}/verify")
    write_works(store, ITEMS)
    seal_all(store, PLAN, {"done": 3})
    return store


def found(report: Verification) -> list[tuple[str, str]]:
    return sorted((finding.kind, finding.path) for finding in report.findings)


def test_an_unharmed_collection(store: Store) -> None:
    store.counts.clear()
    report = verify(store, WORKS, PLAN)
    assert found(report) == []
    assert (report.works, report.rows, report.files) == (3, 3, 9)
    assert report.states == {"done": 3}
    assert store.counts == {"list": 5, "get": 3}  # a part, the plan's and a shard's seal
    assert found(verify(store, WORKS, PLAN, deep=True, everything=True)) == []


def cut(data: bytes) -> bytes:
    return data[:-1]


def flip(data: bytes) -> bytes:
    return data[:3] + bytes([data[3] ^ 1]) + data[4:]


@pytest.mark.parametrize(
    ("harm", "kind", "deep"),
    [(None, "missing", False), (cut, "size", False), (flip, "content", True)],
)
def test_harm_to_a_file_is_found_and_mended(
    store: Store, harm: Callable[[bytes], bytes] | None, kind: str, deep: bool
) -> None:
    path = record_of("storm").outputs[0].path
    if harm is None:
        store.delete([path])
    else:
        store.put(path, harm(store.get(path) or b""))
    report = verify(store, WORKS, PLAN, deep=deep)
    assert found(report) == [(kind, path)]
    assert redo(store, report) == 1
    after = load(store)
    assert after.counts() == {("done", ""): 2, ("failed", "file_lost"): 1}
    assert store.head(paths.seal_all(PLAN)) is None
    # The next run makes it again; the row that is lost is no finding any more.
    write_files(store, "storm")
    seal_shard(store, PLAN, "s", [record_of("storm", attempt=2)])
    assert found(verify(store, WORKS, PLAN, deep=True, everything=True)) == []


def test_only_a_deep_look_sees_a_flipped_byte(store: Store) -> None:
    path = record_of("storm").outputs[0].path
    store.put(path, flip(store.get(path) or b""))
    assert found(verify(store, WORKS, PLAN)) == []


def test_earlier_results_are_looked_at_when_asked(store: Store) -> None:
    seal_shard(store, PLAN, "s", [record_of("storm", fps=12)])
    assert found(verify(store, WORKS, PLAN)) == []
    everything = verify(store, WORKS, PLAN, everything=True)
    assert {kind for kind, _ in found(everything)} == {"missing"}
    assert redo(store, everything) == 1
    assert found(verify(store, WORKS, PLAN, everything=True)) == []


def test_two_records_of_one_attempt_are_found_and_one_is_kept(store: Store) -> None:
    later = START + timedelta(minutes=1)
    seal_shard(store, PLAN, "s", [record_of("storm")])  # the same again is none too many
    assert found(verify(store, WORKS, PLAN)) == []
    seal_shard(store, PLAN, "s", [record_of("storm", finished_at=later)])
    report = verify(store, WORKS, PLAN)
    assert found(report) == [("twice", key_of("storm"))]
    assert redo(store, report) == 0
    assert found(verify(store, WORKS, PLAN)) == []


def test_one_key_of_two_works_is_found(store: Store) -> None:
    works = {**WORKS, key_of("storm"): "another storm"}
    assert found(verify(store, works, PLAN)) == [("twice", key_of("storm"))]


def test_a_seal_that_speaks_too_soon_is_found_and_removed(store: Store) -> None:
    works = {**WORKS, key_of("tide"): "tide"}
    report = verify(store, works, PLAN)
    assert found(report) == [("seal", paths.seal_all(PLAN))]
    assert report.states == {"done": 3, "pending": 1}
    redo(store, report)
    assert found(verify(store, works, PLAN)) == []


def test_a_wish_that_a_seal_hides_is_found(store: Store) -> None:
    store.delete([record_of("storm").outputs[0].path])
    redo(store, verify(store, WORKS, PLAN))
    seal_all(store, PLAN, {"done": 3})
    report = verify(store, WORKS, PLAN)
    assert found(report) == [("seal", paths.seal_all(PLAN))]
    redo(store, report)
    assert found(verify(store, WORKS, PLAN)) == []


@pytest.mark.parametrize("after", [False, True])
def test_a_wish_survives_a_death_at_any_request(tmp_path: Path, after: bool) -> None:
    for place in range(1, 10):
        root = tmp_path / f"{after}-{place}"
        store = Store.open(str(root))
        write_works(store, ITEMS)
        seal_all(store, PLAN, {"done": 3})
        store.delete([record_of("storm").outputs[0].path])
        dying = Dying(root, place, after=after)
        try:
            redo(dying, verify(dying, WORKS, PLAN))
        except Killed:
            redo(store, verify(store, WORKS, PLAN))
            assert store.head(paths.seal_all(PLAN)) is None
            assert load(store).counts()["failed", "file_lost"] == 1
        else:
            assert place == 3  # it died at the seals and at the wish
            break


def test_damaged_objects_are_named_and_the_rest_is_verified(store: Store) -> None:
    seal_shard(store, PLAN, "s1", [record_of("tide", shard="s1")])
    part = next(i.path for i in store.list(paths.PARTS) if "/s1." in i.path)
    bad = [part, paths.seal(PLAN, "s"), paths.record("s", "e" * 32, 1), paths.head(1)]
    failed = record_of("fog", status="failed")
    seal_shard(store, PLAN, "s2", [failed])
    reopen(store, [row for row in load(store).current() if row.status != "done"])
    bad.append(paths.retry(1))
    for path in bad:
        store.put(path, b"{dam")
    gone = record_of("sunset").outputs[0].path
    store.delete([gone])
    report = verify(store, WORKS, PLAN)
    assert found(report) == sorted([("missing", gone), *(("damaged", path) for path in bad)])
    assert all(f.path in f.reason for f in report.findings if f.kind == "damaged")
