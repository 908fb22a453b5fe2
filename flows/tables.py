"""A table on Prefect's pages; a dashboard that is away never stops the work."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence

log = logging.getLogger("epa")
# The pages take every text in a table for Markdown: an image in it would be fetched, a link shown.
_MARKDOWN = re.compile(r"[\\`*_\[\]<>&~|:@!#]|(?<=www)\.", re.IGNORECASE)


def publish_table(key: str, rows: Sequence[Mapping[str, object]], about: str) -> None:
    """Publish ``rows`` as a table artifact under ``key``; texts stay texts."""
    from prefect.artifacts import create_table_artifact

    try:
        create_table_artifact([_plain(row) for row in rows], key=key, description=about)
    except Exception as error:  # noqa: BLE001  # a dashboard that is away must not stop the work
        log.debug("no table artifact %s: %s", key, error)


def _plain(row: Mapping[str, object]) -> dict[str, object]:
    return {
        name: _MARKDOWN.sub(r"\\\g<0>", value) if isinstance(value, str) else value
        for name, value in row.items()
    }
