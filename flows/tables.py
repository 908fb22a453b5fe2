"""A table on Prefect's pages; a dashboard that is away never stops the work."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

log = logging.getLogger("epa")


def publish_table(key: str, rows: Sequence[Mapping[str, object]], about: str) -> None:
    """Publish ``rows`` as a table artifact under ``key``."""
    from prefect.artifacts import create_table_artifact

    try:
        create_table_artifact([dict(row) for row in rows], key=key, description=about)
    except Exception as error:  # noqa: BLE001  # a dashboard that is away must not stop the work
        log.debug("no table artifact %s: %s", key, error)
