"""The manifest made anew from the videos alone, for when records or manifest are lost.

A result's folder is named by its key and content, and its video's tags name work, key and
configuration: with the present plan that gives back the row. What only the record knew (failures,
timings, quality measures) is gone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from catalogs import leases, paths
from catalogs.errors import StoreError
from catalogs.keys import digest_bytes, item_slug
from catalogs.loading import load, survey
from catalogs.records import Output, Record, utc_text
from catalogs.seals import write_part
from catalogs.shards import partition
from catalogs.store import ObjectInfo, Store
from tasks.commit import content_digest, record_of
from tasks.shard import Job

if TYPE_CHECKING:
    from catalogs.facts import Ledger
    from catalogs.plan import Work
    from epa_core.media.probe import ClipFacts
    from tasks.collection import Collection

WORKER = "rebuild"
_THREADS = 8
_EVERYTHING = "s"  # the shard that can hold any work


@dataclass
class Rebuilt:
    """What came of it: rows written, results that had one already, what was moved or left out."""

    rows: int = 0
    superseded: int = 0  # among the rows: of no present work
    recorded: int = 0
    moved: dict[str, str] = field(default_factory=dict)  # damaged object -> what is wrong with it
    left_out: dict[str, str] = field(default_factory=dict)  # folder -> why


@dataclass(frozen=True)
class _Result:
    """One whole folder of files, read."""

    folder: str
    outputs: tuple[Output, ...]
    modified: datetime
    clip: ClipFacts


def rebuild(collection: Collection, on_folder: Callable[[int], object] = lambda n: None) -> Rebuilt:
    """Move damaged state aside, write rows for results that have none, remove all seals.

    Reads every file of such a result; ``on_folder`` is told how many there are, then 0 for each
    that is read. Raises StoreError.
    """
    store = collection.store
    report = Rebuilt()
    survey(store, report.moved.setdefault)
    move_aside(store, report.moved)
    # First: what a seal says of rows that are gone would keep the next run from its work.
    store.delete(info.path for info in store.list(paths.SEALS))
    ledger = load(store)
    busy = leases.in_flight(store, collection.run.execution.lease_seconds)
    folders = _folders(store, ledger, busy, report)
    on_folder(len(folders))
    results = list(_read(store, folders, report, on_folder))
    rows = _rows(collection, ledger, _newest(results, ledger, report), report)
    write_part(store, _EVERYTHING, sorted(rows, key=lambda r: (r.item_id, r.key, r.attempt)))
    report.rows = len(rows)
    return report


def move_aside(store: Store, damaged: Iterable[str]) -> None:
    """Move objects to ``damaged/``, under a free name, so that the ledger opens without them."""
    for path in damaged:
        data = store.get(path)
        if data is None:
            continue
        names = (
            f"{paths.DAMAGED}/{path}{suffix}" for suffix in ("", *map(".{}".format, range(99)))
        )
        if not any(store.create(name, data) for name in names):
            raise StoreError(f"no free name in {paths.DAMAGED}/ for {path}")
        store.delete([path])


def _folders(
    store: Store, ledger: Ledger, busy: Iterable[str], report: Rebuilt
) -> dict[str, list[ObjectInfo]]:
    """Folders of results that no row refers to, but those that a worker has in flight."""
    found: dict[str, list[ObjectInfo]] = {}
    for info in store.list(paths.VIDEOS):
        if output := paths.parse_output(info.path):
            found.setdefault(output.folder, []).append(info)
    outputs = ledger.table(ledger.keys())["outputs"].to_pylist()  # lost results have none
    named = {output["path"].rpartition("/")[0] for row in outputs for output in row}
    working = {key[:12] for key in busy}
    for folder in list(found):
        if folder in named:
            report.recorded += 1
            del found[folder]
        elif folder.rpartition("/")[2][:12] in working:
            report.left_out[folder] = "a worker is at it"
            del found[folder]
    return found


def _read(
    store: Store,
    folders: Mapping[str, Sequence[ObjectInfo]],
    report: Rebuilt,
    on_folder: Callable[[int], object],
) -> Iterator[_Result]:
    """Read folders, several at a time; one that is not whole is reported and left out."""

    def attempt(folder: str) -> _Result | str:
        try:
            return _result(store, folder, folders[folder])
        except ValueError as error:
            return str(error)

    with ThreadPoolExecutor(_THREADS, thread_name_prefix="rebuild") as pool:
        for folder, result in zip(folders, pool.map(attempt, folders), strict=True):
            on_folder(0)
            if isinstance(result, str):
                report.left_out[folder] = result
            else:
                yield result


def _result(store: Store, folder: str, infos: Sequence[ObjectInfo]) -> _Result:
    """Read one folder; ValueError where its files are not those that its name promises."""
    from epa_core.media.probe import probe_clip

    files = {info.path.rpartition("/")[2]: store.get(info.path) or b"" for info in infos}
    digests = {name: digest_bytes(data) for name, data in files.items()}
    name = paths.parse_output(infos[0].path)
    if name is None or content_digest(digests.values())[:12] != name.digest:
        raise ValueError("its files are not those that its name promises: cut off or damaged")
    clip = probe_clip(files)
    if clip.key[:12] != name.key:
        raise ValueError(f"its tags name another key, {clip.key}")
    outputs = tuple(
        Output(name=name, path=f"{folder}/{name}", sha256=digests[name], bytes=len(data))
        for name, data in files.items()
    )
    modified = max(info.modified or datetime.now(UTC) for info in infos)
    return _Result(folder, outputs, modified, clip)


def _newest(results: Iterable[_Result], ledger: Ledger, report: Rebuilt) -> list[_Result]:
    """One result for each key that has none: the one written last, of several attempts."""
    best: dict[str, _Result] = {}
    for result in sorted(results, key=lambda r: (r.modified, r.folder), reverse=True):
        row = ledger.find(result.clip.key)
        if result.clip.key in best or (row is not None and row.status == "done"):
            report.left_out[result.folder] = "the work has another result"
        else:
            best[result.clip.key] = result
    return list(best.values())


def _rows(
    collection: Collection, ledger: Ledger, results: Sequence[_Result], report: Rebuilt
) -> list[Record]:
    planned = {work.key: work for work in collection.works}
    known = [result for result in results if result.clip.key in planned]
    works = [planned[result.clip.key] for result in known]
    shard_of = _shards(collection)
    rows = []
    for result, work, row in zip(known, works, collection.rows(works), strict=True):
        job = Job(work, row, _attempt(ledger, work.key))
        rows.append(_known_row(collection, shard_of[work.item_id], job, result))
    ids = _Ids(collection.works)
    for result in results:
        if result.clip.key in planned:
            continue
        item_id = ids.find(result)
        if item_id is None:
            report.left_out[result.folder] = "its tags and its name do not tell whose it is"
        else:
            rows.append(_unknown_row(item_id, _attempt(ledger, result.clip.key), result))
            report.superseded += 1
    return rows


def _shards(collection: Collection) -> dict[str, str]:
    """Item id -> shard, as the plan has it."""
    items = list(dict.fromkeys(work.item_id for work in collection.works))
    shards = partition(items, collection.shard_size).items()
    return {items[place]: str(name) for name, places in shards for place in places}


def _attempt(ledger: Ledger, key: str) -> int:
    """A number that no attempt at this key has, and that nobody has given up."""
    row = ledger.find(key)
    known = (row.attempt if row else 0, ledger.lost.get(key, 0), ledger.retries.get(key, 0))
    return max(known) + 1


def _known_row(collection: Collection, shard_id: str, job: Job, result: _Result) -> Record:
    """What catalog and plan say of the work, and what its files do."""
    shard = collection.shard_of(shard_id, job.work.cell, [job])
    loop = shard.recipe.encode.loop
    source = {"source_sha256": job.row["image_sha256"], "source_bytes": job.row["image_bytes"]}
    record = record_of(shard, job, **_facts(result), loop=loop, **source)
    own: dict[str, Any] = {"config_digest": result.clip.config}
    if shard.recipe.select.active:
        own["seed"] = None  # the files do not tell which candidate they are
    return record.model_copy(update=own)


def _unknown_row(item_id: str, attempt: int, result: _Result) -> Record:
    """A result under other settings, or of a work no longer chosen: what its files say."""
    clip = result.clip
    return Record(
        item_id=item_id,
        shard_id=_EVERYTHING,
        key=clip.key,
        attempt=attempt,
        config_digest=clip.config,
        title=clip.texts.get("title", "").removesuffix(" (animated)") or None,
        artist=clip.texts.get("artist") or None,
        prompt=clip.texts.get("description") or None,
        **_facts(result),
    )


def _facts(result: _Result) -> dict[str, Any]:
    info = dict(result.clip.info)
    return {
        "status": "done",
        "outputs": result.outputs,
        "ai_marking": info.pop("marked_ai"),
        "worker": WORKER,
        "finished_at": utc_text(result.modified),
        **info,
    }


class _Ids:
    """Full item ids, of which tags hold a cleaned start and folders a hash."""

    def __init__(self, works: Iterable[Work]):
        self._works = works

    @cached_property
    def _by_hash(self) -> dict[str, str]:
        return {item_slug(work.item_id)[-8:]: work.item_id for work in self._works}

    def find(self, result: _Result) -> str | None:
        """Item id whose hash ends the name of the folder."""
        digest = result.folder.split("/")[1][-8:]
        tagged = result.clip.item
        return tagged if item_slug(tagged)[-8:] == digest else self._by_hash.get(digest)
