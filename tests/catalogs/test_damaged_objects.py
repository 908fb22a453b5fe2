"""Damaged objects of a collection: one sentence that names them, or the one before counts."""

import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from catalogs import paths
from catalogs.errors import StoreError
from catalogs.ledger import compact, finished, load, reopen, seal_all, seal_shard
from catalogs.records import Record
from catalogs.store import Store

PLAN = "f" * 32
START = datetime(2026, 1, 1, tzinfo=UTC)
DAMAGE = [b"", b"\x00\xff", b'{"snapshot": "mani', b"[]", b"null", b"{}", b"PAR1", b"[" * 10_000]


def record(name: str, **fields: str) -> Record:
    base = {"item_id": name, "shard_id": "s", "key": name * 32, "status": "done", **fields}
    return Record.model_validate({**base, "finished_at": START})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store.open(str(tmp_path))
    seal_shard(store, PLAN, "s0", [record("a")])
    assert compact(store, now=START) == 1
    seal_shard(store, PLAN, "s1", [record("b", status="failed")])
    return store


def items(store: Store) -> list[str]:
    return [row.item_id for row in load(store).current()]


@pytest.mark.parametrize("damage", DAMAGE)
def test_the_head_before_a_damaged_one_counts(
    store: Store, damage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    assert compact(store, now=START) == 2
    seal_shard(store, PLAN, "s2", [record("c")])
    store.put(paths.head(2), damage)
    with caplog.at_level(logging.WARNING):
        assert items(store) == ["a", "b", "c"]
    assert f"{paths.head(2)} is damaged" in caplog.text
    assert "the HEAD before it counts" in caplog.text
    assert compact(store, now=START + timedelta(days=8)) == 3  # the next one heals it
    caplog.clear()
    assert items(store) == ["a", "b", "c"]
    assert caplog.text == ""


@pytest.mark.parametrize("damage", DAMAGE)
def test_the_only_head_is_named(store: Store, damage: bytes) -> None:
    store.put(paths.head(1), damage)
    with pytest.raises(StoreError, match=f"^{paths.head(1)} is damaged"):
        load(store)


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("folder", [paths.PARTS, paths.SNAPSHOTS])
def test_parts_and_snapshots_are_named(store: Store, folder: str, damage: bytes) -> None:
    path = store.list(folder)[-1].path
    store.put(path, damage)
    with pytest.raises(StoreError, match=f"^{path} is damaged"):
        items(store)


def test_a_flipped_byte_in_the_rows_of_a_part_is_named(store: Store) -> None:
    path = store.list(paths.PARTS)[-1].path
    data, whole = store.get(path) or b"", load(store).table()
    rows = len(data) - 8 - int.from_bytes(data[-8:-4], "little")  # what is before the footer
    named = []
    for place in range(4, rows, 53):
        store.put(path, data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :])
        try:
            assert load(store).table().equals(whole)
        except StoreError as error:
            named.append(str(error))
    assert len(named) > 10
    assert all(text.startswith(f"{path} is damaged") for text in named)


@pytest.mark.parametrize("damage", DAMAGE)
def test_seals_and_wishes_are_named(store: Store, damage: bytes) -> None:
    seal_all(store, PLAN, {"done": 2})
    for path in (paths.seal_all(PLAN), paths.seal(PLAN, "s1")):
        store.put(path, damage)
    with pytest.raises(StoreError, match=r"ALL\.json is damaged"):
        finished(store, PLAN)
    with pytest.raises(StoreError, match=r"s1\.json is damaged"):
        seal_shard(store, PLAN, "s1", [record("d")])
    assert reopen(store, load(store).current()) == 1
    store.put(paths.retry(1), damage)
    with pytest.raises(StoreError, match=f"^{paths.retry(1)} is damaged"):
        load(store)
