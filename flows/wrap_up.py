"""The end of a run: compact the manifest, seal a finished plan, write report, gallery, summary."""

from __future__ import annotations

import json
import logging
import secrets
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import yaml

from catalogs import crashes, paths
from catalogs.errors import ConfigError
from catalogs.gallery import write_gallery
from catalogs.ledger import compact, seal_all, seal_leftovers
from catalogs.rows import REJECTED
from flows.run_report import report_run
from tasks.collection import Collection
from tasks.runfile import dump_run, parse_run
from tasks.versions import with_reviews

log = logging.getLogger("epa")

_PARTS = 8  # manifest parts that a compaction is worth: it rewrites every row


@dataclass(frozen=True)
class Summary:
    """What a run came to. ``counts`` are works by status, over all works of the plan.

    Under a matrix a painting (``items``) has several works.
    """

    works: int
    items: int
    counts: dict[str, int]
    codes: dict[str, int]  # failures by code
    seconds: float
    gallery: str
    nothing_to_do: bool = False
    report: str = ""  # its page's address, where one was written

    @property
    def failed(self) -> int:
        """Works that are neither done nor rejected by a curator."""
        return self.works - self.counts.get("done", 0) - self.codes.get(REJECTED, 0)

    def as_json(self) -> dict[str, Any]:
        """Plain data, as a flow run returns it."""
        return asdict(self)

    @classmethod
    def finished(cls, collection: Collection, seal: Mapping[str, Any]) -> Self:
        """The summary of a plan that was already sealed."""
        return cls(
            works=sum(seal["counts"].values()),
            items=collection.table.num_rows,
            counts=dict(seal["counts"]),
            codes=dict(seal.get("codes", {})),
            seconds=0.0,
            gallery=collection.store.uri(paths.INDEX),
            nothing_to_do=True,
        )


def wrap_up(collection: Collection, seconds: float) -> Summary:
    """Compact, seal, write the gallery and the run's files; all of it may be repeated safely."""
    store, run = collection.store, collection.run
    # Shards that had work were sealed with all their records; a crash may have left others'.
    skip = set(collection.plan.shards)
    seal_leftovers(
        store,
        collection.plan_key,
        collection.ledger,
        skip=skip,
        lease_seconds=run.execution.lease_seconds,
    )
    compact(store, least=_PARTS)
    planned = collection.plan.summary()
    begun = {todo.work.key: todo.attempt for todo in collection.plan.pending}
    remaining = collection.replan()
    ledger = collection.ledger
    keys = [work.key for work in collection.works]
    rows = ledger.current(keys)
    counts = Counter(row.status for row in rows)
    summary = Summary(
        works=len(keys),
        items=collection.table.num_rows,
        counts=dict(counts),
        codes=dict(Counter(row.code or "" for row in rows if row.status != "done")),
        seconds=round(seconds, 1),
        gallery=store.uri(paths.INDEX),
    )
    # A failure that may pass keeps the plan open: more attempts may be allowed any time.
    retryable = any(row.retryable for row in rows if row.status != "done")
    if not remaining.shards and not retryable:
        key, codes = collection.plan_key, summary.codes
        if seal_all(store, key, counts, codes=codes, ledger=ledger) is None:
            log.warning("works were asked for anew at this very moment; run again to make them")
    # Deaths of works that came through after all are of no use any more.
    crashes.forget(store, collection.deaths.keys() & {r.key for r in rows if r.status == "done"})
    run_id = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ-") + secrets.token_hex(3)
    page = report_run(collection, begun, run_id=run_id, seconds=summary.seconds)
    summary = replace(summary, report=page)
    refresh_gallery(collection, summary.seconds, reported=bool(page) or None)
    store.put(paths.run_file(run_id, "run.yaml"), dump_run(run).encode(), "application/yaml")
    for name, content in (("plan", planned), ("summary", summary.as_json())):
        data = json.dumps(content, indent=1, ensure_ascii=False).encode()
        store.put(paths.run_file(run_id, f"{name}.json"), data, "application/json")
    return summary


def publish_run(collection: Collection) -> None:
    """Leave the run file in the collection, where `epa status` and its kin look for it.

    One that says the same already stays as it is: it may be relative, so that the folder can move.
    """
    store, run = collection.store, collection.run
    data = store.get(paths.RUN_FILE)
    base = store.url if "://" in store.url else str(Path(store.url).resolve())
    if data is not None:
        with suppress(ConfigError, yaml.YAMLError):
            if parse_run(yaml.safe_load(data), base=base) == run:
                return
    store.put(paths.RUN_FILE, dump_run(run).encode(), "application/yaml")


def refresh_gallery(
    collection: Collection, seconds: float | None = None, *, reported: bool | None = None
) -> str:
    """Write the gallery of the collection's present works; the path of its page.

    It links to the report where there is one; ``reported`` is None where nobody knows.
    """
    if reported is None:
        reported = collection.store.head(paths.REPORT) is not None
    return write_gallery(
        collection.store,
        with_reviews(collection, collection.results().to_pylist(maps_as_pydicts="lossy")),
        title=collection.run.name,
        run={"seconds": seconds, "finished_at": datetime.now(UTC).isoformat()},
        report=paths.REPORT if reported else None,
    )
