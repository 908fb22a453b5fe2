"""A picture that changes between plan and run, or while the run is under way."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import workers
from fault_table import FaultTable
from paintings import TINY, painting, write_paintings
from promise import check, computed

from flows.collection import prepare_run
from tasks.collection import Collection
from tasks.runfile import load_run_file

Change = Callable[[Path], object]


def in_place(path: Path) -> None:
    """Other pixels written into the same file."""
    other = path.with_name("other.tmp")
    painting(77).save(other, "PNG")
    with path.open("r+b") as file:
        file.write(other.read_bytes())
        file.truncate()
    other.unlink()


def replaced(path: Path) -> None:
    """Another file moved over it."""
    other = path.with_name("other.tmp")
    painting(77).save(other, "PNG")
    other.replace(path)


def prepared(tmp_path: Path, **more: object) -> Path:
    """A collection with a catalog that knows the pictures' digests, as `epa animate` makes it."""
    source = tmp_path / "in"
    settings = {
        f"{section}.{name}": value
        for section, values in TINY.items()
        for name, value in values.items()
        if not isinstance(value, dict)
    }
    prepare_run(str(source), str(tmp_path / "out"), {**settings, **more})
    return tmp_path / "out" / "run.yaml"


@pytest.mark.parametrize("change", [in_place, pytest.param(replaced, marks=pytest.mark.faults)])
def test_between_plan_and_run(tmp_path: Path, table: FaultTable, change: Change) -> None:
    write_paintings(tmp_path / "in", 3)
    file = prepared(tmp_path)
    change(tmp_path / "in" / "work-0001.png")
    trace = tmp_path / "trace"
    assert workers.ended(workers.start(file, EPA_FAULTS_TRACE=str(trace))) == 1
    outcome = check(file, trace)
    name = f"a picture {change.__name__.replace('_', ' ')} before the run"
    table.keep(name, outcome, 1, redone=0, states={"done": 2, "failed": 1})
    codes = Collection.open(load_run_file(str(file))).ledger.counts()
    assert codes["failed", "source_changed"] == 1
    # A catalog built anew takes the picture as it is now, and only that one is made.
    file = prepared(tmp_path)
    assert workers.ended(workers.start(file, EPA_FAULTS_TRACE=str(trace))) == 0
    outcome = check(file, trace)
    table.keep(f"{name}, catalog built anew", outcome, 1, redone=0)
    assert computed(trace).total() == 3


def test_while_the_run_is_under_way(tmp_path: Path, table: FaultTable) -> None:
    count = 12
    write_paintings(tmp_path / "in", count)
    file = prepared(tmp_path, **{"execution.keep": []})
    trace = tmp_path / "trace"
    process = workers.start(file, EPA_FAULTS_TRACE=str(trace), EPA_FAULTS_SLOW="0.2")
    while not list((tmp_path / "out" / "videos").rglob("video.mp4")):
        assert process.exitcode is None
        time.sleep(0.005)
    for number in range(count):
        replaced(tmp_path / "in" / f"work-{number:04d}.png")
    assert workers.ended(process) in (0, 1)
    outcome = check(file, trace)
    assert outcome.faults() == {}
    done = outcome.states.get("done", 0)
    # The first were made of the pictures that were planned, all others are refused.
    assert 0 < done < count
    states = {"done": done, "failed": count - done}
    table.keep("all pictures replaced during the run", outcome, 1, redone=0, states=states)


@pytest.mark.faults
@pytest.mark.server
def test_from_the_command_line(tmp_path: Path, table: FaultTable) -> None:
    source = write_paintings(tmp_path / "in", 3)
    env = workers.environment(
        PREFECT_HOME=str(tmp_path / "home"), PREFECT_SERVER_EPHEMERAL_ENABLED="true"
    )
    settings = ("model.num_frames=4", "prepare.area=1024", "execution.device=cpu")
    given = [word for setting in settings for word in ("--set", setting)]
    epa = Path(sys.executable).parent / "epa"
    command = [epa, "animate", str(source), "-o", str(tmp_path / "out")]
    for expected in (0, 0):
        done = subprocess.run(
            [*command, *given], env=env, capture_output=True, text=True, timeout=240
        )
        assert done.returncode == expected, done.stderr
        in_place(source / "work-0002.png")
    file = tmp_path / "out" / "run.yaml"
    outcome = check(file)
    table.keep("a picture changed between two `epa animate`", outcome, 1)
