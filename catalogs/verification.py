"""Verification: every recorded result is there and whole, and no work is in two states.

Files are compared with one listing of `videos/`; only `deep` reads them. What is damaged in the
state itself is named, and the rest is looked at all the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from catalogs import documents, leases, paths
from catalogs.errors import DamagedError
from catalogs.facts import Ledger
from catalogs.keys import digest_bytes
from catalogs.ledger import compact, declare_lost
from catalogs.loading import read_all, survey
from catalogs.rows import LOST, PLAIN, Row, without_lost
from catalogs.store import Store

Kind = Literal["missing", "size", "content", "damaged", "twice", "seal", "unrecorded"]
MEANINGS: Mapping[Kind, str] = {
    "missing": "files missing",
    "size": "files of another size",
    "content": "files of other content",
    "damaged": "damaged objects of the state",
    "twice": "attempts with two records",
    "seal": "seals that say more than is recorded",
    "unrecorded": "results of pending works that are not recorded",
}
OF_FILES: tuple[Kind, ...] = ("missing", "size", "content")
_THREADS = 16
# Two rows that agree in these are one record, met in a part and beside it.
_SAME = ("key", "attempt", "item_id", "status", "code", "finished_at", "frames_sha256", "worker")


class Finding(NamedTuple):
    """One thing that is wrong: of which kind, with which object, and whose result it is."""

    kind: Kind
    path: str
    reason: str
    row: Row | None = None


@dataclass
class Verification:
    """What was looked at, and what is wrong; `unsettled` works are still to be done."""

    works: int = 0
    states: Counter[str] = field(default_factory=Counter)
    unsettled: int = 0
    rows: int = 0
    files: int = 0
    bytes: int = 0
    findings: list[Finding] = field(default_factory=list)

    @property
    def counts(self) -> Counter[Kind]:
        """Findings by kind."""
        return Counter(finding.kind for finding in self.findings)

    @property
    def lost(self) -> list[Row]:
        """Rows with a file that is missing or damaged, each once."""
        rows = (found.row for found in self.findings if found.kind in OF_FILES)
        return list(dict.fromkeys(row for row in rows if row is not None))


def verify(
    store: Store,
    works: Mapping[str, str],
    plan_key: str,
    *,
    everything: bool = False,
    deep: bool = False,
    lease_seconds: float = 600,
    on_files: Callable[[int], object] = lambda count: None,
) -> Verification:
    """Look at the results of the present `works` (key -> item id), or of every row there is.

    A listing of the state, one of `videos/`, and a request for each seal of the plan; `deep` reads
    every file, too, and tells `on_files` how many there are, then 0 after each. What a worker
    whose lease of `lease_seconds` is alive has in flight is no finding.
    """
    report = Verification(works=len(works))
    findings = report.findings
    ledger = survey(store, lambda path, reason: findings.append(Finding("damaged", path, reason)))
    columns = ledger.columns(_columns())
    findings += _twice(columns)
    findings += _states(report, works, ledger)
    findings += _seals(store, plan_key, report)
    wanted = _wanted(without_lost(columns, ledger.lost), ledger, works, everything)
    report.rows = len(wanted)
    # Listed after the ledger was read: what a run writes meanwhile is there, not missing.
    sizes = {info.path: info.size for info in store.list(paths.VIDEOS)}
    files = {output["path"]: (row, output) for row, outputs in wanted for output in outputs}
    report.files, report.bytes = len(files), sum(o["bytes"] for _, o in files.values())
    whole = []
    for path, (row, output) in files.items():
        if path not in sizes:
            findings.append(Finding("missing", path, "the file is not there", row))
        elif sizes[path] != output["bytes"]:
            reason = f"it has {sizes[path]} bytes, not {output['bytes']}"
            findings.append(Finding("size", path, reason, row))
        else:
            whole.append(path)
    pending = {key: item_id for key, item_id in works.items() if ledger.find(key) is None}
    for folder in unrecorded(store, pending, lease_seconds, sizes):
        reason = "the work has no record, and the next run would make it again"
        findings.append(Finding("unrecorded", folder, reason))
    if deep:
        on_files(len(whole))
        findings += _other_content(store, {path: files[path] for path in whole}, on_files)
    return report


def unrecorded(
    store: Store,
    pending: Mapping[str, str],
    lease_seconds: float,
    listed: Iterable[str] | None = None,
) -> list[str]:
    """One folder of files for each of the `pending` works (key -> item id) that has some.

    Lists `videos/` unless what was `listed` there is given. Other results of works that have a
    record are no matter: each worker that is killed may leave one.
    """
    if not pending:
        return []
    if listed is None:
        listed = [info.path for info in store.list(paths.VIDEOS)]
    keys = {key[:12]: key for key in pending}
    found: dict[str, str] = {}
    for path in listed:
        output = paths.parse_output(path)
        if output is not None and output.key in keys:
            found.setdefault(keys[output.key], output.folder)
    if not found:
        return []
    # In this order: what was in flight at the listing is still so, or has its record by now.
    busy = leases.in_flight(store, lease_seconds)
    ledger = survey(store, lambda path, reason: None)
    return [f for key, f in found.items() if key not in busy and ledger.find(key) is None]


def redo(store: Store, report: Verification) -> int:
    """Let the next run make again what is missing or damaged; give back how many results.

    Seals that are damaged or speak too soon go, and of two records of one attempt one is kept.
    """
    count = declare_lost(store, report.lost, reason="verify")
    store.delete(f.path for f in report.findings if f.path.startswith(f"{paths.SEALS}/"))
    readable = not any(f.path.startswith(f"{paths.MANIFEST}/") for f in report.findings)
    if report.counts["twice"] and readable:
        compact(store)
    return count


def _columns() -> list[str]:
    return list(dict.fromkeys((*PLAIN, *_SAME, "outputs")))


def _twice(columns: Any) -> Iterator[Finding]:
    """Attempts of which two different records are known."""
    import pyarrow.compute as pc

    once = columns.select(_SAME).group_by(list(_SAME)).aggregate([])
    counts = once.group_by(["item_id", "key", "attempt"]).aggregate([([], "count_all")])
    for found in counts.filter(pc.greater(counts["count_all"], 1)).to_pylist():
        reason = f"attempt {found['attempt']} at {found['item_id']} has {found['count_all']} rows"
        yield Finding("twice", found["key"], reason)


def _states(report: Verification, works: Mapping[str, str], ledger: Ledger) -> Iterator[Finding]:
    """Count the state of every work; a row of its key that speaks of another work is none."""
    for key, item_id in works.items():
        row = ledger.find(key)
        report.states[row.status if row else "pending"] += 1
        report.unsettled += row is None or _asked_for(row, ledger)
        if row is not None and row.item_id != item_id:
            yield Finding("twice", key, f"the key of {item_id} is that of {row.item_id}, too", row)


def _asked_for(row: Row, ledger: Ledger) -> bool:
    """Whether a work that has a row is to be done again."""
    failed = row.status != "done" and row.attempt <= ledger.retries.get(row.key, 0)
    return failed or row.code == LOST


def _seals(store: Store, plan_key: str, report: Verification) -> Iterator[Finding]:
    """Damaged seals of the present plan, and one of the whole plan that speaks too soon."""
    listed = [info.path for info in store.list(paths.seals(plan_key))]
    for path, data in zip(listed, read_all(store, listed), strict=True):
        try:
            documents.decode(data or b"{}", path)
        except DamagedError as error:
            yield Finding("damaged", path, str(error))
        else:
            if path == paths.seal_all(plan_key) and report.unsettled:
                reason = f"the plan is sealed, but {report.unsettled} works are to be done"
                yield Finding("seal", path, reason)


def _wanted(
    columns: Any, ledger: Ledger, works: Mapping[str, str], everything: bool
) -> list[tuple[Row, list[dict[str, Any]]]]:
    """Done rows to look at, with their outputs."""
    import numpy as np
    import pyarrow.compute as pc

    if everything:
        places = pc.indices_nonzero(pc.equal(columns["status"], "done")).to_numpy()
    else:
        done = [row.place for row in ledger.current(works) if row.status == "done"]
        places = np.array(done, dtype=np.int64)
    table = columns.take(places)
    plain = zip(places.tolist(), *(table[name].to_pylist() for name in PLAIN), strict=True)
    rows = [Row(*values) for values in plain]
    return list(zip(rows, table["outputs"].to_pylist(), strict=True))


def _other_content(
    store: Store,
    files: Mapping[str, tuple[Row, dict[str, Any]]],
    on_files: Callable[[int], object],
) -> Iterator[Finding]:
    """Read the files, several at a time, and compare digests."""

    def digest(path: str) -> str | None:
        data = store.get(path)
        return None if data is None else digest_bytes(data)

    with ThreadPoolExecutor(_THREADS, thread_name_prefix="verify") as pool:
        for path, found in zip(files, pool.map(digest, files), strict=True):
            on_files(0)
            row, output = files[path]
            if found is None:
                yield Finding("missing", path, "the file is not there", row)
            elif found != output["sha256"]:
                yield Finding("content", path, f"its SHA-256 is {found[:12]}...", row)
