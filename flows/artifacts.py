"""Tables and links on Prefect's pages; a dashboard that is away never stops the work."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping

from flows.report import of_paintings
from flows.wrap_up import Summary

log = logging.getLogger("epa")


def publish_shards(shards: Mapping[str, Counter[str]]) -> None:
    """One table of the run's shards: works by status, seconds."""
    from prefect.artifacts import create_table_artifact

    columns = sorted({name for counts in shards.values() for name in counts} - {"seconds"})
    table = [
        {"shard": name, **{c: counts[c] for c in columns}, "seconds": counts["seconds"]}
        for name, counts in shards.items()
    ]
    try:
        create_table_artifact(table, key="epa-shards", description="works by shard")
    except Exception as error:  # noqa: BLE001  # a dashboard that is away must not stop the work
        log.debug("no table artifact: %s", error)


def publish_summary(summary: Summary) -> None:
    """What came out, and where the gallery is."""
    from prefect.artifacts import create_markdown_artifact

    rows = "\n".join(f"| {name} | {n} |" for name, n in sorted(summary.counts.items()))
    failures = "\n".join(f"| {code} | {n} |" for code, n in sorted(summary.codes.items()))
    works = f"{summary.works}{of_paintings(summary.works, summary.items)}"
    text = f"| works | {works} |\n|---|---|\n{rows}\n\nGallery: `{summary.gallery}`\n"
    if failures:
        text += f"\n| failure code | works |\n|---|---|\n{failures}\n"
    try:
        create_markdown_artifact(text, key="epa-summary", description="what the run came to")
    except Exception as error:  # noqa: BLE001  # as above
        log.debug("no summary artifact: %s", error)
