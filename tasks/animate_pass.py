"""Second pass over a shard: distil, fuse, animate, encode, measure, upload, record."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

import cv2

from catalogs.choice import Choice
from catalogs.errors import StoreError
from epa_core.errors import ItemError
from epa_core.media.images import fit
from tasks import proxy
from tasks.beside import PROXY, read_beside
from tasks.candidates import best_of
from tasks.commit import commit_done, commit_failure
from tasks.compute import Awakening, check_model, compute_batch, make_paths, slice_vae
from tasks.failures import as_item_error
from tasks.intermediates import LATENTS, Damaged, cache_folder, latents_and_fact
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
        undecided = shard.recipe.select.active
        one_of_many = [entry for entry in ready if undecided and entry.choice is None]
        yield from step(compute_batch, [e for e in ready if not undecided or e.choice])
        if one_of_many:
            steps = partial(step, make_paths), partial(step, compute_batch)
            yield from best_of(shard, one_of_many, *steps)

    def step(
        work: Callable[[Shard, list[Awakening]], list[Awakening]], entries: list[Awakening]
    ) -> Iterator[Awakening | Failure]:
        return split_on_failure(
            entries, lambda part: work(shard, part), "animate", partial(slice_vae, shard)
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
            latents, choice = ({}, None) if shard.strict else _cached_latents(shard, job)
            own = own_arguments(shard, job, source)
            entry = Awakening(job, source, latents, own, seconds, choice=choice)
        if "proxy" in job.work.keys:
            _take_proxy(shard, entry)
        return entry
    except Exception as error:  # noqa: BLE001  # the item loop: judged in one place, then recorded
        return Failure(job, as_item_error(error, "prepare"), seconds)


def _cached_latents(shard: Shard, job: Job) -> tuple[dict[str, torch.Tensor], Choice | None]:
    """The final latents where they are cached, else those of each path that are.

    Where several seeds are tried, the final ones are the kept candidate's, with the choice; else
    candidate 0 may be there from a time without candidates, and the others need the paths.
    """
    keys = job.work.keys
    if "select" in keys:
        cached = _cached(shard, "select", keys["select"])
        try:
            if cached is not None:
                return {"animate": cached[0]}, Choice.model_validate_json(cached[1])
        except ValueError:
            shard.cache.discard(cache_folder("select"), keys["select"], LATENTS)
    found = {}
    for stage in ("animate", "distill.real", "distill.proxy"):
        if stage not in keys or ("animate" in found and "select" not in keys):
            continue
        cached = _cached(shard, stage, keys[stage])
        if cached is not None:
            found[stage] = cached[0]
    return found, None


def _cached(shard: Shard, stage: str, key: str) -> tuple[torch.Tensor, str] | None:
    """Latents of a stage from the cache and what is known of them; damaged ones are discarded."""
    data = shard.cache.get(cache_folder(stage), key, LATENTS)
    if data is None:
        return None
    try:
        return latents_and_fact(data)
    except Damaged:
        shard.cache.discard(cache_folder(stage), key, LATENTS)
        return None


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
