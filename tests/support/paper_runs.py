"""Runs of the paper's model and proxy at toy size, on tiny weights in their released layouts."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from paintings import painting, tiny_run
from tiny_animate_anything import write_released_checkpoint
from tiny_proxies import write_refiner

from tasks.collection import Collection


def write_paper_weights(folder: Path, **unet_config: Any) -> dict[str, Path]:
    """Folders of the model and the proxy; ``unet_config`` goes into the model's."""
    return {
        "model": write_released_checkpoint(folder / "animate_anything", **unet_config),
        "proxy": write_refiner(folder / "refiner"),
    }


def write_works(folder: Path, rows: list[dict[str, str]]) -> Path:
    """One 48x32 painting (the same) per row, and a metadata.csv with the rows' columns.

    Masks and proxies are names in the folder beside it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with (folder / "metadata.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["id", "file_name", *columns], restval="")
        writer.writeheader()
        for number, row in enumerate(rows):
            painting(0, 48, 32).save(folder / f"work-{number}.png")
            beside = {k: str(folder.parent / row[k]) for k in ("mask", "proxy") if k in row}
            names = {"id": f"work-{number}", "file_name": f"work-{number}.png"}
            writer.writerow({**names, **row, **beside})
    return folder


def run_of(source: Path, out: Path, weights: dict[str, Path], **settings: Any) -> Any:
    """The paper's preset at toy size."""
    base: dict[str, Any] = {
        "preset": "paper",
        "model": {"source": str(weights["model"]), "dtype": "float32", "num_frames": 3},
        "prepare": {"area": 1024},
        "proxy": {
            "source": str(weights["proxy"]),
            "dtype": "float32",
            "area": 4096,
            "num_inference_steps": 4,
        },
        "distill": {"num_inference_steps": 3},
        "animate": {"num_inference_steps": 3},
    }
    return tiny_run(source, out, **(base | settings))


def rows_of(collection: Collection) -> dict[str, dict[str, Any]]:
    """Manifest rows by their work."""
    return {row["item_id"]: row for row in collection.ledger.table().to_pylist()}
