import dataclasses
import json
import math
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalogs import records
from catalogs.records import (
    Output,
    Record,
    commit,
    from_parquet,
    from_table,
    manifest_schema,
    parse,
    to_parquet,
    to_table,
    utc_text,
)
from catalogs.store import Store
from catalogs.store_local import LocalStore

KEY = "ab" * 16


def record(**fields: Any) -> Record:
    return Record(**{"item_id": "a", "shard_id": "s0", "key": KEY, "status": "done", **fields})


def output(sha256: str = "0" * 64) -> Output:
    return Output(
        name="video.mp4", path=f"videos/a/{sha256[:12]}/video.mp4", sha256=sha256, bytes=9
    )


TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
FLOAT = st.floats(allow_nan=False, allow_infinity=False)
OUTPUTS = st.builds(Output, name=TEXT, path=TEXT, sha256=TEXT, bytes=st.integers(0, 2**40))
RECORDS = st.builds(
    Record,
    item_id=TEXT,
    shard_id=st.just("s01"),
    key=st.just(KEY),
    keys=st.dictionaries(TEXT, TEXT, max_size=3),
    status=st.sampled_from(records.STATUSES),
    code=st.none() | TEXT,
    message=st.none() | st.text(st.characters(codec="utf-8"), max_size=300),
    retryable=st.booleans(),
    attempt=st.integers(1, 9),
    outputs=st.lists(OUTPUTS, max_size=3).map(tuple),
    fps=st.none() | FLOAT,
    seed=st.none() | st.integers(0, 2**63 - 1),
    year=st.none() | st.integers(-500, 2100),
    ai_marking=st.none() | st.booleans(),
    motion=st.none() | FLOAT,
    t_encode=st.none() | FLOAT,
    finished_at=st.none() | st.datetimes(timezones=st.just(UTC)),
)  # fmt: skip


@settings(max_examples=40)
@given(st.lists(RECORDS, max_size=3))
def test_records_come_back_from_json_and_parquet(rows: list[Record]) -> None:
    assert [parse(row.to_bytes()) for row in rows] == rows
    table = to_table(rows)
    assert table.schema.equals(manifest_schema(), check_metadata=True)
    assert from_table(from_parquet(to_parquet(table))) == rows


def test_every_field_has_a_column_of_its_type() -> None:
    assert manifest_schema().names == list(Record.model_fields)
    types = {name: str(manifest_schema().field(name).type) for name in manifest_schema().names}
    assert types["attempt"] == types["seed"] == types["year"] == "int64"
    assert types["retryable"] == types["ai_marking"] == "bool"
    assert types["t_upload"] == types["motion"] == "double"
    assert types["message"] == types["finished_at"] == "string"
    assert types["keys"] == "map<string, string>"


def test_stage_keys_keep_their_order() -> None:
    row = record(keys={"prepare": "1", "animate": "2", "encode": "3"})
    assert list(from_table(to_table([row]))[0].keys) == ["prepare", "animate", "encode"]
    assert list(parse(row.to_bytes()).keys) == ["prepare", "animate", "encode"]  # type: ignore[union-attr]


def test_same_rows_give_the_same_bytes() -> None:
    rows = [record(item_id=str(i), fps=8.0, outputs=(output(),)) for i in range(50)]
    assert to_parquet(to_table(rows)) == to_parquet(to_table(rows))


def test_an_older_file_is_read_with_nulls() -> None:
    old = to_table([record(motion=0.5, fps=8)]).select(["item_id", "key", "shard_id", "status"])
    [row] = from_table(from_parquet(to_parquet(old)))
    assert row == record()
    assert from_parquet(to_parquet(old), ["key", "motion"]).to_pylist() == [
        {"key": KEY, "motion": None}
    ]


def test_a_newer_file_is_read_without_its_news() -> None:
    new = to_table([record(attempt=2)]).append_column("invented_later", pa.array(["x"]))
    new = new.set_column(
        new.schema.get_field_index("attempt"), "attempt", pa.array([2], type=pa.int32())
    )
    read = from_parquet(to_parquet(new))
    assert read.schema.equals(manifest_schema())
    assert from_table(read) == [record(attempt=2)]
    news = json.loads(record().to_bytes()) | {"schema_version": 7, "invented_later": [1]}
    assert parse(json.dumps(news).encode()) == record(schema_version=7)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"item_id": "a"}', b"\xff\xfe"])
def test_damaged_records_are_none(data: bytes) -> None:
    assert parse(data) is None


def test_values_a_record_puts_right() -> None:
    row = record(message="m" * 500, started_at=datetime(2026, 1, 1, tzinfo=UTC), motion=math.nan)
    assert len(row.message or "") == 200
    assert row.started_at == "2026-01-01T00:00:00.000000Z"
    assert parse(row.to_bytes()).motion is None  # type: ignore[union-attr]
    with pytest.raises(ValueError, match="status"):
        record(status="finished")


@given(st.datetimes(), st.datetimes(), st.integers(-12, 12))
def test_moments_sort_as_text(one: datetime, other: datetime, hours: int) -> None:
    zone = timezone(timedelta(hours=hours))
    low, high = (datetime(1990, 1, 2), datetime(2200, 1, 1))
    one, other = (min(max(t, low), high) for t in (one, other))
    aware, utc = one.replace(tzinfo=zone), other.replace(tzinfo=UTC)
    assert (utc_text(aware) < utc_text(utc)) == (aware < utc)
    assert utc_text(utc_text(aware)) == utc_text(aware)


def test_a_commit_is_one_request(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    row = record(outputs=(output(),))
    assert commit(store, row) is row
    assert store.counts == {"create": 1}
    assert (tmp_path / "records" / "s0" / f"{KEY}.1.json").exists()


def test_our_own_lost_answer_is_found_again(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    row = record(outputs=(output(),))
    commit(store, row)
    assert commit(store, row) == row
    assert store.counts == {"create": 2, "get": 1}


def test_the_first_result_stands(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    first = record(outputs=(output("1" * 64),))
    commit(store, first)
    assert commit(store, record(outputs=(output("2" * 64),))) == first
    assert commit(store, record(status="failed", code="cuda_oom")) == first
    assert len(store.list("records")) == 1


def test_a_result_is_not_given_up_for_a_failure(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    failed = record(status="failed", code="store_timeout", retryable=True)
    assert commit(store, failed) == failed
    stands = commit(store, record(outputs=(output(),)))
    assert (stands.status, stands.attempt) == ("done", 2)
    assert [info.path for info in store.list("records")] == [failed.path, stands.path]
    assert commit(store, failed) == failed


def test_a_damaged_record_is_no_commit(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    store.put(record().path, b"{half")
    assert commit(store, record()) == record()
    assert parse(store.get(record().path) or b"") == record()


class Sealing(LocalStore):
    """Another worker seals the shard between our create and our look at what stands."""

    def _get(self, path: str) -> bytes:
        (self.root / path).unlink()
        return super()._get(path)


def test_a_record_sealed_away_meanwhile_is_written_again(tmp_path: Path) -> None:
    store = Sealing(tmp_path)
    commit(store, record(status="failed"))
    mine = record(outputs=(output(),))
    assert commit(store, mine) == mine
    assert len(store.list("records")) == 1


def test_records_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        record().attempt = 2
    assert not dataclasses.is_dataclass(Record)
