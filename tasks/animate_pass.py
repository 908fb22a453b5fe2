"""Second pass over a shard: distil, fuse, animate, encode, measure, upload, record."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

import cv2

from catalogs.errors import StoreError
from epa_core.errors import ItemError
from epa_core.media.images import fit
from tasks import proxy
from tasks.beside import PROXY, read_beside
from tasks.commit import commit_done, commit_failure
from tasks.compute import Awakening, check_model, compute_batch, slice_vae
from tasks.failures import as_item_error
from tasks.intermediates import LATENTS, Damaged, latents_from_bytes
from tasks.overlap import overlapped
from tasks.own import own_arguments
from tasks.second_go import wants_float32
from tasks.shard import (
    STRICT,
    Failure,
    Job,
    Shard,
    add_seconds,
    cached_picture,
    load_painting,
    split_on_failure,
    timed,
    turns,
)

if TYPE_CHECKING:
    import torch


def run(shard: Shard) -> list[Failure]:
    """Bring every job of ``shard`` to its record; only what the process cannot survive raises.

    Returns the failures, not recorded yet, that deserve a second go in float32.
    """
    held: list[Failure] = []

    def compute(batch: list[Awakening | Failure]) -> Iterator[Awakening | Failure]:
        yield from (entry for entry in batch if isinstance(entry, Failure))
        ready = [entry for entry in batch if isinstance(entry, Awakening)]
        yield from split_on_failure(
            ready, lambda part: compute_batch(shard, part), "animate", partial(slice_vae, shard)
        )

    def finish(entry: Awakening | Failure) -> None:
        if isinstance(entry, Awakening):
            try:
                commit_done(shard, entry)
                return
            except StoreError:
                raise  # nothing can be recorded: the run ends, what is recorded stays
            except Exception as error:  # noqa: BLE001  # the item loop, as in `_fetch`
                entry = Failure(entry.job, as_item_error(error, "encode"), entry.seconds)
        if wants_float32(shard, entry):
            shard.in_flight.end(entry.job)
            held.append(entry)
        else:
            commit_failure(shard, entry)

    shard.watch.begin("videos")
    # The measures run beside the model; a pool of their own would only take its cores.
    cv2.setNumThreads(1)
    if shard.jobs:
        check_model(shard)  # a model that cannot be had is no fault of a painting's
    for jobs in turns(shard, shard.jobs):
        overlapped(
            jobs,
            lambda job: _fetch(shard, job),
            lambda entry: entry.source.painting.size if isinstance(entry, Awakening) else None,
            compute,
            finish,
            batch_size=shard.batch_size,
            depth=shard.execution.queue_depth,
        )
    return held


# -- fetch: whatever the cache has, so that the GPU does only what is missing


def _fetch(shard: Shard, job: Job) -> Awakening | Failure:
    shard.in_flight.begin(job)
    seconds: dict[str, float] = {}
    try:
        source = load_painting(shard, job, seconds)
        with timed(seconds, "t_fetch"):
            # In the second go nothing of the first one's precision is taken over.
            latents = {} if shard.strict else _cached_latents(shard, job)
            entry = Awakening(job, source, latents, own_arguments(shard, job, source), seconds)
        if "proxy" in job.work.keys:
            _take_proxy(shard, entry)
        return entry
    except Exception as error:  # noqa: BLE001  # the item loop: judged in one place, then recorded
        return Failure(job, as_item_error(error, "prepare"), seconds)


def _cached_latents(shard: Shard, job: Job) -> dict[str, torch.Tensor]:
    """The final latents where they are cached, else those of each path that are."""
    found = {}
    for stage in ("animate", "distill.real", "distill.proxy"):
        key = job.work.keys.get(stage)
        if key is None or "animate" in found:
            continue
        folder = stage.partition(".")[0]
        data = shard.cache.get(folder, key, LATENTS)
        if data is None:
            continue
        try:
            found[stage] = latents_from_bytes(data)
        except Damaged:
            shard.cache.discard(folder, key, LATENTS)
    return found


def _take_proxy(shard: Shard, entry: Awakening) -> None:
    """The proxy drawn in the first pass or named in the catalog; without one it is drawn later."""
    job, size = entry.job, entry.source.painting.size
    if shard.recipe.proxy.name != "given":
        cached = cached_picture(shard, "proxy", job.work.keys["proxy"])
        if cached is not None:
            image, facts = cached
            entry.proxy, entry.proxy_cut = fit(image, size), facts.get("prompt_cut", "")
            entry.proxy_strict = STRICT in facts
            add_seconds(entry.seconds, facts)
        return
    if not job.row["proxy_uri"]:
        raise ItemError("no_proxy", "the catalog names no proxy for this work", stage="proxy")
    data = read_beside(job.row, PROXY, shard.limits)
    original = (entry.source.width, entry.source.height)
    entry.proxy = proxy.given(data, size, original, shard.limits)
