"""Every path under a collection's root, in one place.

| path | what lies there | written |
|---|---|---|
| `run.yaml` | the run's configuration | by `epa animate` / `epa init` |
| `catalog/catalog.parquet`, `catalog/report.json` | the works, how they were read | replaced |
| `cache/<stage>/<k2>/<key>.<ext>` | a stage's result, named by its key; disposable | replaced |
| `videos/<slug>/<key12>-<digest12>/<name>` | the outputs of one work | once |
| `records/<shard>/<key>.<attempt>.json` | the commit of one attempt at one work | create-only |
| `manifest/parts/<shard>.<digest>.parquet` | the records of a sealed shard | once |
| `manifest/snapshots/<seq>.parquet` | all rows so far (compaction) | create-only |
| `manifest/HEAD/<seq>.json` | which snapshot counts and what it covers | create-only |
| `seals/<plan_key>/<shard>.json`, `.../ALL.json` | shard, or plan, is finished | create-only |
| `leases/<shard>.<epoch>.json` | who works on a shard, and on which works | rewritten |
| `crashes/<key>.<death>.json` | a work was in flight when a worker died | create-only |
| `retries/<seq>.json` | keys to be tried again: they failed, or files are lost | create-only |
| `reviews/<seq>.json` | what a curator decided about works | create-only |
| `damaged/<path>` | what `epa rebuild` has moved aside | create-only |
| `runs/<run_id>/<name>` | configuration, plan, summary and report of one run | replaced |
| `index.html`, `gallery/<name>` | the page beside the videos | replaced |
| `report.html`, `report.md` | what came out, in numbers | replaced |

All paths are relative and posix. Nothing that comes from a catalog enters a path unescaped: item
ids pass through `item_slug`, every other part is checked to be one plain component.
"""

import re
from pathlib import PurePosixPath
from typing import NamedTuple

from catalogs.keys import Digest, ItemId, StageKey, item_slug

RUN_FILE = "run.yaml"
CATALOG = "catalog/catalog.parquet"
CATALOG_REPORT = "catalog/report.json"
INDEX = "index.html"
GALLERY = "gallery"
REPORT = "report.html"
REPORT_TEXT = "report.md"
REPORT_FIGURES = "report.json"  # of one run, beside its copies of the two
CACHE = "cache"
VIDEOS = "videos"
RECORDS = "records"
MANIFEST = "manifest"
PARTS = "manifest/parts"
SNAPSHOTS = "manifest/snapshots"
HEADS = "manifest/HEAD"
SEALS = "seals"
RETRIES = "retries"
REVIEWS = "reviews"
LEASES = "leases"
CRASHES = "crashes"
RUNS = "runs"
DAMAGED = "damaged"
WRITE_CHECK = "runs/write-check"

_COMPONENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,254}")
_RECORD = re.compile(rf"{RECORDS}/(?P<shard>[^/]+)/(?P<key>[^/.]+)\.(?P<attempt>\d+)\.json")

_LEASE = re.compile(rf"{LEASES}/(?P<shard>[^/.]+)\.(?P<epoch>\d+)\.json")
_OUTPUT = re.compile(
    rf"(?P<folder>{VIDEOS}/[^/]+/(?P<key>[0-9a-f]{{12}})-(?P<digest>[0-9a-f]{{12}}))/(?P<name>[^/]+)"
)
_REVIEW = re.compile(rf"{REVIEWS}/(?P<seq>\d{{8,}})\.json")
_CRASH = re.compile(rf"{CRASHES}/(?P<key>[^/.]+)\.[^/.]+\.json")


def _component(text: str) -> str:
    """Give back `text` when it is one plain path component; ValueError otherwise."""
    if not _COMPONENT.fullmatch(text):
        raise ValueError(f"{text!r} is no plain path component")
    return text


def cache_object(stage: str, key: StageKey | str, ext: str) -> str:
    """Path of a stage's cached result; `ext` comes without its dot."""
    _component(key)
    return f"{CACHE}/{_component(stage)}/{key[:2]}/{key}.{_component(ext)}"


def output_folder(
    item_id: ItemId | str, key: StageKey | str, digest: Digest | str, *, label: str = ""
) -> str:
    """Folder of one result's files: named by item, key and content, so no two attempts share it.

    `label` (artist and title) makes the name readable; it never decides which item it is.
    """
    name = item_slug(item_id, label)
    return f"{VIDEOS}/{name}/{_component(key)[:12]}-{_component(digest)[:12]}"


