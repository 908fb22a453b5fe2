"""The flow that a work pool's worker runs: both passes over one shard.

It may be run again at any time, from Prefect's pages, too: what is recorded is not done again.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed, Failed

from flows.engines.base import is_everybodys
from flows.engines.states import HELD, REFUSED, STOPPED
from flows.passes import proxies_to_draw, spelled
from flows.progress import PassProgress
from flows.run_page import run_page
from tasks import models, recycle, turns
from tasks.collection import current, forget
from tasks.config import RunConfig
from tasks.failures import RunStopped
from tasks.prefect_tasks import animate_shard as animate
from tasks.prefect_tasks import proxy_shard

log = logging.getLogger("epa")


def _flow_run_name() -> str:
    return f"shard {flow_run.parameters['shard_id']}"


@flow(name="animate-shard", flow_run_name=_flow_run_name, persist_result=False)
def animate_shard(run: RunConfig, shard_id: str) -> dict[str, int] | State[Any]:
    """Draw the proxies of a shard, then make its videos; counts of works by status.

    The state `Held` says that a worker of another run has the shard, `Refused` and `Stopped` that
    no other worker need try.
    """
    log.setLevel(run.execution.log_level)
    try:
        with run_page(run):
            counts = _both_passes(run, shard_id)
    except Exception as error:
        if not is_everybodys(error):
            raise
        name = STOPPED if isinstance(error, RunStopped) else REFUSED
        return Failed(name=name, message=str(error))
    finally:
        recycle.close()
        forget()
    if turns.HELD in counts:
        return Completed(name=HELD, message="another worker has the shard")
    return counts


def _both_passes(run: RunConfig, shard_id: str) -> dict[str, int]:
    collection = current(run)
    run, works = collection.run, collection.pending(shard_id)
    counts = Counter[str]()
    to_draw = proxies_to_draw(run, works)
    if to_draw:
        counts.update(_pass("proxies", proxy_shard, run, shard_id, to_draw))
        if turns.HELD in counts:
            return counts
        models.release()  # the proxy maker's memory belongs to the video model now
    counts.update(_pass("videos", animate, run, shard_id, len(works)))
    return dict(counts)


def _pass(
    name: str,
    task: Callable[[RunConfig, str], dict[str, int]],
    run: RunConfig,
    shard_id: str,
    works: int,
) -> dict[str, int]:
    with PassProgress(name, works) as progress:
        current(run).on_record = progress.add
        counts = task(run, shard_id)
    log.info("%s, shard %s: %s", name, shard_id, spelled(counts))
    return counts
