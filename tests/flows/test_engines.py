"""Handing shards out to those who work elsewhere: what may go wrong with them, and what follows.

The hands of these tests do their shards in this process, by the very functions that every engine
calls; they only fail when they are told to.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line import Answer
from paintings import tiny_run, write_paintings, write_run_file
from prefect.settings import PREFECT_API_URL, temporary_settings

from catalogs.errors import ConfigError
from catalogs.leases import Leases
from flows.engines import ShardsLeft, check_engine, dispatch
from flows.engines.base import Ending, Missing
from flows.wrap_up import wrap_up
from tasks import shards
from tasks.collection import Collection, forget, register
from tasks.config import Execution
from tasks.failures import FailureWatch, RunStopped, TooManyFailures
from tasks.turns import HELD


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "POLL", 0.02)
    monkeypatch.setattr(dispatch, "PAUSE", 0.05)


@pytest.fixture
def collection(tmp_path: Path) -> Any:
    """Twelve works in some shards."""
    run = tiny_run(
        write_paintings(tmp_path / "in", 12),
        tmp_path / "out",
        execution={"shard_size": 4, "worker_wait": 0.01, "max_failure_ratio": None},
    )
    opened = Collection.open(run)
    register(opened)
    yield opened
    forget()


class HereHands:
    """Does every shard that is submitted; ``misfortune`` says what comes between, turn by turn."""

    def __init__(self, collection: Collection, misfortune: Callable[[str, int], Any] | None = None):
        self.collection = collection
        self.misfortune = misfortune or (lambda shard_id, turn: None)
        self.turns = Counter[str]()
        self.queue: list[str] = []
        self.cancelled = False
        self.absent: Missing | None = None

    def submit(self, shard_id: str) -> None:
        self.queue.append(shard_id)

    def endings(self, seconds: float) -> list[Ending]:
        if self.absent:
            return []
        todo, self.queue = self.queue, []
        return [self._do(shard_id) for shard_id in todo]

    def _do(self, shard_id: str) -> Ending:
        self.turns[shard_id] += 1
        wrong = self.misfortune(shard_id, self.turns[shard_id])
        if isinstance(wrong, Exception):
            return Ending(shard_id, stop=wrong)
        if isinstance(wrong, str):
            return Ending(shard_id, error=wrong)
        run, told, watch = self.collection.run, self.collection.on_record, self.collection.watch
        # It happens in another process, which tells and judges by itself.
        self.collection.on_record = lambda status: None
        self.collection.watch = FailureWatch(run.execution.max_failure_ratio)
        counts = shards.animate(run, shard_id)
        self.collection.on_record, self.collection.watch = told, watch
        return Ending(shard_id, counts, held=HELD in counts)

    def missing(self) -> Missing | None:
        return self.absent

    def cancel(self) -> None:
        self.cancelled = True


def do(collection: Collection, hands: HereHands) -> dict[str, dict[str, int]]:
    works = {str(name): len(group) for name, group in collection.plan.shards.items()}
    assert len(works) > 2
    ends = dispatch.dispatch(collection, works, hands, recorded=True)
    return {shard_id: dict(counts) for shard_id, counts in ends}


def test_all_shards_are_done_and_followed(collection: Collection) -> None:
    told: list[str] = []
    collection.on_record = told.append
    planned = {str(name): {"done": len(works)} for name, works in collection.plan.shards.items()}
    assert do(collection, HereHands(collection)) == planned
    assert told == ["done"] * 12
    assert wrap_up(collection, 0.0).counts == {"done": 12}
    assert collection.finished_summary() is not None


def test_who_dies_is_replaced_as_long_as_something_is_learnt(collection: Collection) -> None:
    unlucky = list(collection.plan.shards)[1]
    hands = HereHands(
        collection, lambda shard_id, turn: "died" if shard_id == unlucky and turn < 3 else None
    )
    do(collection, hands)
    assert hands.turns[unlucky] == 3
    assert set(hands.turns.values()) == {1, 3}
    assert wrap_up(collection, 0.0).counts == {"done": 12}


def test_a_shard_that_nobody_can_end_is_given_up_and_the_others_are_done(
    collection: Collection,
) -> None:
    unlucky = list(collection.plan.shards)[1]
    left = len(collection.plan.shards[unlucky])
    hands = HereHands(collection, lambda s, turn: "fell off the table" if s == unlucky else None)
    with pytest.raises(ShardsLeft, match=rf"1 shards .*\({unlucky}\).*fell off the table"):
        do(collection, hands)
    assert hands.turns[unlucky] == dispatch.VAIN
    assert wrap_up(collection, 0.0).counts == {"done": 12 - left}


def test_an_end_that_only_says_to_be_good_is_not_believed(collection: Collection) -> None:
    class Liar(HereHands):
        def _do(self, shard_id: str) -> Ending:
            self.turns[shard_id] += 1
            return (
                Ending(shard_id, {"done": 4})
                if self.turns[shard_id] == 1
                else super()._do(shard_id)
            )

    hands = Liar(collection)
    do(collection, hands)
    assert wrap_up(collection, 0.0).counts == {"done": 12}


def test_what_every_other_would_meet_ends_the_run(collection: Collection) -> None:
    last = list(collection.plan.shards)[-1]
    stop = RunStopped("twenty works in a row failed")
    hands = HereHands(collection, lambda shard_id, turn: stop if shard_id == last else None)
    with pytest.raises(RunStopped, match="twenty works"):
        do(collection, hands)
    assert hands.cancelled


def test_a_run_that_everybody_has_left_ends_by_itself(collection: Collection) -> None:
    hands = HereHands(collection)
    hands.absent = Missing("the work pool has had no worker", "start one")
    with pytest.raises(ShardsLeft, match=r"no worker for 0\.01 minutes .*; start one"):
        do(collection, hands)
    assert hands.cancelled


def test_a_shard_of_another_run_is_waited_for(collection: Collection) -> None:
    first = str(next(iter(collection.plan.shards)))
    other = Leases(collection.store, "another plan", 600).acquire(f"{first}0")
    assert other is not None

    def gives_back(shard_id: str, turn: int) -> None:
        if shard_id != first and hands.turns[first]:
            other.release()

    hands = HereHands(collection, gives_back)
    do(collection, hands)
    assert hands.turns[first] == 2
    assert wrap_up(collection, 0.0).counts == {"done": 12}


def test_records_of_one_who_died_before_the_seal_are_sealed(
    collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(*_: object) -> None:
        raise OSError("killed before the seal")

    class Dying(HereHands):
        def _do(self, shard_id: str) -> Ending:
            with monkeypatch.context() as patch:
                patch.setattr(shards, "seal_shard", dies)
                with pytest.raises(OSError, match="before the seal"):
                    shards.animate(self.collection.run, shard_id)
            return Ending(shard_id, error="killed before the seal")

    do(collection, Dying(collection))
    assert not list(Path(collection.run.output).glob("records/*/*.json"))
    assert wrap_up(collection, 0.0).counts == {"done": 12}


def test_failures_of_all_shards_together_stop_the_run(tmp_path: Path) -> None:
    source = write_paintings(tmp_path / "in", 60)
    for number in range(0, 60, 2):
        (source / f"work-{number:04d}.png").write_bytes(f"no picture {number}".encode())
    run = tiny_run(source, tmp_path / "out", execution={"shard_size": 10})
    collection = Collection.open(run)
    register(collection)
    try:
        # Each shard is judged by itself, too, and none is large enough for that.
        with pytest.raises(TooManyFailures, match="max_failure_ratio"):
            do(collection, HereHands(collection))
    finally:
        forget()


# -- what an engine needs


def test_without_a_server_one_sentence_says_so(
    epa: Callable[..., Answer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    file = write_run_file(tmp_path, 1, execution={"engine": "workers"})
    with temporary_settings(restore_defaults={PREFECT_API_URL}):  # other tests' server
        answer = epa("run", file)
    assert answer.code == 2
    assert "'workers' needs a Prefect server" in answer.err
    assert "PREFECT_API_URL" in answer.err
    assert not (tmp_path / "out" / "videos").exists()


@pytest.mark.parametrize(("engine", "package"), [("ray", "prefect_ray"), ("dask", "prefect_dask")])
def test_without_its_package_one_sentence_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, engine: str, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigError, match=rf"{package}.*not installed.*'epa\[{engine}\]'"):
        check_engine(Execution(engine=engine))


def test_an_address_holds_no_credentials() -> None:
    with pytest.raises(ValueError, match="credentials"):
        Execution(engine="dask", address="tcp://me:secret@scheduler:8786")