def output(
    item_id: ItemId | str, key: StageKey | str, digest: Digest | str, name: str, *, label: str = ""
) -> str:
    """Path of one output file (`video.mp4`, `preview.webp`, `poster.jpg`, `frames.mkv`)."""
    return f"{output_folder(item_id, key, digest, label=label)}/{_component(name)}"


class OutputName(NamedTuple):
    """What the path of an output tells: its folder, the first 12 digits of key and digest."""

    folder: str
    key: str
    digest: str
    name: str


def parse_output(path: str) -> OutputName | None:
    """Parts of an output file's path; None for any other path."""
    match = _OUTPUT.fullmatch(path)
    return None if match is None else OutputName(**match.groupdict())


def records(shard_id: str | None = None) -> str:
    """Folder of all records, or of one shard's."""
    return RECORDS if shard_id is None else f"{RECORDS}/{_component(shard_id)}"


def record(shard_id: str, key: StageKey | str, attempt: int) -> str:
    """Path of the record of one attempt (from 1) at one work."""
    if attempt < 1:
        raise ValueError(f"attempt is {attempt}; attempts count from 1")
    return f"{RECORDS}/{_component(shard_id)}/{_component(key)}.{attempt}.json"


def parse_record(path: str) -> tuple[str, StageKey, int] | None:
    """Shard, key and attempt of a record's path; None for any other path."""
    match = _RECORD.fullmatch(path)
    if match is None:
        return None
    return match["shard"], StageKey(match["key"]), int(match["attempt"])


def manifest_part(shard_id: str, digest: Digest | str) -> str:
    """Path of a sealed shard's rows, named by their content."""
    return f"{PARTS}/{_component(shard_id)}.{_component(digest)[:16]}.parquet"


def snapshot(seq: int) -> str:
    """Path of the numbered snapshot of all rows."""
    return f"{SNAPSHOTS}/{_sequence(seq)}.parquet"


def head(seq: int) -> str:
    """Path of the numbered object that makes a snapshot valid."""
    return f"{HEADS}/{_sequence(seq)}.json"


def retry(seq: int) -> str:
    """Path of the numbered wish to try failed keys again."""
    return f"{RETRIES}/{_sequence(seq)}.json"


def review(seq: int) -> str:
    """Path of the numbered review: decisions about works, in the order they were taken in."""
    return f"{REVIEWS}/{_sequence(seq)}.json"


def parse_review(path: str) -> int | None:
    """Number of a review's path; None for any other path."""
    match = _REVIEW.fullmatch(path)
    return None if match is None else int(match["seq"])


def sequence_of(path: str) -> int:
    """Number in the name of a snapshot, HEAD or retry; ValueError for any other name."""
    return int(PurePosixPath(path).name.split(".")[0])


def _sequence(seq: int) -> str:
    """Fixed width, so that names sort as numbers do."""
    return f"{seq:08d}"


def seals(plan_key: str) -> str:
    """Folder of a plan's seals."""
    return f"{SEALS}/{_component(plan_key)}"


def seal(plan_key: str, shard_id: str) -> str:
    """Path of one shard's seal under a plan."""
    return f"{seals(plan_key)}/{_component(shard_id)}.json"


def seal_all(plan_key: str) -> str:
    """Path of the seal of a whole plan; no shard is called ALL."""
    return f"{seals(plan_key)}/ALL.json"


def lease(shard_id: str, epoch: int) -> str:
    """Path of the lease of a shard; every taking over has the next epoch (from 0)."""
    return f"{LEASES}/{_component(shard_id)}.{epoch}.json"


def parse_lease(path: str) -> tuple[str, int] | None:
    """Shard and epoch of a lease's path; None for any other path."""
    match = _LEASE.fullmatch(path)
    return None if match is None else (match["shard"], int(match["epoch"]))


def crash(key: StageKey | str, death: str) -> str:
    """Path of the fact that a work was in flight at a certain death."""
    return f"{CRASHES}/{_component(key)}.{_component(death)}.json"


def parse_crash(path: str) -> StageKey | None:
    """Key of the work that a crash fact speaks of; None for any other path."""
    match = _CRASH.fullmatch(path)
    return None if match is None else StageKey(match["key"])


def run_file(run_id: str, name: str) -> str:
    """Path of one file of one run: `run.yaml`, `plan.json`, `report.html`."""
    return f"{RUNS}/{_component(run_id)}/{_component(name)}"


def gallery_file(name: str) -> str:
    """Path of one file of the gallery beside its index."""
    return f"{GALLERY}/{_component(name)}"
