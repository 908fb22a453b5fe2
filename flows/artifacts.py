"""What Prefect's pages show of a run, sent by a side thread: a dashboard never stops the work.

Whoever publishes hands over the newest state of an artifact and goes on. The thread sends the
latest of each, so that a server that is slow gets fewer of them; what it cannot send is only
logged. An artifact is created once in a run and then changed in place: no pile of versions, and
none of the events that Prefect's own updating sends with a copy of the whole artifact.
"""

from __future__ import annotations

import contextvars
import json
import logging
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple
from uuid import UUID

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

log = logging.getLogger("epa")
Kind = Literal["progress", "table", "markdown"]
_PATIENCE = 10.0  # seconds that the end of a run waits for what is still to be sent
# The pages take every text in a table for Markdown: an image in it would be fetched, a link shown.
# Emphasis does no harm, and the newer pages would show its escapes.
_MARKDOWN = re.compile(r"[\\`\[\]<>&|:@!#]|(?<=www)\.", re.IGNORECASE)


class _Content(NamedTuple):
    kind: Kind
    data: Any
    description: str


class _Publisher:
    """The side thread of one flow run."""

    def __init__(self, flow_run_id: UUID):
        self._flow_run_id = flow_run_id
        self._made: dict[str, UUID] = {}
        self._waiting: dict[str, _Content] = {}
        self._orders: list[Callable[[SyncPrefectClient], object]] = []
        self._closing = False
        self._changed = threading.Condition()
        # The server's address may be known to this context alone.
        work = contextvars.copy_context().run
        self._thread = threading.Thread(
            target=work, args=(self._work,), name="artifacts", daemon=True
        )
        self._thread.start()

    def put(self, key: str, content: _Content) -> None:
        with self._changed:
            self._waiting[key] = content
            self._changed.notify()

    def order(self, what: Callable[[SyncPrefectClient], object]) -> None:
        with self._changed:
            self._orders.append(what)
            self._changed.notify()

    def close(self) -> None:
        """Send what is waiting, for a while."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(_PATIENCE)

    def _work(self) -> None:
        from prefect.client.orchestration import get_client

        try:
            with get_client(sync_client=True) as client:
                while self._turn(client):
                    pass
        except Exception as error:  # noqa: BLE001  # whatever a dashboard does, the work goes on
            log.debug("nothing more is shown on Prefect's pages: %s", error)

    def _turn(self, client: SyncPrefectClient) -> bool:
        """Send all that waits now; False when there is nothing more to come."""
        with self._changed:
            while not (self._waiting or self._orders or self._closing):
                self._changed.wait()
            waiting, self._waiting = self._waiting, {}
            orders, self._orders = self._orders, []
        for what in orders:
            _attempt("an order", partial(what, client))
        for key, content in waiting.items():
            _attempt(key, partial(self._send, client, key, content))
        return bool(waiting or orders) or not self._closing

    def _send(self, client: SyncPrefectClient, key: str, content: _Content) -> None:
        from prefect.client.schemas.actions import ArtifactCreate

        if (made := self._made.get(key)) is not None:
            fields = {"data": content.data, "description": content.description}
            # Not client.update_artifact, which sends an event with all of it along.
            client.request("PATCH", "/artifacts/{id}", json=fields, path_params={"id": made})
            return
        created = client.create_artifact(
            ArtifactCreate(
                key=key,
                type=content.kind,
                data=content.data,
                description=content.description,
                flow_run_id=self._flow_run_id,
            )
        )
        self._made[key] = created.id


def _attempt(what: str, act: Callable[[], object]) -> None:
    try:
        act()
    except Exception as error:  # noqa: BLE001  # a dashboard that is away must not stop the work
        log.debug("%s is not shown on Prefect's pages: %s", what, error)


_publisher: _Publisher | None = None


def publish(key: str, kind: Kind, data: Any, description: str = "") -> None:
    """Show ``data`` as the run's artifact ``key``, in place of what it held; returns at once.

    A no-op outside `shown`.
    """
    publisher = _publisher
    if publisher is not None:
        publisher.put(key, _Content(kind, data, description))


def publish_table(key: str, rows: Iterable[Mapping[str, object]], description: str = "") -> None:
    """Show ``rows`` of plain values as `publish` does; texts in them stay texts."""
    plain = [{name: _plain(value) for name, value in row.items()} for row in rows]
    publish(key, "table", json.dumps(plain), description)


def _plain(value: object) -> object:
    return _MARKDOWN.sub(r"\\\g<0>", value) if isinstance(value, str) else value


@contextmanager
def shown(tags: Iterable[str] = ()) -> Iterator[None]:
    """Show what is published in the block on the page of the present flow run, with these tags.

    The tags that the run has already, its deployment's say, stay.
    """
    from prefect.context import FlowRunContext

    global _publisher
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        yield
        return
    present = context.flow_run
    before, _publisher = _publisher, _Publisher(present.id)
    all_tags = list(dict.fromkeys([*present.tags, *tags]))
    if set(all_tags) != set(present.tags):
        _publisher.order(lambda client: client.update_flow_run(present.id, tags=all_tags))
    try:
        yield
    finally:
        closing, _publisher = _publisher, before
        closing.close()
