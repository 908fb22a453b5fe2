"""First pass over a shard: draw and cache the proxy of every work that lacks one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tasks import models, proxy
from tasks.commit import commit_failure
from tasks.failures import as_item_error
from tasks.intermediates import PICTURE
from tasks.overlap import overlapped
from tasks.second_go import wants_float32
from tasks.shard import (
    Failure,
    Job,
    Shard,
    keep_proxy,
    painting_to_redraw,
    shared_time,
    split_on_failure,
    turns,
)

if TYPE_CHECKING:
    import PIL.Image

    from epa_core.cards import Proxy


@dataclass
class Drawing:
    """One work on its way to a proxy."""

    job: Job
    painting: PIL.Image.Image | None  # None: there is nothing to draw
    seconds: dict[str, float] = field(default_factory=dict)
    proxy: PIL.Image.Image | None = None
    cut: str = ""  # of its prompt


def run(shard: Shard) -> list[Failure]:
    """Draw the missing proxies of ``shard``; a work that fails is recorded and left out later.

    Returns the failures, not recorded yet, that deserve a second go in float32.
    """
    held: list[Failure] = []

    def compute(batch: list[Drawing | Failure]) -> Iterator[Drawing | Failure]:
        drawings = [entry for entry in batch if isinstance(entry, Drawing) and entry.painting]
        yield from (entry for entry in batch if isinstance(entry, Failure) or not entry.painting)
        yield from split_on_failure(drawings, lambda part: _draw(shard, part), "proxy")

    def finish(entry: Drawing | Failure) -> None:
        shard.in_flight.end(entry.job)
        if isinstance(entry, Failure):
            if wants_float32(shard, entry):
                held.append(entry)
            else:
                commit_failure(shard, entry)
            return
        if entry.proxy is not None:
            keep_proxy(shard, entry.job, entry.proxy, entry.seconds, entry.cut)
            shard.counts["drawn"] += 1
            shard.on_record("drawn")
        shard.watch.succeeded()

    shard.watch.begin("proxies")
    jobs = [job for job in shard.jobs if "proxy" in job.stages]
    if jobs:
        maker_of(shard)  # its absence is no fault of a painting's
    for part in turns(shard, jobs):
        overlapped(
            part,
            lambda job: _fetch(shard, job),
            lambda entry: (
                entry.painting.size if isinstance(entry, Drawing) and entry.painting else None
            ),
            compute,
            finish,
            batch_size=shard.batch_size,
            depth=shard.execution.queue_depth,
        )
    return held


def _fetch(shard: Shard, job: Job) -> Drawing | Failure:
    shard.in_flight.begin(job)
    seconds: dict[str, float] = {}
    try:
        if shard.cache.has("proxy", job.work.keys["proxy"], PICTURE):
            shard.counts["cached"] += 1
            shard.on_record("cached")
            return Drawing(job, None)
        return Drawing(job, painting_to_redraw(shard, job, seconds), seconds)
    except Exception as error:  # noqa: BLE001  # the item loop: judged in one place, then recorded
        return Failure(job, as_item_error(error, "prepare"), seconds)


def _draw(shard: Shard, drawings: list[Drawing]) -> list[Drawing]:
    """Fill in ``proxy`` of every drawing, all in one call."""
    with shared_time(drawings, "t_proxy"):
        made = draw_proxies(shard, [(d.job, d.painting) for d in drawings if d.painting])
    for drawing, (image, cut) in zip(drawings, made, strict=True):
        drawing.proxy, drawing.cut = image, cut
    return drawings


def draw_proxies(
    shard: Shard, paintings: list[tuple[Job, PIL.Image.Image]]
) -> list[tuple[PIL.Image.Image, str]]:
    """One proxy per painting, those of one size in one call, and what of its prompt was cut off."""
    maker = maker_of(shard)
    drawn: dict[int, PIL.Image.Image] = {}
    for size in dict.fromkeys(painting.size for _, painting in paintings):
        chosen = [index for index, (_, painting) in enumerate(paintings) if painting.size == size]
        made = proxy.run(
            maker,
            [paintings[index][1] for index in chosen],
            [paintings[index][0].proxy_prompt for index in chosen],
            [shard.seed_of(paintings[index][0], "proxy") for index in chosen],
        )
        drawn.update(zip(chosen, made, strict=True))
    return [
        (drawn[index], maker.cut_off(job.proxy_prompt)) for index, (job, _) in enumerate(paintings)
    ]


def maker_of(shard: Shard) -> Proxy:
    """The recipe's proxy maker; it is loaded at the first call."""
    params = shard.recipe.proxy
    if shard.strict:
        params = params.model_copy(update={"dtype": "float32"})
    return models.proxy_maker(params, shard.execution.device)
