"""WikiArt as the ArtGAN lists describe it: style, genre and artist lists joined by file name."""

from __future__ import annotations

import hashlib
import os
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from catalogs.addresses import absolute
from catalogs.builders.columns import artist as artist_of
from catalogs.builders.names import canonical, parse_stem, repair_text
from catalogs.errors import ConfigError
from catalogs.validation import BuildResult, ValidationReport, finish, paused_collector

BUILDER_VERSION = "1"
TERMS = "WikiArt data set: non-commercial research only"
# A dated work this far from its artist's median is dated by its subject.
_FAR_YEARS = 70
_ENOUGH_DATED = 5
_TASKS = {
    "style": ("Style", "style_class.txt", "style_{}.csv"),
    "genre": ("Genre", "genre_class", "genre_{}.csv"),
    "artist": ("Artist", "artist_class", "artist_{}"),
}
_SPLITS = ("train", "val")
_SPLIT_NAMES = {task: f"{task}_split" for task in _TASKS}


@dataclass
class WikiArtWork:
    """One image file of the data set with what the lists and its name say."""

    file: str
    paths: list[str] = field(default_factory=list)
    artist_slug: str | None = None
    title_slug: str = ""
    title: str | None = None
    year: int | None = None
    index: int | None = None
    copy: int | None = None
    styles: list[str] = field(default_factory=list)
    genre_labels: list[str] = field(default_factory=list)
    artist_labels: list[str] = field(default_factory=list)
    splits: dict[str, set[str]] = field(default_factory=dict)
    repaired: bool = False

    @property
    def genre(self) -> str | None:
        """The first genre the lists give; they give it for one of a work's two folders only."""
        return self.genre_labels[0] if self.genre_labels else None

    @property
    def id(self) -> str:
        """An id from the file name alone: it survives re-sorting and a move to another folder."""
        return "wikiart:" + hashlib.sha256(self.file.encode("utf-8")).hexdigest()[:16]


@paused_collector()
def build_wikiart(
    lists: str | Path, images: str | Path | None = None, *, revision: str | None = None
) -> BuildResult:
    """Catalog of the works in the folder of ArtGAN lists (Style, and Genre and Artist if there).

    `images` is the root of the unpacked images: in a local folder each file is looked up in the
    spellings that unzip tools leave behind; below a URL the lists' paths are taken as they are.
    Without it, image_uri is the path inside the data set. Raises ConfigError for missing lists.
    """
    folder = Path(lists).expanduser()
    report = ValidationReport(source=f"{folder} (WikiArt)")
    works = read_works(folder, report)
    places = _Places(images)
    doubtful = _doubtful_years(works)
    rows = (_row(work, places, report, work.file in doubtful, revision) for work in works)
    _summarise(works, len(doubtful), report)
    metadata = {"source": "wikiart", "builder_version": BUILDER_VERSION}
    if revision:
        metadata["source_revision"] = revision
    metadata |= {f"sha256:{path.name}": _sha256(path) for path in _list_files(folder)}
    return finish(rows, report, metadata)


def read_works(folder: Path, report: ValidationReport) -> list[WikiArtWork]:
    """The lists joined by file name, in order of the file names; counts list rows in the report.

    By file name, because 1,349 works lie in two style folders and have a genre in one of them only.
    """
    if not (folder / "Style").is_dir():
        raise ConfigError(
            f"{folder}: no ArtGAN lists here; a folder Style with its CSVs is needed."
        )
    works: dict[str, WikiArtWork] = {}
    for task in _TASKS:
        for path, label, split in _labels(folder, task, report):
            if not path.endswith(".jpg"):  # some copies of the artist lists leave it out
                path += ".jpg"
            name = path.rpartition("/")[2]
            if task == "style":
                report.rows_in += 1
                work = works.setdefault(name, WikiArtWork(name))
                _add(work.paths, path)
                _add(work.styles, label)
            elif name in works:
                work = works[name]
                _add(work.genre_labels if task == "genre" else work.artist_labels, label)
            else:
                report.drop(f"{task}_without_style", path)
                continue
            work.splits.setdefault(task, set()).add(split)
    for work in works.values():
        _parse(work)
    return [works[name] for name in sorted(works)]


def _add(values: list[str], value: str) -> None:
    if value not in values:
        values.append(value)


def _labels(folder: Path, task: str, report: ValidationReport) -> Iterator[tuple[str, str, str]]:
    """(path, class name, split) of each line of a task's lists; the artist list has headers."""
    subfolder, class_file, pattern = _TASKS[task]
    files = [(split, folder / subfolder / pattern.format(split)) for split in _SPLITS]
    if task != "style" and not any(path.is_file() for _, path in files):
        report.notes.append(f"no {task} lists in {folder}")
        return
    classes = dict(_classes(folder / subfolder / class_file))
    for split, path in files:
        for line in _read_lines(path):
            name, _, number = line.rpartition(",")
            name = name.rstrip(",").strip()
            if number.strip() in classes and "/" in name:
                yield name, classes[number.strip()], split
            elif not line.startswith("(Path to image)"):
                report.drop("malformed_line", f"{path.name}: {line}")


def _classes(path: Path) -> Iterator[tuple[str, str]]:
    for line in _read_lines(path):
        number, _, name = line.partition(" ")
        yield number, name.strip()


def _read_lines(path: Path) -> list[str]:
    try:
        content = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{path}: this list is missing or unreadable.") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: this list is not UTF-8 text.") from error
    # Not splitlines(): it would also split at U+0085, which damaged names may hold.
    lines = (line.rstrip("\r") for line in content.split("\n"))
    return [line for line in lines if line.strip()]


