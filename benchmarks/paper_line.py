"""The paper's model through the line: a run file in one process, with clocks on its networks.

`python -m benchmarks.paper_line RUN.yaml PAUSE_EVERY FOLDER` stops before every so many paintings,
says "pause" and waits for a line, so that other processes can be timed between. It prints what it
saw as JSON, and leaves each painting's frames in FOLDER.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from local_runner import run_locally

import epa_core.cards as cards
from benchmarks import paper_weights as paper
from epa_core.models.animate_anything_unet import MaskedMotionUNet3D
from tasks import animate_pass
from tasks.commit import commit_done
from tasks.compute import compute_batch
from tasks.runfile import load_run_file

Span = tuple[float, float]


class Watch:
    """When the networks computed, when works were recorded, when all stood still."""

    def __init__(self, folder: Path, pause_every: int):
        self.folder, self.pause_every = folder, pause_every
        self.calls: dict[str, list[Span]] = {"unet": [], "encode": [], "decode": []}
        self.records: list[float] = []
        self.pauses: list[Span] = []
        self.batches = 0
        self.seconds: dict[str, float] = {}

    def install(self) -> None:
        """Put the clocks on."""
        self._clock("unet", MaskedMotionUNet3D, "forward")
        self._clock("encode", AutoencoderKL, "encode")
        self._clock("decode", AutoencoderKL, "decode")
        animate_pass.commit_done = self._commit
        animate_pass.compute_batch = self._compute

    def summary(self) -> dict[str, Any]:
        """Seconds between the first and the last record, and where they went."""
        window = self.records[0], self.records[-1]
        paused = _within(self.pauses, window)
        inside = {name: _within(spans, window) for name, spans in self.calls.items()}
        calls = sorted(end - start for start, end in self.calls["unet"])
        return {
            "window": window[1] - window[0] - paused,
            "works": len(self.records) - 1,
            "inside": inside,
            "unet_call": calls[len(calls) // 2],
            "paused": sum(end - start for start, end in self.pauses),
            "seconds": self.seconds,
        }

    def _clock(self, name: str, owner: Any, attribute: str) -> None:
        function: Callable[..., Any] = getattr(owner, attribute)

        @wraps(function)
        def timed(*arguments: Any, **options: Any) -> Any:
            start = _now()
            try:
                return function(*arguments, **options)
            finally:
                self.calls[name].append((start, _now()))

        setattr(owner, attribute, timed)

    def _compute(self, shard: Any, entries: list[Any]) -> list[Any]:
        if self.batches and self.batches % self.pause_every == 0:
            while len(self.records) < self.batches:  # the encoder must not work on unseen
                time.sleep(0.005)
            start = time.perf_counter()
            print("pause", flush=True)
            sys.stdin.readline()
            self.pauses.append((start, time.perf_counter()))
        self.batches += len(entries)
        return compute_batch(shard, entries)

    def _commit(self, shard: Any, entry: Any) -> None:
        frames = entry.frames
        commit_done(shard, entry)
        self.records.append(time.perf_counter())
        np.save(self.folder / f"{Path(entry.job.row['image_uri']).stem}.npy", frames)
        for name, value in entry.seconds.items():
            self.seconds[name] = self.seconds.get(name, 0.0) + value


def _now() -> float:
    if paper.on_gpu():
        torch.cuda.synchronize()
    return time.perf_counter()


def _within(spans: list[Span], window: Span) -> float:
    return sum(max(0.0, min(end, window[1]) - max(start, window[0])) for start, end in spans)


def main(run_file: str, pause_every: str, folder: str) -> None:
    """Animate the run file's catalog."""
    paper.use_threads()
    if paper.on_gpu():
        cards.load_model = lambda name, source, **how: paper.load(source)
    watch = Watch(Path(folder), int(pause_every))
    watch.install()
    summary, _ = run_locally(load_run_file(run_file))
    print(json.dumps({"counts": summary.counts, **watch.summary()}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
