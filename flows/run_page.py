"""What every flow of a run begins with: its tags on Prefect's pages, its figures for Prometheus."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from catalogs.validation import printable
from flows.artifacts import shown
from tasks import metrics
from tasks.config import RunConfig

log = logging.getLogger("epa")
_LONGEST = 80  # characters of a tag


@contextmanager
def run_page(run: RunConfig) -> Iterator[None]:
    """Show the block as a flow run of ``run``: tagged, its artifacts sent, its figures served.

    With PREFECT_CLIENT_METRICS_ENABLED the figures are at Prefect's own address of them.
    """
    from prefect.settings import PREFECT_CLIENT_METRICS_ENABLED
    from prefect.utilities.services import start_client_metrics_server

    if PREFECT_CLIENT_METRICS_ENABLED.value():
        metrics.collect()
        try:
            start_client_metrics_server()
        except OSError as error:  # the port is another process's
            log.warning("no metrics at PREFECT_CLIENT_METRICS_PORT: %s", error.strerror)
    with shown(tags_of(run)):
        yield


def tags_of(run: RunConfig) -> list[str]:
    """Tags by collection, model and variants, as `collection: name`."""
    variants = dict.fromkeys(cell.recipe.variant for cell in run.cells())
    tags = [f"collection: {run.name}", f"model: {run.model.name}"]
    tags += [f"variant: {variant}" for variant in variants]
    return [printable(tag, _LONGEST) for tag in tags]
