"""What the gallery shows of reviews: what was decided about a work, and its earlier versions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from catalogs.reviews import Decision
from tasks.collection import Collection

_EARLIER = 3  # versions of a work beside the present one


def with_reviews(
    collection: Collection, rows: Iterable[dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    """The rows of a manifest with what was decided about them and their earlier versions.

    ``review`` is the decision about a row's own version; ``earlier`` are the results that
    a curator wanted redone, the last one first.
    """
    standing = collection.reviews.standing
    earlier = _earlier(collection) if standing else {}
    for row in rows:
        stands = standing.get(row["item_id"])
        if stands is not None:
            found = earlier.get((row["item_id"], row["cell"]), [])
            row["earlier"] = [_told(version, stands.decision) for version in found]
            if stands.decision.verdict != "redo":
                row["review"] = stands.decision.model_dump()
        yield row


def _earlier(collection: Collection) -> dict[tuple[str, str | None], list[dict[str, Any]]]:
    """Item and cell -> the last results of other versions of works that were redone."""
    ledger, standing = collection.ledger, collection.reviews.standing
    present = {work.key for work in collection.works}
    redone = [item for item, stands in standing.items() if stands.version.take]
    rows = [row for item in redone for row in ledger.of_item(item)]
    rows = [row for row in rows if row.status == "done" and row.key not in present]
    found: dict[tuple[str, str | None], list[dict[str, Any]]] = {}
    for record in ledger.records(rows):
        versions = found.setdefault((record.item_id, record.cell), [])
        if len(versions) < _EARLIER:
            versions.append(record.model_dump())
    return found


def _told(version: Mapping[str, Any], decision: Decision) -> dict[str, Any]:
    """An earlier version; with the note of the decision that stands, if that was about it."""
    note = decision.note if decision.key == version["key"] else ""
    return {**version, "note": note}
