"""Malformed pictures of all formats: each ends in one known state, soon, and harms no neighbour."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from fault_table import FaultTable
from malformed import NEIGHBOURS, malformed

from catalogs.codes import CODES, kind

SUPPORT = Path(__file__).parents[1] / "support"
# Odd, but whole enough to be read: what is wrong lies behind the picture or does not matter.
MAY_BE_READ = {"frames.png", "itself.tif", "loop.jpg", "many-frames.gif", "orientations.jpg"}
MAY_BE_READ |= {"zero.gif", "noise.bmp", "noise.jp2", "noise.ppm", "doubled.bmp", "doubled.gif"}
MAY_BE_READ |= {"doubled.jpg", "doubled.ppm"}
# Of bombs the code itself is promised: they must not get as far as a decoder.
BOMBS = {name for name in malformed() if name.startswith(("bomb.", "frame-bomb"))}
BOMBS |= {"text.png", "itext.png", "texts.png", "profile.png", "chunks.png", "segments.jpg"}
BOMBS |= {"junk.jpg", "exif.jpg", "scans.jpg", "comments.gif", "comment.gif", "junk.gif"}
BOMBS |= {"boxes.jp2", "markers.jp2", "comment.ppm", "comments.ppm", "strips.tif", "tile.tif"}
BOMBS |= {"rationals.tif", "big.tif"}


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a run over all of them came to, in a process whose memory is watched."""
    folder = tmp_path_factory.mktemp("malformed")
    done = subprocess.run(
        [sys.executable, str(SUPPORT / "malformed.py"), str(folder / "run")],
        capture_output=True,
        text=True,
        timeout=280,
        env={"PYTHONPATH": f"{SUPPORT.parents[1]}:{SUPPORT}", "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_they_are_many() -> None:
    assert len(malformed()) >= 60
    assert len({name.rpartition(".")[2] for name in malformed()}) >= 9


def test_every_work_has_exactly_one_state(result: dict[str, Any], table: FaultTable) -> None:
    states = Counter(work["status"] for work in result["works"])
    table.count("malformed pictures", len(result["names"]), states)
    assert sorted(work["item_id"] for work in result["works"]) == sorted(result["names"])


def test_every_failure_has_a_code_of_the_data_s_own(result: dict[str, Any]) -> None:
    failed = [work for work in result["works"] if work["status"] != "done"]
    assert len(failed) > 100
    for work in failed:
        assert work["status"] == "failed"
        assert work["code"] in CODES
        assert kind(work["code"]) == "data", work
        assert work["message"]
        assert not work["retryable"]


def test_only_what_is_whole_enough_becomes_a_video(result: dict[str, Any]) -> None:
    read = {work["item_id"] for work in result["works"] if work["status"] == "done"}
    assert {name for name in read if not name.startswith("good-")} <= MAY_BE_READ


def test_bombs_are_refused_as_too_large(result: dict[str, Any]) -> None:
    codes = {work["item_id"]: work["code"] for work in result["works"]}
    assert {codes[name] for name in BOMBS} == {"too_large"}


def test_good_neighbours_become_videos(result: dict[str, Any]) -> None:
    good = [work for work in result["works"] if work["item_id"].startswith("good-")]
    assert [work["status"] for work in good] == ["done"] * NEIGHBOURS


def test_none_takes_long_or_much(result: dict[str, Any]) -> None:
    for work in result["works"]:
        assert (work["t_prepare"] or 0) < 5, work
    assert result["seconds"] < 90
    assert result["grown"] < 512 << 20
