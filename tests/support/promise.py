"""Is the promise kept? Nothing lost, nothing done twice, every file whole: judged from the objects.

Reads the store through fsspec, pyarrow and json alone, so that a mistake in the ledger's own reader
cannot hide one in the facts; the ledger's answers are then compared with what was found.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from catalogs.errors import StoreError
from tasks.collection import Collection
from tasks.config import RunConfig
from tasks.runfile import load_run_file

STATES = ("done", "failed", "skipped", "quarantined")


@dataclass(frozen=True)
class Outcome:
    """What a collection came to. All but the first three must be zero where a promise is kept."""

    works: int
    states: Mapping[str, int]
    computed: int  # model calls begun, per work
    redone: int  # of these, beyond the first of each work
    lost: int  # works of the plan in no state
    duplicates: int  # results of one work beyond the first, or two records of one attempt
    damaged: int  # files of results that are missing, or not what their row says
    torn: int  # facts that cannot be read
    disagreeing: int  # works whose state the ledger tells otherwise
    pending: int  # works that a following run would take up
    unsealed: bool  # the plan is not declared finished, so that a following run looks again
    unreadable: str  # why the ledger cannot be opened

    def faults(self) -> dict[str, int]:
        """Whatever speaks against the promise, by name; empty where it is kept."""
        names = ("lost", "duplicates", "damaged", "torn", "disagreeing", "pending")
        found = {name: int(getattr(self, name)) for name in names}
        found |= {"unsealed": int(self.unsealed), "unreadable": int(bool(self.unreadable))}
        return {name: count for name, count in found.items() if count}


@dataclass
class Objects:
    """A collection's objects, read without the project's own store."""

    files: Any
    root: str
    torn: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, run: RunConfig) -> Objects:
        """Open the place a run writes to; the environment says how, as for any client."""
        options = {"skip_instance_cache": True}
        if "://" in run.output:
            options["use_listings_cache"] = False
        files, root = fsspec.core.url_to_fs(run.output, **options)
        return cls(files, root.rstrip("/"))

    def below(self, folder: str, ending: str) -> list[str]:
        """Full paths of the objects in a folder, sorted; hidden files are unfinished writings."""
        try:
            found = self.files.find(f"{self.root}/{folder}")
        except FileNotFoundError:
            return []
        names = (path for path in found if not path.rpartition("/")[2].startswith("."))
        return sorted(path for path in names if path.endswith(ending))

    def bytes(self, path: str) -> bytes | None:
        """An object's bytes; None where there is none."""
        try:
            return bytes(self.files.cat_file(path))
        except FileNotFoundError:
            return None

    def json(self, path: str) -> dict[str, Any]:
        """A JSON object; an unreadable one is noted as torn."""
        try:
            value = json.loads(self.bytes(path) or b"")
        except ValueError:
            value = None
        if not isinstance(value, dict):
            self.torn.append(path)
            return {}
        return value

    def table(self, path: str) -> list[dict[str, Any]]:
        """Rows of a Parquet object; an unreadable one is noted as torn."""
        try:
            file = pq.ParquetFile(pa.BufferReader(self.bytes(path) or b""))
            return file.read().to_pylist(maps_as_pydicts="lossy")
        except (pa.ArrowException, OSError, ValueError):
            self.torn.append(path)
            return []

    def rows(self) -> list[dict[str, Any]]:
        """Every row of snapshot, parts and records that counts; one that stands twice is one."""
        heads = self.below("manifest/HEAD", ".json")
        head = self.json(heads[-1]) if heads else {}
        covered = {f"{self.root}/{path}" for path in head.get("covered", {})}
        tables = [f"{self.root}/{head['snapshot']}"] if head.get("snapshot") else []
        tables += [path for path in self.below("manifest/parts", ".parquet") if path not in covered]
        rows = [row for path in tables for row in self.table(path)]
        rows += [self.json(path) for path in self.below("records", ".json")]
        unique = {_identity(row): row for row in rows if row}
        for path in self.below("seals", ".json"):
            self.json(path)
        lost = self.declared_lost()
        return [row for row in unique.values() if not _gone(row, lost)]

    def declared_lost(self) -> dict[str, int]:
        """Keys whose result counts no more, each with its last attempt that does not."""
        lost: dict[str, int] = {}
        for path in self.below("retries", ".json"):
            for key, attempt in self.json(path).get("lost", {}).items():
                lost[key] = max(attempt, lost.get(key, 0))
        return lost


def _gone(row: Mapping[str, Any], lost: Mapping[str, int]) -> bool:
    return row["status"] == "done" and row["attempt"] <= lost.get(row["key"], 0)


def _identity(row: Mapping[str, Any]) -> tuple[object, ...]:
    """What tells two rows apart: a record and its copy in a part have all of it in common."""
    outputs = tuple(sorted(output["path"] for output in row.get("outputs") or ()))
    names = ("key", "attempt", "status", "worker", "finished_at")
    return (*(row.get(name) for name in names), outputs)


def check(run_file: Path | str, trace: Path | None = None) -> Outcome:
    """Look at the collection that a run file writes to, and at the computations traced."""
    run = load_run_file(str(run_file))
    objects = Objects.of(run)
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in objects.rows():
        found[row["key"]].append(row)
    collection = Collection.open(run)
    states = {work.key: state(found.get(work.key, ())) for work in collection.works}
    traced = computed(trace)
    unreadable, disagreeing, pending = "", 0, 0
    try:
        said = {key: collection.ledger.find(key) for key in states}
        disagreeing = sum((row.status if row else None) != states[key] for key, row in said.items())
        pending = len(collection.plan.pending)
    except StoreError as error:
        unreadable = str(error)
    return Outcome(
        works=len(states),
        states=Counter(status for status in states.values() if status is not None),
        computed=traced.total(),
        redone=traced.total() - len(traced),
        lost=sum(status not in STATES for status in states.values()),
        duplicates=sum(map(surplus, found.values())),
        damaged=sum(damaged(objects, row) for key in states for row in found.get(key, ())),
        torn=len(objects.torn),
        disagreeing=disagreeing,
        pending=pending,
        unsealed=collection.finished_summary() is None,
        unreadable=unreadable,
    )


def state(rows: Iterable[Mapping[str, Any]]) -> str | None:
    """The one state of a work: done if any attempt was, else what its last attempt ended in."""
    last = max(rows, key=lambda row: (row["status"] == "done", row["attempt"]), default=None)
    return None if last is None else str(last["status"])


def surplus(rows: Iterable[Mapping[str, Any]]) -> int:
    """Results of one work beyond the first, and failures recorded twice as one attempt."""
    rows = list(rows)
    done = sum(row["status"] == "done" for row in rows)
    failures = Counter(row["attempt"] for row in rows if row["status"] != "done")
    return max(0, done - 1) + sum(count - 1 for count in failures.values())


def damaged(objects: Objects, row: Mapping[str, Any]) -> int:
    """How many files of a row are missing, or differ from its size or SHA-256."""
    count = 0
    for output in row.get("outputs") or ():
        data = objects.bytes(f"{objects.root}/{output['path']}")
        whole = data is not None and len(data) == output["bytes"]
        count += not (whole and hashlib.sha256(data or b"").hexdigest() == output["sha256"])
    return count


def computed(trace: Path | None) -> Counter[str]:
    """How often the model was called for each work, by key."""
    if trace is None or not trace.exists():
        return Counter()
    return Counter(line.split()[0] for line in trace.read_text().splitlines())
