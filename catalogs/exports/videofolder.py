"""A dataset for `datasets.load_dataset("videofolder", data_dir=...)` and for the Hugging Face hub.

Videos are called by their key, in 256 folders: the library takes a name with "train" or "test" in
it for a split, and the hub wants no more than 10,000 files in a folder. Each split has a folder
with its own `metadata.jsonl`, since every row of one is taken for a work of the split it lies in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from catalogs.exports.copying import Outcome
from catalogs.exports.loose import Placed, copy_works, lines
from catalogs.exports.target import CARD, Target
from catalogs.exports.works import POSTER, PREVIEW, VIDEO, Work
from catalogs.safe_text import as_json
from catalogs.store import Store

NAME = "videofolder"
DATA = "data"
METADATA = "metadata.jsonl"
# What catalogs call splits -> the names the library finds by itself in folders.
SPLITS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}
# File of a work -> its folder and ending. Pictures lie beside `data`, where only videos are.
_PLACES = {VIDEO: (DATA, "mp4"), POSTER: ("posters", "jpg"), PREVIEW: ("previews", "webp")}


def splits_of(works: Iterable[Work]) -> list[str | None]:
    """The split of each work; all None unless every work has one that the library knows."""
    found = [SPLITS.get((work.split or "").strip().lower()) for work in works]
    return found if all(found) else [None] * len(found)


def place(works: Sequence[Work]) -> list[Placed]:
    """Where the files of each work go."""
    return [
        Placed(work, tuple(_path(work.key, file.name, split) for file in work.files))
        for work, split in zip(works, splits_of(works), strict=True)
    ]


def _path(key: str, name: str, split: str | None) -> str:
    folder, ending = _PLACES[name]
    below = f"/{split}" if split and folder == DATA else ""
    return f"{folder}{below}/{key[:2]}/{key}.{ending}"


def export(
    source: Store,
    target: Target,
    works: Sequence[Work],
    card: Callable[[Sequence[Work], Mapping[str, str]], str],
    *,
    link: bool = False,
    on_work: Callable[[], object] = lambda: None,
) -> Outcome:
    """Write the dataset; `card` makes its README of the works and split -> pattern."""
    outcome, there = copy_works(source, target, place(works), link=link, on_work=on_work)
    by_folder: dict[str, list[Placed]] = {}
    for one in there:
        by_folder.setdefault(one.paths[0].rsplit("/", 2)[0], []).append(one)
    documents = {
        f"{folder}/{METADATA}": _metadata(folder, by_folder[folder]) for folder in by_folder
    }
    patterns = {folder.partition("/")[2] or "train": f"{folder}/**" for folder in sorted(by_folder)}
    documents[CARD] = card([one.work for one in there], patterns).encode()
    outcome.notes += target.finish(documents, complete=not outcome.left_out)
    return outcome


def _metadata(folder: str, placed: Sequence[Placed]) -> bytes:
    """A line for each work, one that has what others lack before them.

    The library takes a column's type from the first lines it reads and fails on another later, so
    that a column of a large collection must not begin with thousands of nulls.
    """
    first: dict[int, None] = {}
    known: set[str] = set()
    for index, one in enumerate(placed):
        fresh = {name for name, value in _row(folder, one).items() if value not in (None, [])}
        if fresh - known:
            known |= fresh
            first[index] = None
    order = [*first, *(index for index in range(len(placed)) if index not in first)]
    return lines(as_json(_row(folder, placed[index])).encode() for index in order)


def _row(folder: str, placed: Placed) -> dict[str, Any]:
    paths = {file.name: path for file, path in zip(placed.work.files, placed.paths, strict=True)}
    row: dict[str, Any] = {"file_name": paths[VIDEO][len(folder) + 1 :], **placed.work.told()}
    # Not `poster_file_name`: the library would take the picture for a video.
    named = {"poster": paths.get(POSTER), "preview": paths.get(PREVIEW)}
    return row | {name: path for name, path in named.items() if path}
