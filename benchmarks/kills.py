"""SIGKILL at 30 random moments of a 180-work run."""

from __future__ import annotations

from pathlib import Path

import kills
import yaml
from paintings import TINY, write_paintings

WORKS, KILLS = 180, 30


def run(folder: Path) -> list[tuple[str, str, str]]:
    """Works lost, works recorded twice, damaged files, computations made again."""
    folder = folder.resolve()
    write_paintings(folder / "in", WORKS, width=64, height=64)
    # Heavier than in the tests: a run must last long enough to be killed thirty times.
    tree = {
        **TINY,
        "catalog": "in",
        "output": "out",
        "prepare": {"area": 4096},
        "model": {"num_frames": 16},
        "distill": {"num_inference_steps": 50},
        "animate": {"num_inference_steps": 50},
        "execution": {**TINY["execution"], "batch_size": 1, "shard_size": 16},
    }
    (folder / "RUN.yaml").write_text(yaml.safe_dump(tree))
    outcome, killed = kills.kill_and_resume(folder / "RUN.yaml", KILLS, seed=1)
    return [
        ("kills", str(killed), str(KILLS)),
        ("works lost", str(outcome.lost), "0"),
        ("works recorded twice", str(outcome.duplicates), "0"),
        ("damaged files", str(outcome.damaged), "0"),
        ("works done", str(outcome.states.get("done", 0)), str(WORKS)),
        (
            "computed again",
            f"{outcome.redone} ({outcome.redone / max(1, killed):.1f} a kill)",
            f"at most those in flight ({kills.IN_FLIGHT} a kill)",
        ),
    ]
