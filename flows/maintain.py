"""The flow that looks after a collection: compact, verify, find garbage."""

from __future__ import annotations

import logging
from typing import Annotated, Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Failed
from pydantic import Field

from catalogs import garbage, verification
from catalogs.garbage import Garbage
from catalogs.ledger import compact
from catalogs.storage import Storage, configure
from catalogs.validation import printable
from catalogs.verification import Verification
from flows.artifacts import publish_table, shown
from flows.inspection import open_collection
from flows.maintenance import (
    find_garbage,
    garbage_facts,
    verification_facts,
    verify_collection,
)

log = logging.getLogger("epa")
Days = Annotated[float, Field(ge=0, lt=36_500)]


@flow(name="maintenance", flow_run_name="maintenance {location}", persist_result=False)
def maintenance(
    location: str,
    storage: Storage | None = None,
    deep: bool = False,
    redo: bool = False,
    delete: bool = False,
    older_than: Days = 7.0,
) -> dict[str, Any] | State[Any]:
    """Compact the manifest of a collection, verify its files, find its garbage.

    ``storage`` is how the store at ``location`` is reached. ``deep`` reads every file; ``redo``
    lets the next run make again what is lost; garbage older than so many days is removed only
    with ``delete``. What is wrong and not made again fails the run, so that somebody hears of it.
    """
    configure(storage or Storage())
    collection = open_collection(location)
    store = collection.store
    compacted = compact(store, least=2) is not None
    report = verify_collection(collection, everything=False, deep=deep)
    again = verification.redo(store, report) if redo else 0
    found = find_garbage(collection, older_than)
    harmed = garbage.remove(store, found) if delete else 0
    facts = {
        "compacted": compacted,
        "verified": verification_facts(report, deep),
        "redo": again,
        "garbage": garbage_facts(found, delete),
        "harmed": harmed,
    }
    rows = _rows(report, found, again=again, delete=delete)
    with shown():
        publish_table("epa-maintenance", rows, "what maintenance found")
    cured = verification.OF_FILES if again else ()
    counts = {kind: count for kind, count in report.counts.items() if kind not in cured}
    wrong = ", ".join(f"{n} {verification.MEANINGS[kind]}" for kind, n in counts.items())
    log.info("%d files verified: %s", report.files, wrong or "all of it is as recorded")
    if wrong:
        return Failed(message=f"verification found: {wrong}; see `epa verify`")
    return facts


def _rows(
    report: Verification, found: Garbage, *, again: int, delete: bool
) -> list[dict[str, object]]:
    """Wrong files by kind, and garbage by kind."""

    def row(
        what: str, objects: int, size: int | None = None, example: str = ""
    ) -> dict[str, object]:
        return {"what": what, "objects": objects, "bytes": size, "example": printable(example)}

    rows = [row("files verified", report.files, report.bytes)]
    for kind, count in report.counts.most_common():
        example = next(finding.path for finding in report.findings if finding.kind == kind)
        rows.append(row(verification.MEANINGS[kind], count, example=example))
    if again:
        rows.append(row("results that the next run makes again", again))
    for name, infos in found.found.items():
        what = f"{'removed' if delete else 'may go'}: {garbage.MEANINGS[name]}"
        rows.append(row(what, len(infos), sum(info.size for info in infos), infos[0].path))
    return rows
