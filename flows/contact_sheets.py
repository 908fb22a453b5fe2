"""Contact sheets of a run on Prefect's pages: its first works, and those that want a look."""

from __future__ import annotations

import base64
import logging
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from catalogs.news import Ended
from catalogs.store import Store
from catalogs.validation import printable
from flows.artifacts import publish

if TYPE_CHECKING:
    import PIL.Image

log = logging.getLogger("epa")
MOST = 24  # works on a sheet
INTERVAL = 60.0  # seconds between two versions of a sheet
_BIGGEST = 4_000_000  # bytes of a poster that is read


class ContactSheets:
    """Makes both sheets anew, now and then, from the posters that records name."""

    def __init__(self, store: Store):
        self._store = store
        self._pictures: dict[str, PIL.Image.Image] = {}
        self._shown: dict[str, list[str]] = {}
        self._last = time.monotonic()

    def show(self, works: Iterable[Ended], *, last: bool = False) -> None:
        """Publish the sheets whose works have changed, ``last`` of all or when it is time."""
        if not last and time.monotonic() - self._last < INTERVAL:
            return
        self._last = time.monotonic()
        posters = [work for work in works if work.status == "done" and work.poster]
        flagged = [work for work in posters if work.flag not in (None, "good")]
        for key, chosen, said in (
            ("epa-first-works", posters, "done"),
            ("epa-flagged-works", flagged, "flagged by the measures"),
        ):
            sheet = chosen[:MOST]
            paths = [work.poster or "" for work in sheet]
            if sheet and paths != self._shown.get(key):
                self._publish(key, sheet, f"The first {len(sheet)} of {len(chosen)} works {said}")
                self._shown[key] = paths

    def _publish(self, key: str, works: list[Ended], said: str) -> None:
        from epa_core.media.contact_sheet import Tile, contact_sheet

        tiles = [
            Tile(picture, printable(work.title or work.item_id), work.flag or "")
            for work in works
            if (picture := self._picture(work.poster or "")) is not None
        ]
        if tiles:
            data = base64.b64encode(contact_sheet(tiles)).decode()
            # Not as an image artifact: its page writes the whole address beneath the picture.
            publish(key, "markdown", f"![contact sheet](data:image/jpeg;base64,{data})", said)

    def _picture(self, path: str) -> PIL.Image.Image | None:
        """A poster's thumbnail; None for one that is gone or damaged."""
        from epa_core.media.contact_sheet import thumbnail

        if path not in self._pictures:
            data = self._store.get(path)
            if data is None or len(data) > _BIGGEST:
                return None
            try:
                self._pictures[path] = thumbnail(data)
            except (OSError, ValueError, SyntaxError) as error:
                log.debug("%s is on no contact sheet: %s", path, error)
                return None
        return self._pictures[path]
