"""The shards of a run on Prefect's pages, and its contact sheets, while the run goes on.

A side thread reads what has been recorded since the plan was made, whoever recorded it, and takes
its time: it has the processor for a fiftieth of the run at most, and what it meets is only logged.
"""

from __future__ import annotations

import contextvars
import logging
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Self

from catalogs.news import Ended, News
from catalogs.store import Store
from catalogs.validation import printable
from flows.artifacts import publish_table
from flows.contact_sheets import ContactSheets
from tasks.collection import Collection

log = logging.getLogger("epa")
INTERVAL = 5.0  # seconds between two looks, once a run has gone on for a while
MOST_ROWS = 200  # of the table: Prefect's page draws them all
_LEISURE = 50  # a look that took the processor for a second is followed by so many without
_PATIENCE = 20.0  # seconds that the end of the run waits for the last look


class ShardTable:
    """Watches the works of a collection's plan; used as a context manager around its passes."""

    def __init__(self, collection: Collection):
        shards = collection.plan.shards
        self._planned = Counter({str(name): len(works) for name, works in shards.items()})
        self._shard_of = {w.work.key: str(name) for name, works in shards.items() for w in works}
        attempts = {w.work.key: w.attempt for works in shards.values() for w in works}
        store = Store.open(collection.run.output)  # its own: requests are counted
        self._news = News(store, attempts, collection.ledger.sources.manifest)
        collection.on_commit = self._news.hear  # what this process records need not be read
        self._sheets = ContactSheets(store)
        self._stop = threading.Event()
        work = contextvars.copy_context().run
        self._thread = threading.Thread(
            target=work, args=(self._watch,), name="shard-table", daemon=True
        )

    @property
    def counts(self) -> Counter[tuple[str, str]]:
        """How many works of this run ended with a (status, code), as of the last look."""
        ended = list(self._news.ended.values())
        return Counter((work.status, work.code or "") for work in ended)

    def __enter__(self) -> Self:
        self._publish()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(_PATIENCE)

    def _watch(self) -> None:
        pause = 1.0
        while not self._stop.wait(pause):
            took = self._look()
            pause = max(min(2 * pause, INTERVAL), _LEISURE * took)
        self._look(last=True)

    def _look(self, last: bool = False) -> float:
        """Look for news and show them; the processor's seconds that it took."""
        start = time.thread_time()
        try:
            news = self._news.look()
            while last and self._news.look():
                news = True
            if news:
                self._publish()
            self._sheets.show(self._news.ended.values(), last=last)
        except Exception as error:  # noqa: BLE001  # a look at the work must not stop it
            log.debug("the table of shards is not up to date: %s", error)
        return time.thread_time() - start

    def _publish(self) -> None:
        by_shard: dict[str, list[Ended]] = {name: [] for name in self._planned}
        for key, ended in self._news.ended.items():
            by_shard[self._shard_of[key]].append(ended)
        rows = table_rows(self._planned, by_shard)
        count = len(self._planned)
        said = f"{count} shards: those at work first, then those with failures"
        if count > MOST_ROWS:
            said += f". Only {MOST_ROWS} of the {count} are shown; `epa status` counts all works"
        publish_table("epa-shards", rows, said)


def table_rows(
    planned: Mapping[str, int], ended: Mapping[str, list[Ended]]
) -> list[dict[str, Any]]:
    """Rows of the table: all shards in one, then each by itself, at most `MOST_ROWS` of them."""
    everything = [work for works in ended.values() for work in works]
    rows = [_row(name, planned[name], ended.get(name, ())) for name in planned]
    rows.sort(key=lambda row: (_STATES.index(row["state"]), not row["failed"], row["shard"]))
    return [_row("all", sum(planned.values()), everything), *rows[:MOST_ROWS]]


_STATES = ("at work", "ended", "waiting")


def _row(name: str, planned: int, works: Iterable[Ended]) -> dict[str, Any]:
    works = list(works)
    done = [work.seconds for work in works if work.status == "done"]
    codes = Counter(work.code or work.status for work in works if work.status != "done")
    memory = max((work.peak_memory or 0 for work in works), default=0)
    workers = sorted({work.worker for work in works if work.worker})
    return {
        "shard": name,
        "state": "waiting" if not works else "ended" if len(works) >= planned else "at work",
        "works": planned,
        "done": len(done),
        "failed": ", ".join(
            f"{count} {printable(code, 40)}" for code, count in codes.most_common()
        ),
        "seconds per work": f"{sum(done) / len(done):.2f}" if done else "",
        "GPU memory": f"{memory / 2**30:.1f} GiB" if memory else "",
        "worker": printable(workers[0])
        if len(workers) == 1
        else f"{len(workers)}"
        if workers
        else "",
    }