def _list_files(folder: Path) -> list[Path]:
    found = []
    for subfolder, class_file, pattern in _TASKS.values():
        names = [class_file, *(pattern.format(split) for split in _SPLITS)]
        found += [path for name in names if (path := folder / subfolder / name).is_file()]
    return found


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _parse(work: WikiArtWork) -> None:
    parsed = parse_stem(work.file.removesuffix(".jpg"))
    raw = parsed.artist_slug
    work.artist_slug = repair_text(raw) if raw else None
    work.repaired = work.artist_slug != raw
    work.title_slug, work.title = parsed.title_slug, parsed.title
    work.year, work.index, work.copy = parsed.year, parsed.index, parsed.copy
    work.paths.sort()
    work.styles.sort()


def _doubtful_years(works: Iterable[WikiArtWork]) -> set[str]:
    """Files dated more than 70 years from the median of an artist with five or more dated works."""
    dated: dict[str | None, list[WikiArtWork]] = defaultdict(list)
    for work in works:
        if work.year is not None:
            dated[work.artist_slug].append(work)
    doubtful = set()
    for group in dated.values():
        if len(group) >= _ENOUGH_DATED:
            middle = statistics.median(work.year or 0 for work in group)
            doubtful |= {w.file for w in group if abs((w.year or 0) - middle) > _FAR_YEARS}
    return doubtful


class _Places:
    """Where the image of a work lies below the root."""

    def __init__(self, root: str | Path | None) -> None:
        self.root = str(root) if root is not None else None
        self.is_local = self.root is not None and "://" not in self.root
        self.folders: dict[str, dict[str, os.DirEntry[str]]] = {}
        if self.is_local:
            base = absolute(str(self.root))
            if not base.is_dir():
                raise ConfigError(f"{base}: this folder of images does not exist.")
            self.root = str(base)

    def find(self, work: WikiArtWork) -> tuple[str, int | None]:
        """(image_uri, bytes); bytes are null where the file is not there or was not looked up."""
        for path in work.paths:
            entry = self._entry(*path.rsplit("/", 1)) if self.is_local else None
            if entry is not None:
                return entry.path, entry.stat().st_size
        first = work.paths[0]
        return (f"{self.root.rstrip('/')}/{first}" if self.root else first), None

    def _entry(self, folder: str, name: str) -> os.DirEntry[str] | None:
        if folder not in self.folders:
            place = Path(str(self.root)) / folder
            entries = list(os.scandir(place)) if place.is_dir() else []
            # The name itself first, then what NFC, NFD or a repaired spelling of it leads to.
            spelled = {canonical(entry.name): entry for entry in entries}
            self.folders[folder] = spelled | {entry.name: entry for entry in entries}
        known = self.folders[folder]
        return known.get(name) or known.get(canonical(name))


def _row(
    work: WikiArtWork,
    places: _Places,
    report: ValidationReport,
    doubtful: bool,
    revision: str | None,
) -> dict[str, Any]:
    uri, size = places.find(work)
    if places.is_local and size is None:
        report.flag("missing_file", uri)
    splits = work.splits["style"]
    artists = [artist_of(work.artist_slug)] if work.artist_slug else None
    return {
        "id": work.id,
        "source": "wikiart",
        "source_id": work.file,
        "source_revision": revision,
        "image_uri": uri,
        "image_bytes": size,
        "title": work.title,
        "artist": artists[0]["name"] if artists else None,
        "artists": artists,
        "year_begin": work.year,
        "year_end": work.year,
        "year_text": None if work.year is None else str(work.year),
        "year_confidence": None if work.year is None else "low" if doubtful else "normal",
        "styles": work.styles,
        "genres": work.genre_labels or None,
        "genre": work.genre,
        "source_terms": TERMS,
        # A file may be in train under one style and in val under another: then it is in neither.
        "split": next(iter(splits)) if len(splits) == 1 else None,
        "extra": _extra(work),
    }


def _extra(work: WikiArtWork) -> list[tuple[str, str]]:
    extra = {_SPLIT_NAMES[task]: _joined(found) for task, found in work.splits.items()}
    if len(work.paths) > 1:
        extra["paths"] = "|".join(work.paths)
    for name in ("index", "copy"):
        if getattr(work, name) is not None:
            extra[name] = str(getattr(work, name))
    if work.artist_labels:
        extra["artist_label"] = "|".join(work.artist_labels)
    return list(extra.items())


def _joined(splits: set[str]) -> str:
    return next(iter(splits)) if len(splits) == 1 else "+".join(sorted(splits))


def _summarise(works: list[WikiArtWork], doubtful: int, report: ValidationReport) -> None:
    differing = sum(
        1
        for work in works
        for label in work.artist_labels
        if label.lower().replace("_", "-") != work.artist_slug
    )
    report.counts |= {
        "rows of the style lists": report.rows_in,
        "distinct works": len(works),
        "works in two style folders": sum(len(work.paths) > 1 for work in works),
        "works in both train and val": sum(len(work.splits["style"]) > 1 for work in works),
        "artists": len({work.artist_slug for work in works}),
        "artist names repaired (list rows)": sum(len(w.paths) for w in works if w.repaired),
        "works with a year": sum(work.year is not None for work in works),
        "years doubtful": doubtful,
        "works with a genre": sum(bool(work.genre_labels) for work in works),
        "works with two genres": sum(len(work.genre_labels) > 1 for work in works),
        "artist labels that differ from the name": differing,
    }
    styles = Counter(path.partition("/")[0] for work in works for path in work.paths)
    report.notes.append("style folders: " + ", ".join(f"{k} {n}" for k, n in styles.most_common()))
    genres = Counter(label for work in works for label in work.genre_labels)
    report.notes.append("genres: " + ", ".join(f"{k} {n}" for k, n in genres.most_common()))
