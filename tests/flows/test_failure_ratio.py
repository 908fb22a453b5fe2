"""A run of which too much fails stops early, says why, and is gone on with by the next one."""

from __future__ import annotations

import pickle
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from local_runner import run_locally
from paintings import TINY, tiny_run, write_paintings

from epa_core.errors import ItemError
from tasks.collection import Collection
from tasks.failures import ENOUGH_TO_JUDGE, FailureWatch, TooManyFailures

WORKS, BAD = 120, 60


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """120 pictures, of which every other one is bad: most cut short, a few no pictures."""
    folder = write_paintings(tmp_path / "in", WORKS)
    for number, file in enumerate(sorted(folder.glob("*.png"))[::2]):
        data = file.read_bytes()
        file.write_bytes(data[: len(data) // 2] if number % 6 else b"letter %d" % number)
    return folder


def states(run: Any) -> Counter[str]:
    return Counter(row["status"] for row in Collection.open(run).ledger.table().to_pylist())


def test_a_run_stops_early_and_the_next_goes_on(source: Path, tmp_path: Path) -> None:
    run = tiny_run(source, tmp_path / "out")
    with pytest.raises(TooManyFailures, match=r"execution\.max_failure_ratio = 0\.2") as caught:
        run_locally(run)
    counted = re.match(r"(\d+) of the first (\d+) works of this run failed \(", str(caught.value))
    assert counted
    failed, ended = (int(number) for number in counted.groups())
    assert ENOUGH_TO_JUDGE <= ended < WORKS / 2 + ENOUGH_TO_JUDGE
    first = states(run)["failed"]  # those in flight may end, too
    assert 0.2 * ended < failed <= first < BAD
    # What failed before does not count against a run: this one is judged by what is left alone.
    patient = tiny_run(source, tmp_path / "out", execution={"max_failure_ratio": 0.9})
    run_locally(patient)
    assert states(run) == {"done": WORKS - BAD, "failed": BAD}


def test_the_command_line_says_it_in_one_sentence(
    source: Path, tmp_path: Path, epa: Any, prefect_home: None
) -> None:
    file = tmp_path / "run.yaml"
    tree: dict[str, Any] = {**TINY, "catalog": str(source), "output": str(tmp_path / "out")}
    file.write_text(yaml.safe_dump(tree))
    answer = epa("run", file)
    assert answer.code == 1
    [sentence] = [line for line in answer.err.splitlines() if line.startswith("epa: ")]
    assert "works of this run failed (" in sentence
    assert " truncated" in sentence
    assert "Traceback" not in answer.err + answer.out
    tree["execution"] = {**tree["execution"], "max_failure_ratio": None}
    file.write_text(yaml.safe_dump(tree))
    assert epa("run", file).code == 1  # some works failed, as they must
    assert states(tiny_run(source, tmp_path / "out")) == {"done": WORKS - BAD, "failed": BAD}


def test_the_ratio_is_judged_from_enough_works_on() -> None:
    watch = FailureWatch(0.2)
    for _ in range(ENOUGH_TO_JUDGE - 1):
        watch.failed(ItemError("too_small", "x"))
    with pytest.raises(
        TooManyFailures, match=r"50 of the first 50 .* \(49 too_small, 1 worker_killed\)"
    ):
        watch.failed(ItemError("worker_killed", "x"))


@pytest.mark.parametrize("allowed", [0.2, 0.5])
def test_exactly_the_ratio_is_allowed(allowed: float) -> None:
    watch = FailureWatch(allowed)
    for _ in range(round(100 * (1 - allowed))):
        watch.succeeded()
    for _ in range(round(100 * allowed)):
        watch.failed(ItemError("too_small", "x"))
    with pytest.raises(TooManyFailures):
        watch.failed(ItemError("too_small", "x"))


def test_the_passes_are_judged_each_by_itself() -> None:
    """A few bad works among thousands are no reason to stop where proxies become videos."""
    watch = FailureWatch(0.2)
    watch.begin("proxies")
    for _ in range(1000):
        watch.succeeded()
    for _ in range(ENOUGH_TO_JUDGE):
        watch.failed(ItemError("too_small", "x"))
    watch.begin("videos")
    for _ in range(ENOUGH_TO_JUDGE - 1):
        watch.failed(ItemError("numeric", "x"))
    with pytest.raises(TooManyFailures, match=r"\(50 numeric\)"):
        watch.failed(ItemError("numeric", "x"))


def test_a_next_shard_of_a_pass_goes_on_counting() -> None:
    watch = FailureWatch(0.2)
    for _ in range(ENOUGH_TO_JUDGE - 1):
        watch.begin("videos")
        watch.failed(ItemError("numeric", "x"))
    watch.begin("videos")
    with pytest.raises(TooManyFailures):
        watch.failed(ItemError("numeric", "x"))


def test_without_a_ratio_nothing_stops() -> None:
    def all_fail(watch: FailureWatch) -> str:
        for _ in range(500):
            watch.failed(ItemError("too_small", "x"))
        return "went through"

    with pytest.raises(TooManyFailures):
        all_fail(FailureWatch(0.99))
    assert all_fail(FailureWatch(None)) == "went through"


def test_a_watch_stays_small_however_many_fail() -> None:
    """It travels with every shard."""
    watch, sizes = FailureWatch(None), []
    for _ in range(2):
        for _ in range(1000):
            watch.failed(ItemError("too_small", "x"))
        sizes.append(len(pickle.dumps(watch)))
    assert sizes[1] < sizes[0] + 100
