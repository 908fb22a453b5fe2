"""Tells people, by a notification block of Prefect's, that too much failed or that a run stopped.

A block that is missing, or does not get through, is said in the log and stops nothing.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from shlex import quote

from catalogs import paths
from catalogs.credentials import redact
from catalogs.safe_text import undirected
from catalogs.validation import printable
from catalogs.web_address import web_address
from tasks.collection import Collection

log = logging.getLogger("epa")
_PATIENCE = 60.0  # seconds a block may take: the end of the run waits for it
Counts = Mapping[tuple[str, str], int]


@contextmanager
def notifying(collection: Collection, counts: Callable[[], Counts]) -> Iterator[None]:
    """Notify at the end of the block where more of the run's works failed than `notify` allows.

    And where the block raises, however much failed. ``counts`` gives the works that this run has
    ended, by (status, code).
    """
    try:
        yield
    except Exception as error:
        _notify(collection, counts(), error)
        raise
    ended = counts()
    total = sum(ended.values())
    if _failed(ended).total() > collection.run.notify.failure_ratio * total:
        _notify(collection, ended)


def message(
    collection: Collection, counts: Counts, error: Exception | None = None
) -> tuple[str, str]:
    """Subject and body of what is said, in plain text that is no markup anywhere."""
    run, failed, total = collection.run, _failed(counts), sum(counts.values())
    what = f"{failed.total()} of {total} works failed"
    subject = f"epa: {run.name}: " + ("the run stopped, " if error is not None else "") + what
    lines = [f"Collection {run.name}: {what} in this run."]
    lines += [f"- {count} {code}" for code, count in failed.most_common()]
    if error is not None:
        lines.append(f"The run stopped: {type(error).__name__}: {error}")
    gallery = collection.store.uri(paths.INDEX)
    lines.append(f"Gallery: {web_address(gallery) or gallery}")
    lines += [f"Flow run: {page}"] if (page := _page()) else []
    place = quote(run.output)
    lines.append(f"See why with: epa status {place}; epa why {place} ITEM")
    return _plain(subject, 200), "\n".join(_plain(line, 1000) for line in lines)


def _failed(counts: Counts) -> Counter[str]:
    """Works that are not done, by code."""
    failed: Counter[str] = Counter()
    for (status, code), count in counts.items():
        if status != "done":
            failed[code or status] += count
    return failed


def _plain(text: str, limit: int) -> str:
    """On one line, without credentials, and without what chats and mails take for a tag."""
    shown = printable(undirected(redact(text)), limit)
    return shown.translate(str.maketrans("<>", "‹›"))


def _page() -> str | None:
    from prefect.runtime import flow_run

    address: str | None = flow_run.ui_url
    return address


def _notify(collection: Collection, counts: Counts, error: Exception | None = None) -> None:
    """Send it by the block of the run's settings, if they name one; raises nothing."""
    slug = collection.run.notify.block
    if slug is None:
        return
    try:
        subject, body = message(collection, counts, error)
    except Exception as failure:  # noqa: BLE001  # as below
        log.warning("notify: nobody was told: %s", failure)
        return
    problems: list[str] = []
    send = threading.Thread(
        target=contextvars.copy_context().run,
        args=(_send, slug, subject, body, problems),
        name="notify",
        daemon=True,
    )
    send.start()
    send.join(_PATIENCE)
    if send.is_alive():
        problems.append(f"no answer within {_PATIENCE:.0f} s")
    for problem in problems:
        log.warning("notify.block %s: nobody was told: %s", slug, problem)


def _send(slug: str, subject: str, body: str, problems: list[str]) -> None:
    import prefect.blocks.notifications  # noqa: F401  # makes the types of blocks known
    from prefect.blocks.abstract import NotificationBlock
    from prefect.blocks.core import Block

    try:
        block = Block.load(slug)
        if not isinstance(block, NotificationBlock):
            problems.append("it is no notification block")
            return
        with block.raise_on_failure():
            answer: object = block.notify(body, subject)
            if inspect.iscoroutine(answer):  # a block of people's own
                asyncio.run(answer)
    except Exception as error:  # noqa: BLE001  # whatever a block does, the run goes on
        said = str(error).strip().partition("\n")[0]
        problems.append(printable(redact(f"{type(error).__name__}: {said}"), 300))
