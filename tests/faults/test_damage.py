"""Objects damaged at random between runs: never a wrong video, and all is made whole again."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
import workers
from fault_table import FaultTable
from promise import check

from catalogs import paths

RunFile = Callable[..., Path]
# Not the wishes to do works again: without one an earlier result counts again, by its row.
STATE = (paths.RECORDS, paths.MANIFEST, paths.SEALS)
KINDS = {"state": STATE, "cache": (paths.CACHE,), "videos": (paths.VIDEOS,)}


def truncate(path: Path, dice: random.Random) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: dice.randrange(len(data) or 1)])


def flip(path: Path, dice: random.Random) -> None:
    data = bytearray(path.read_bytes())
    if data:
        data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
    path.write_bytes(data)


def delete(path: Path, dice: random.Random) -> None:
    path.unlink()


def damage(out: Path, folders: tuple[str, ...], count: int, dice: random.Random) -> list[str]:
    """Do harm to ``count`` objects in some folders; what was done to which."""
    found = sorted(path for name in folders for path in (out / name).rglob("*") if path.is_file())
    chosen = dice.sample(found, min(count, len(found)))
    acts = [dice.choice((truncate, flip, delete)) for _ in chosen]
    for path, act in zip(chosen, acts, strict=True):
        act(path, dice)
    return [
        f"{act.__name__} {path.relative_to(out)}" for path, act in zip(chosen, acts, strict=True)
    ]


def mended(file: Path, log: Path) -> int:
    """What a person does about a damaged collection; how often the run had to be helped."""

    def epa(*words: object) -> int:
        log.write_text(f"{log.read_text() if log.exists() else ''}-- epa {words}\n")
        return workers.ended(workers.start(file, *words, log=log))

    out, helped = file.parent / "out", 0
    if epa("run", file) == 1:
        helped += 1
        assert epa("rebuild", out) == 0, log.read_text()
        assert epa("run", file) == 0, log.read_text()
    if epa("verify", out, "--deep", "--redo") == 1:
        helped += 1
        epa("rebuild", out)
        assert epa("run", file) == 0, log.read_text()
    assert epa("verify", out, "--deep") == 0, log.read_text()
    return helped


def rounds(file: Path, table: FaultTable, kinds: list[str], count: int, seed: int) -> None:
    """Damage and mend, again and again, one collection that also grows a little each time."""
    dice, out, log = random.Random(seed), file.parent / "out", file.parent / "log"
    assert workers.ended(workers.start(file, log=log)) == 0, log.read_text()
    harmed = 0
    for turn in range(count):
        done = damage(out, KINDS[kinds[turn % len(kinds)]], 1 + turn % 3, dice)
        harmed += len(done)
        log.write_text(f"-- {done}\n")
        mended(file, log)
        outcome = check(file)
        assert outcome.faults() == {}, (outcome, log.read_text())
    table.keep(f"objects damaged at random: {', '.join(kinds)}", outcome, harmed)


@pytest.mark.parametrize(
    "kind",
    [
        "state",
        pytest.param("cache", marks=pytest.mark.faults),
        pytest.param("videos", marks=pytest.mark.faults),
    ],
)
def test_some_damage(run_file: RunFile, table: FaultTable, kind: str) -> None:
    rounds(run_file(3), table, [kind], 2, seed=1)


@pytest.mark.faults
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", [2, 3])
def test_much_damage(run_file: RunFile, table: FaultTable, seed: int) -> None:
    file = run_file(12, execution={"shard_size": 2})
    rounds(file, table, ["state", "cache", "videos"], 24, seed=seed)
