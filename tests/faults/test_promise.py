"""The checker of all other fault tests sees each kind of harm; otherwise it would prove nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import workers
from promise import Outcome, check

from catalogs import paths
from catalogs.records import Record, from_table, to_parquet, to_table, utc_now

RunFile = Callable[..., Path]


@pytest.fixture
def finished(run_file: RunFile, tmp_path: Path) -> Path:
    """A run file whose three works are done, in one part."""
    file = run_file(3)
    trace = {"EPA_FAULTS_TRACE": str(tmp_path / "trace")}
    assert workers.ended(workers.start(file, **trace)) == 0
    return file


def part(file: Path) -> Path:
    [found] = (file.parent / "out" / paths.PARTS).glob("*.parquet")
    return found


def rewrite(file: Path, change: Callable[[list[Record]], list[Record]]) -> None:
    """Other rows in the only part."""
    place = part(file)
    rows = change(from_table(pq.read_table(place)))
    place.write_bytes(to_parquet(to_table(rows)))


def record_again(file: Path, **changes: object) -> None:
    """One more record of the first work, as a second worker would write it."""
    row = from_table(pq.read_table(part(file)))[0].model_copy(update=changes)
    place = file.parent / "out" / row.path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(row.to_bytes())


def videos(file: Path) -> list[Path]:
    return sorted((file.parent / "out" / paths.VIDEOS).rglob("video.mp4"))


def test_a_run_that_nothing_happened_to(finished: Path, tmp_path: Path) -> None:
    outcome = check(finished, tmp_path / "trace")
    assert outcome.faults() == {}
    assert (outcome.works, outcome.states) == (3, {"done": 3})
    assert (outcome.computed, outcome.redone) == (3, 0)


def test_a_record_that_also_stands_in_a_part_is_none_too_many(finished: Path) -> None:
    record_again(finished)
    assert check(finished).faults() == {}


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


HARM: dict[str, tuple[Callable[[Path], object], set[str]]] = {
    "a video is gone": (lambda file: videos(file)[0].unlink(), {"damaged"}),
    "a video is cut": (lambda file: _truncate(videos(file)[1]), {"damaged"}),
    "one bit of a video": (lambda file: _flip(videos(file)[2]), {"damaged"}),
    "a row is missing": (
        lambda file: rewrite(file, lambda rows: rows[1:]),
        {"lost", "pending"},
    ),
    "a second result": (
        lambda file: record_again(file, worker="another:1", attempt=2, finished_at=utc_now()),
        {"duplicates"},
    ),
    "two failures of one attempt": (
        lambda file: (
            rewrite(file, lambda rows: [_failed(rows[0], "a"), *rows[1:]]),
            record_again(file, worker="b"),
        ),
        {"duplicates"},
    ),
    "a part that is no Parquet": (
        lambda file: part(file).write_bytes(b"PAR1"),
        {"lost", "torn", "unreadable"},
    ),
    "a record cut in the middle": (
        lambda file: (record_again(file), [_truncate(path) for path in records(file)]),
        {"torn"},
    ),
    "a seal that is no JSON": (lambda file: _truncate(seals(file)[-1]), {"torn"}),
    "no seal of the plan": (lambda file: all_seal(file).unlink(), {"unsealed"}),
    "a work more in the catalog": (
        lambda file: _one_more(file),
        {"lost", "pending", "unsealed"},
    ),
}


def _failed(row: Record, worker: str) -> Record:
    return row.model_copy(update={"status": "failed", "worker": worker, "code": "too_small"})


def records(file: Path) -> list[Path]:
    return sorted((file.parent / "out" / paths.RECORDS).rglob("*.json"))


def seals(file: Path) -> list[Path]:
    found = (file.parent / "out" / paths.SEALS).rglob("*.json")
    return sorted(path for path in found if path.stem != "ALL")


def all_seal(file: Path) -> Path:
    [found] = (file.parent / "out" / paths.SEALS).rglob("ALL.json")
    return found


def _one_more(file: Path) -> None:
    source = file.parent / "in" / "work-0000.png"
    (source.parent / "more.png").write_bytes(source.read_bytes() + b"\0")


@pytest.mark.parametrize("harm", HARM)
def test_it_sees(finished: Path, harm: str) -> None:
    act, expected = HARM[harm]
    act(finished)
    assert set(check(finished).faults()) == expected


def test_it_sees_what_was_computed_twice(finished: Path, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    trace.write_text(trace.read_text() + trace.read_text().splitlines()[0] + "\n")
    assert (check(finished, trace).computed, check(finished, trace).redone) == (4, 1)


def test_the_table_fails_where_a_promise_was_not_kept(table: object) -> None:
    from fault_table import FaultTable

    own = FaultTable()
    good = Outcome(2, {"done": 2}, 3, 1, 0, 0, 0, 0, 0, 0, False, "")
    own.keep("good", good, 1, redone=1)
    for bad in (
        {"lost": 1},
        {"duplicates": 1},
        {"damaged": 1},
        {"torn": 1},
        {"disagreeing": 1},
        {"pending": 1},
        {"unsealed": True},
        {"unreadable": "the ledger"},
        {"states": {"done": 1, "failed": 1}},
        {"redone": 2},
        {"works": 0, "states": {}},
    ):
        with pytest.raises(AssertionError):
            own.keep("bad", Outcome(**{**vars(good), **bad}), 1, redone=1)
    assert len(own.rows) == 12
