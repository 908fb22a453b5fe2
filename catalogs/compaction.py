"""Compaction: all rows so far in one snapshot, so that reading the ledger takes few requests.

A numbered snapshot counts once the HEAD of its number exists. HEAD names every object the
snapshot makes superfluous; these stay for a grace period, for readers that still hold an older
HEAD. Both are create-only: of two compactions at once the second finds the number taken and
leaves. Records are never covered: a name that held a failure, sealed and removed since, may hold
a slower worker's result later. Rows of records still there may be in the snapshot all the same.
"""

from datetime import UTC, datetime, timedelta

from catalogs import documents, paths
from catalogs.facts import Ledger
from catalogs.loading import load
from catalogs.records import to_parquet, utc_text
from catalogs.rows import best_rows
from catalogs.store import Store

GRACE = timedelta(days=7)


def compact(
    store: Store,
    *,
    grace: timedelta = GRACE,
    now: datetime | None = None,
    least: int = 1,
) -> int | None:
    """Write a snapshot of the ledger; give back its number, None when there was nothing to do.

    `least` is the number of new parts for which the writing is worth it. Objects covered
    for longer than `grace` by the HEADs before are deleted.
    """
    moment = now or datetime.now(UTC)
    ledger = load(store)
    sources = ledger.sources
    expired = superfluous(ledger, moment - grace)
    fresh = sources.parts
    if len(fresh) < max(least, 1):
        store.delete(expired)
        return None
    numbered = [p for p in sources.manifest if not p.startswith(f"{paths.PARTS}/")]
    seq = max(map(paths.sequence_of, numbered), default=0) + 1
    if not store.create(paths.snapshot(seq), _snapshot(ledger)):
        return None
    since = utc_text(moment)
    covered = {**dict.fromkeys([*fresh, *numbered], since), **sources.covered}
    covered = {path: at for path, at in covered.items() if path not in expired}
    head = {"snapshot": paths.snapshot(seq), "created": since, "covered": covered}
    if not store.create(paths.head(seq), documents.encode(head), documents.TYPE):
        return None
    store.delete(expired)
    return seq


def superfluous(ledger: Ledger, before: datetime) -> set[str]:
    """Objects of the manifest that a snapshot has covered since before a moment."""
    oldest = utc_text(before)
    return {path for path, since in ledger.sources.covered.items() if since < oldest}


def _snapshot(ledger: Ledger) -> bytes:
    """Write every attempt once, sorted by item."""
    table = ledger.columns()
    table = table.take(best_rows(table, ("key", "attempt")))
    order = [(name, "ascending") for name in ("item_id", "key", "attempt")]
    return to_parquet(table.sort_by(order))
