"""The sample catalog: six works drawn by the code itself, for demonstrations and tests.

Each is painted as a painter would lay it in: areas of colour, then thousands of brush strokes
that follow the forms and take their colour from what lies under them, then a canvas grain.
Everything derives from fixed seeds; nothing is read from anywhere.
"""

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from catalogs.sample_indoors import composition, flowers, reader
from catalogs.sample_outdoors import night, poplar, seascape

ARTIST = "epa sample"
COLUMNS = ("file_name", "title", "artist", "year", "style", "genre", "prompt")


@dataclass(frozen=True)
class Work:
    """One work of the sample: its catalog row and the function that draws it."""

    file_name: str
    title: str
    style: str
    genre: str
    prompt: str
    draw: Callable[[], Image.Image]


WORKS = (
    Work(
        "boats-under-a-wide-sky.jpg",
        "Boats under a Wide Sky",
        "Impressionism",
        "marina",
        "The waves roll and the clouds drift to the right",
        seascape,
    ),
    Work(
        "night-over-the-hills.jpg",
        "Night over the Hills",
        "Post_Impressionism",
        "landscape",
        "The stars flicker and the night sky swirls",
        night,
    ),
    Work(
        "flowers-in-a-blue-vase.jpg",
        "Flowers in a Blue Vase",
        "Post_Impressionism",
        "flower painting",
        "The bouquet sways gently",
        flowers,
    ),
    Work(
        "poplar-in-the-wind.jpg",
        "Poplar in the Wind",
        "Impressionism",
        "landscape",
        "The leaves flutter in the wind",
        poplar,
    ),
    Work(
        "reader-in-a-green-robe.jpg",
        "Reader in a Green Robe",
        "Realism",
        "portrait",
        "The figure breathes and sways slowly",
        reader,
    ),
    Work(
        "composition-with-two-discs.jpg",
        "Composition with Two Discs",
        "Abstract Art",
        "abstract",
        "",
        composition,
    ),
)


def write_sample(folder: str | Path) -> Path:
    """Draw the six works and their `metadata.csv` into a folder, made where missing; return it.

    The files are the same at every call (JPEG, about 900 px on the longer side).
    """
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    for work in WORKS:
        work.draw().save(target / work.file_name, quality=92, subsampling=0)
    with (target / "metadata.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for work in WORKS:
            row = (work.file_name, work.title, ARTIST, 2025, work.style, work.genre, work.prompt)
            writer.writerow(row)
    return target
