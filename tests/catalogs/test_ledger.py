import itertools
import json
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalogs import paths
from catalogs.ledger import (
    Ledger,
    compact,
    finished,
    load,
    reopen,
    seal_all,
    seal_leftovers,
    seal_shard,
)
from catalogs.records import Record, commit, conform, from_table, to_parquet, to_table
from catalogs.store import ObjectInfo, Store
from catalogs.store_local import LocalStore

PLAN = "f" * 32
START = datetime(2026, 1, 1, tzinfo=UTC)


def key(name: str) -> str:
    return name * 32


def record(name: str = "a", **fields: Any) -> Record:
    base = {"item_id": name, "shard_id": "s", "key": key(name), "status": "done"}
    return Record(**{**base, "finished_at": START, **fields})


def rows_of(ledger: Ledger) -> list[tuple[str, str, int]]:
    return [(row.item_id, row.status, row.attempt) for row in ledger.current()]


@pytest.fixture(params=["local", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    local = request.param == "local"
    return Store.open(str(tmp_path / "out") if local else f"memory://{tmp_path.name}/out")


def listed(store: Store, prefix: str) -> list[str]:
    return [info.path for info in store.list(prefix)]


def sealed_shards(store: Store, plan_key: str) -> set[str]:
    listed = (Path(info.path) for info in store.list(paths.seals(plan_key)))
    return {path.stem for path in listed} - {"ALL"}


def test_an_empty_collection_has_an_empty_ledger(store: Store) -> None:
    ledger = load(store)
    assert len(ledger) == 0
    assert ledger.current() == []
    assert ledger.table().num_rows == 0
    assert ledger.seconds() == {}
    assert ledger.find(key("a")) is None
    assert store.counts == {"list": 3}


def test_records_count_before_and_after_sealing(store: Store) -> None:
    rows = [record("a"), record("b", status="failed", code="truncated"), record("c")]
    for row in rows:
        commit(store, row)
    before = load(store)
    assert {name: len(facts) for name, facts in before.leftovers.items()} == {"s": 3}
    seal = seal_shard(store, PLAN, "s", rows)
    after = load(store)
    assert (
        rows_of(before)
        == rows_of(after)
        == [("a", "done", 1), ("b", "failed", 1), ("c", "done", 1)]
    )
    assert after.leftovers == {}
    assert seal["counts"] == {"done": 2, "failed": 1}
    assert from_table(after.table()) == rows
    assert after.counts() == {("done", ""): 2, ("failed", "truncated"): 1}


def test_sealing_is_four_requests_and_idempotent(store: Store) -> None:
    rows = [commit(store, record(name)) for name in "abc"]
    store.counts.clear()
    seal = seal_shard(store, PLAN, "s", rows)
    assert store.counts == {"list": 1, "create": 2, "delete": 1}
    again = seal_shard(store, PLAN, "s", reversed(rows))
    assert again["parts"] == seal["parts"] == listed(store, paths.PARTS)
    assert listed(store, paths.RECORDS) == []
    assert sealed_shards(store, PLAN) == {"s"}


def test_a_shard_sealed_again_with_news_keeps_both_parts(store: Store) -> None:
    seal_shard(store, PLAN, "s", [record("a")])
    seal = seal_shard(store, PLAN, "s", [record("b")])
    assert seal["parts"] == listed(store, paths.PARTS)
    assert len(seal["parts"]) == 2
    assert seal["counts"] == {"done": 2}
    assert rows_of(load(store)) == [("a", "done", 1), ("b", "done", 1)]


def test_a_shard_without_news_is_sealed_without_a_part(store: Store) -> None:
    assert seal_shard(store, PLAN, "s", [])["parts"] == []
    assert sealed_shards(store, PLAN) == {"s"}
    assert listed(store, paths.PARTS) == []


def test_leftovers_go_along(store: Store) -> None:
    first = commit(store, record("a"))
    second = commit(store, record("b"))
    store.put(paths.record("s", key("d"), 1), b"{damaged")
    seal = seal_shard(store, PLAN, "s", [second])
    assert seal["counts"] == {"done": 2}
    assert load(store).history("a") == [first]
    assert listed(store, paths.RECORDS) == [paths.record("s", key("d"), 1)]


def test_leftovers_of_a_crash_are_sealed(store: Store) -> None:
    for name, shard in [("a", "s0"), ("b", "s0"), ("c", "s1")]:
        commit(store, record(name, shard_id=shard))
    assert seal_leftovers(store, PLAN, load(store), skip=["s1"]) == 1
    assert sealed_shards(store, PLAN) == {"s0"}
    assert seal_leftovers(store, PLAN, load(store)) == 1
    assert listed(store, paths.RECORDS) == []
    assert len(load(store)) == 3


def test_a_finished_plan_costs_one_request(store: Store) -> None:
    assert finished(store, PLAN) is None
    seal_all(store, PLAN, {"done": 3, "failed": 1}, codes={"truncated": 1})
    seal_shard(store, PLAN, "s01", [])
    store.counts.clear()
    seal = finished(store, PLAN)
    assert store.counts == {"get": 1}
    assert seal is not None
    assert (seal["counts"], seal["codes"]) == ({"done": 3, "failed": 1}, {"truncated": 1})
    assert sealed_shards(store, PLAN) == {"s01"}


BETTER = [
    ({"status": "done"}, {"status": "failed", "attempt": 5}),
    ({"status": "done"}, {"status": "quarantined", "finished_at": START - timedelta(days=1)}),
    ({"status": "failed", "attempt": 3}, {"status": "failed", "attempt": 2}),
    ({"finished_at": START}, {"finished_at": START + timedelta(seconds=1)}),
    ({"finished_at": START}, {"finished_at": None}),
    ({"frames_sha256": "0a"}, {"frames_sha256": "0b"}),
]


@pytest.mark.parametrize(("better", "worse"), BETTER)
def test_of_two_rows_of_a_key_the_better_counts(
    better: dict[str, Any], worse: dict[str, Any]
) -> None:
    good, bad = record(**better), record(**worse)
    for pair in itertools.permutations([good, bad]):
        for cut in range(3):
            files = [to_parquet(to_table(pair[:cut]))] if cut else []
            ledger = Ledger(files, pair[cut:])
            assert from_table(ledger.table()) == [good]
            assert len(ledger) == 1


def test_the_latest_key_of_an_item_is_current() -> None:
    old = record("a", key=key("1"), finished_at=START)
    new = record("a", key=key("2"), finished_at=START + timedelta(hours=1))
    other = record("b")
    for rows in itertools.permutations([old, new, other]):
        ledger = Ledger([], rows)
        assert [row.key for row in ledger.current()] == [key("2"), key("b")]
        assert [row.key for row in ledger.current([key("1"), key("x")])] == [key("1")]
        assert from_table(ledger.table([key("1")])) == [old]
        latest = ledger.latest("a")
        assert latest is not None
        assert latest.key == key("2")
        assert ledger.history("a") == [old, new]
        assert ledger.latest("x") is None


ROWS = st.builds(
    record,
    name=st.sampled_from("abc"),
    key=st.sampled_from([key("1"), key("2"), key("3")]),
    status=st.sampled_from(["done", "failed", "skipped"]),
    attempt=st.integers(1, 3),
    finished_at=st.none() | st.integers(0, 2).map(lambda h: START + timedelta(hours=h)),
    frames_sha256=st.none() | st.sampled_from(["0", "1"]),
    code=st.none() | st.sampled_from(["cuda_oom", "truncated"]),
    retryable=st.booleans(),
)


@settings(max_examples=100, deadline=None)
@given(st.lists(ROWS, max_size=8), st.integers(0, 8), st.integers(0, 8), st.randoms())
def test_the_ledger_is_a_union(rows: list[Record], one: int, two: int, random: Any) -> None:
    """Neither the order of facts nor how they are spread over objects makes a difference."""

    def summary(ledger: Ledger) -> Any:
        found = {name: ledger.find(name) for name in (key("1"), key("2"), key("3"))}
        best = [row and row._replace(place=0) for row in found.values()]
        return best, ledger.counts([*found])

    mixed = list(rows)
    random.shuffle(mixed)
    low, high = sorted((one, two))
    files = [to_parquet(to_table(part)) for part in (mixed[:low], mixed[low:high]) if part]
    assert summary(Ledger(files, mixed[high:])) == summary(Ledger([], rows))
    assert summary(Ledger(files, rows)) == summary(Ledger([], rows))


class Interrupted(LocalStore):
    """Lets somebody else act between two of our requests."""

    act: Callable[[], None] = staticmethod(lambda: None)
    after = ""

    def _list(self, prefix: str) -> Sequence[ObjectInfo]:
        found = super()._list(prefix)
        if prefix == self.after:
            self.after = ""
            self.act()
        return found


@pytest.mark.parametrize("after", [paths.RECORDS, paths.MANIFEST, paths.RETRIES])
def test_a_shard_sealed_while_we_read_is_not_lost(tmp_path: Path, after: str) -> None:
    store = Interrupted(tmp_path)
    rows = [commit(store, record(name)) for name in "abcdef"]
    store.act = lambda: seal_shard(LocalStore(tmp_path), PLAN, "s", rows)  # type: ignore[method-assign, assignment, return-value]
    store.after = after
    assert len(load(store)) == 6
    assert store.after == ""


def test_a_damaged_record_counts_as_not_done(store: Store) -> None:
    commit(store, record("a"))
    store.put(paths.record("s", key("b"), 1), b'{"item_id": "b", "sta')
    assert rows_of(load(store)) == [("a", "done", 1)]


def test_a_part_of_an_older_version_is_read(store: Store) -> None:
    columns = ["item_id", "key", "shard_id", "status", "attempt"]
    store.put(
        paths.manifest_part("s", "0" * 16), to_parquet(to_table([record("a")]).select(columns))
    )
    commit(store, record("b"))
    ledger = load(store)
    assert rows_of(ledger) == [("a", "done", 1), ("b", "done", 1)]
    assert ledger.details(ledger.current()) == [(None, {}), (None, {})]


def test_details_and_seconds() -> None:
    rows = [
        record("a", material='{"p": 1}', keys={"prepare": "1", "encode": "2"}, t_encode=2.0),
        record("b", t_encode=4.0),
        record("c", status="failed", t_encode=99.0),
        record("d", t_encode=9.0, material="{}"),
    ]
    ledger = Ledger([to_parquet(to_table(rows[:2]))], rows[2:])
    chosen = [ledger.latest(name) for name in "dba"]
    assert ledger.details([row for row in chosen if row]) == [
        ("{}", {}),
        (None, {}),
        ('{"p": 1}', {"prepare": "1", "encode": "2"}),
    ]
    assert ledger.details([]) == []
    assert ledger.seconds() == {"t_encode": 4.0}


def fill(store: Store) -> None:
    seal_shard(store, PLAN, "s0", [record("a"), record("b", status="failed", code="truncated")])
    seal_shard(store, PLAN, "s1", [record("c"), record("d", attempt=2)])
    commit(store, record("e", shard_id="s2"))


def test_compaction_changes_nothing_but_the_requests(store: Store) -> None:
    fill(store)
    before = load(store).table()
    assert compact(store, now=START, least=3) is None
    assert compact(store, now=START, least=2) == 1
    store.counts.clear()
    ledger = load(store)
    assert store.counts == {"list": 3, "get": 3}  # HEAD, snapshot and the record left over
    assert ledger.table().equals(before)
    assert ledger.history("e") == [record("e", shard_id="s2")]
    assert compact(store, now=START) is None
    seal_shard(store, PLAN, "s3", [record("b", attempt=2), record("f")])
    assert compact(store, now=START) == 2
    assert rows_of(load(store))[1] == ("b", "done", 2)
    assert [r.attempt for r in load(store).history("b")] == [1, 2]


def test_what_is_covered_goes_after_the_grace_period(store: Store) -> None:
    fill(store)
    compact(store, now=START)
    week = timedelta(days=7)
    covered = set(listed(store, paths.PARTS))
    assert compact(store, now=START + week) is None
    assert covered <= set(listed(store, paths.PARTS))
    rows = rows_of(load(store))
    assert compact(store, now=START + week + timedelta(seconds=1)) is None
    assert listed(store, paths.PARTS) == []
    assert len(listed(store, paths.RECORDS)) == 1
    assert rows_of(load(store)) == rows


def test_a_result_under_a_name_that_held_a_failure_counts(store: Store) -> None:
    """Fail, compact, seal; then a slower worker's result takes the name that came free."""
    failed = commit(store, record("a", status="failed", code="store_error"))
    seal_shard(store, PLAN, "s1", [record("b", shard_id="s1")])
    assert compact(store, now=START) == 1
    seal_shard(store, PLAN, "s", [failed])
    assert listed(store, paths.RECORDS) == []
    done = commit(store, record("a"))
    assert done.path == failed.path
    for day in (0, 8, 16):
        compact(store, now=START + timedelta(days=day))
        assert rows_of(load(store)) == [("a", "done", 1), ("b", "done", 1)]
    assert load(store).leftovers == {"s": [done]}


def test_records_that_an_older_head_covers_count(store: Store) -> None:
    fill(store)
    compact(store, now=START)
    [path] = listed(store, paths.RECORDS)
    head = json.loads(store.get(paths.head(1)) or b"")
    head["covered"][path] = "2020-01-01T00:00:00.000000Z"
    store.put(paths.head(1), json.dumps(head).encode())
    compact(store, now=START)
    assert [r.path for facts in load(store).leftovers.values() for r in facts] == [path]


def test_old_snapshots_go_too(store: Store) -> None:
    for day in range(0, 40, 5):
        seal_shard(store, PLAN, f"s{day:b}", [record("a", attempt=day + 1), record(f"{day:x}")])
        assert compact(store, now=START + timedelta(days=day))
    assert len(listed(store, paths.SNAPSHOTS)) <= 3
    assert len(listed(store, paths.HEADS)) <= 3
    assert len(load(store).history("a")) == 8


class Raced(LocalStore):
    """Somebody else compacts just before our own snapshot is written."""

    raced = False

    def _create(self, path: str, data: bytes, content_type: str | None, durable: bool) -> None:
        if path.startswith(paths.SNAPSHOTS) and not self.raced:
            self.raced = True
            assert compact(LocalStore(self.root)) == 1
        super()._create(path, data, content_type, durable)


def test_the_loser_of_two_compactions_leaves(tmp_path: Path) -> None:
    store = Raced(tmp_path)
    fill(store)
    assert compact(store) is None
    assert len(listed(store, paths.SNAPSHOTS)) == len(listed(store, paths.HEADS)) == 1
    assert len(load(store)) == 5


def test_a_snapshot_without_its_head_does_not_count(store: Store) -> None:
    fill(store)
    store.put(paths.snapshot(1), b"a compaction died here")
    assert len(load(store)) == 5
    assert compact(store, now=START) == 2
    assert len(load(store)) == 5


def test_asking_again_reopens_plans_and_shards(store: Store) -> None:
    rows = [
        record("a", shard_id="s01"),
        record("b", shard_id="s01", status="failed", attempt=3),
        record("c", shard_id="s1"),
    ]
    for plan, shards in [(PLAN, ["s01", "s1"]), ("e" * 32, ["s0", "s011", "s10"])]:
        for shard in shards:
            here = [row for row in rows if row.shard_id == shard] if plan == PLAN else []
            seal_shard(store, plan, shard, here)
        seal_all(store, plan, {"done": 2, "failed": 1})
    ledger = load(store)
    assert reopen(store, ledger.current(), reason="epa retry") == 1
    assert finished(store, PLAN) is finished(store, "e" * 32) is None
    assert sealed_shards(store, PLAN) == {"s1"}
    assert sealed_shards(store, "e" * 32) == {"s10"}
    assert load(store).retries == {key("b"): 3}
    assert len(load(store)) == 3
    later = [row._replace(attempt=5) for row in ledger.current() if row.status == "failed"]
    assert reopen(store, later) == 1
    assert load(store).retries == {key("b"): 5}
    assert listed(store, paths.RETRIES) == [paths.retry(1), paths.retry(2)]
    assert reopen(store, []) == 0


def test_a_hundred_thousand_rows_are_read_in_seconds(tmp_path: Path) -> None:
    count = 100_000
    names = [f"artist-{i % 500}/work-{i}" for i in range(count)]
    plain = pa.table(
        {
            "item_id": names,
            "key": [f"{i:032x}" for i in range(count)],
            "shard_id": ["s"] * count,
            "status": ["done"] * count,
            "attempt": [1] * count,
            "material": [f'{{"prompt": "{name}"}}' for name in names],
            "finished_at": [f"2026-01-01T00:00:00.{i:06d}Z" for i in range(count)],
        }
    )
    again = plain.slice(0, 50)  # a few keys known twice: the full ranking has to run
    store = Store.open(str(tmp_path))
    store.put(paths.manifest_part("s0", "0" * 16), to_parquet(conform(plain)))
    store.put(paths.manifest_part("s1", "1" * 16), to_parquet(conform(again)))
    start = time.process_time()
    ledger = load(store)
    assert len(ledger) == count
    assert ledger.find(f"{7:032x}") == ledger.latest(names[7])
    assert time.process_time() - start < 3
