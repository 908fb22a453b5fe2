"""Used-up main memory: batches halve, what does not fit alone is recorded and tried again."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from failing_works import no_memory, no_memory_in_cv2
from local_runner import run_locally
from paintings import tiny_run, write_paintings

from epa_core.models.preview import PreviewPipeline
from epa_core.proxies.preview import PreviewProxy

torch.set_num_threads(1)
SUPPORT = Path(__file__).parents[1] / "support"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits of address space as Linux has them")
def test_a_process_that_runs_out_of_memory_for_real(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(SUPPORT / "short_of_memory.py"), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=280,
        env={"PYTHONPATH": f"{SUPPORT.parents[1]}:{SUPPORT}", "OMP_NUM_THREADS": "1", "PATH": ""},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    runs: list[list[dict[str, Any]]] = [json.loads(line) for line in done.stdout.splitlines()]
    starved, *growing, again = runs
    assert len(starved) == 4
    for row in starved:
        assert (row["status"], row["code"], row["retryable"]) == ("failed", "host_oom", True)
    for rows in growing:
        assert len(rows) == 4
        assert {(row["status"], row["code"]) for row in rows} <= {
            ("failed", "host_oom"),
            ("done", None),
        }
    # The ladder: some were done, in smaller batches than asked for.
    assert {row["batch_size"] for row in growing[-1] if row["status"] == "done"} <= {1, 2}
    assert {(row["status"], row["attempt"]) for row in again} == {("done", 2)}


@pytest.mark.parametrize("error", [no_memory, MemoryError, no_memory_in_cv2])
@pytest.mark.parametrize(
    ("owner", "name", "paths", "most"),
    [
        (PreviewPipeline, "__call__", 2, 2),  # one painting with both of its paths
        (PreviewPipeline, "__call__", 2, 1),  # then one after the other
        (PreviewProxy, "make", 1, 1),
    ],
    ids=["videos", "paths", "proxies"],
)
def test_a_batch_too_large_for_the_machine_shrinks_in_both_passes(
    error: Any,
    owner: Any,
    name: str,
    paths: int,
    most: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole, sizes = getattr(owner, name), []

    def small(self: Any, *given: Any, **named: Any) -> Any:
        prompts = given[1] if given else named["prompt"]
        sizes.append(1 if isinstance(prompts, str) else len(prompts))
        if sizes[-1] > most:
            raise error()
        return whole(self, *given, **named)

    monkeypatch.setattr(owner, name, small)
    source = write_paintings(tmp_path / "in", 4)
    run = tiny_run(source, tmp_path / "out", execution={"batch_size": 4, "queue_depth": 8})
    summary, _ = run_locally(run)
    assert summary.counts == {"done": 4}, summary.codes
    assert max(sizes) == 4 * paths
    assert {2 * paths, paths, most} <= set(sizes)


def test_a_picture_that_does_not_fit_is_tried_again_by_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Decoding is no batch: there is nothing to halve, but another moment may have room."""
    from epa_core.media import images

    decode, calls = images._to_rgb, []

    def starved(image: Any) -> Any:
        calls.append(image)
        if len(calls) == 1:
            raise OSError("out of memory error when reading image file")
        return decode(image)

    monkeypatch.setattr(images, "_to_rgb", starved)
    run = tiny_run(write_paintings(tmp_path / "in", 2), tmp_path / "out")
    assert run_locally(run)[0].codes == {"host_oom": 1}
    assert run_locally(run)[0].counts == {"done": 2}
