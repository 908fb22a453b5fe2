"""The flow that sums the recorded measures of a collection up, for the dashboard."""

from __future__ import annotations

import logging
from typing import Any

from prefect import flow

from catalogs.storage import Storage, configure
from catalogs.validation import printable
from flows.artifacts import publish_table, shown
from flows.inspection import open_collection
from tasks.collection import Collection

log = logging.getLogger("epa")
_MOST_ROWS = 200  # of the table: a thousand cells is what a page of the dashboard bears
_QUERY = """
SELECT coalesce(style, '') AS style, coalesce(model, '') AS model, coalesce(cell, '') AS cell,
    count(*)::INTEGER AS works, count_if(flag IS NULL)::INTEGER AS unmeasured,
    count_if(flag = 'good')::INTEGER AS good, count_if(flag = 'static')::INTEGER AS static,
    count_if(flag = 'cross-fade')::INTEGER AS cross_fade,
    count_if(flag = 'drift')::INTEGER AS drift, count_if(flag = 'flicker')::INTEGER AS flicker,
    round(median(motion), 4) AS motion, round(median(first_frame_ssim), 3) AS first_frame_ssim,
    round(median(blend_share), 3) AS blend_share, round(median(r.drift), 2) AS palette_drift,
    round(median(loop_seam), 2) AS loop_seam
FROM results r WHERE status = 'done' GROUP BY 1, 2, 3 ORDER BY works DESC, style, model, cell
"""


@flow(name="evaluate", flow_run_name="evaluate {location}", persist_result=False)
def evaluate(location: str, storage: Storage | None = None) -> list[dict[str, Any]]:
    """A row for each style, model and cell of the collection at ``location``: flags and medians.

    It sums up what runs recorded and measures nothing anew; ``unmeasured`` are works without
    measures (`epa rebuild` cannot bring them back). ``storage`` is how the store is reached.
    """
    configure(storage or Storage())
    rows = measures(open_collection(location))
    left_out = max(0, len(rows) - _MOST_ROWS)
    more = f"; {left_out} more rows are left out" if left_out else ""
    about = f"flags and medians of the measures, those with most works first{more}"
    with shown():
        publish_table("epa-measures", rows[:_MOST_ROWS], about)
    log.info("measures of %d works", sum(row["works"] for row in rows))
    return rows


def measures(collection: Collection) -> list[dict[str, Any]]:
    """The rows of `evaluate`, those with most works first."""
    import duckdb

    with duckdb.connect() as connection:
        connection.register("results", collection.results())
        found = connection.execute(_QUERY)
        names = [column[0] for column in found.description or ()]
        rows = [dict(zip(names, row, strict=True)) for row in found.fetchall()]
    for row in rows:
        row |= {name: printable(row[name]) for name in ("style", "model", "cell")}
    return rows
