"""Several seeds for a work: each goes through the model and is measured, and the best is kept.

Measuring runs beside the model, so the next candidate is on its way meanwhile; of what is measured
only the best so far keeps its frames.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from catalogs.choice import Choice, Tried
from catalogs.codes import kind
from epa_core.errors import ItemError
from tasks import measure, select
from tasks.compute import Awakening, stored
from tasks.failures import as_item_error
from tasks.shard import Failure, Shard

if TYPE_CHECKING:
    import torch

    from epa_core.metrics.quality import Quality

Step = Callable[[list[Awakening]], Iterator[Awakening | Failure]]  # one result each, in order


@dataclass
class _Contest:
    """One work, what came of its candidates, and the best of them."""

    entry: Awakening
    first: torch.Tensor | None  # final latents of candidate 0, where the cache has them
    tried: dict[int, Tried] = field(default_factory=dict)
    broken: list[Failure] = field(default_factory=list)  # candidates that became no video
    failure: Failure | None = None  # of the whole work
    best: Awakening | None = None
    place: tuple[bool, float, int] | None = None

    def candidate(self, number: int) -> Awakening:
        """The work with one of its seeds."""
        latents = dict(self.entry.latents)
        if number == 0 and self.first is not None:
            latents["animate"] = self.first
        return replace(self.entry, candidate=number, latents=latents, fresh={})


def best_of(
    shard: Shard, entries: Sequence[Awakening], make_paths: Step, compute: Step
) -> Iterator[Awakening | Failure]:
    """The best candidate of every entry (all of one size), or why there is none.

    All are tried with the first seeds; those whose best is flagged then with one more after the
    other. A candidate without numbers drops out, any other failure is the work's: what the machine
    has room for must not decide who wins. Yields nothing where the shard was taken over.
    """
    settings = shard.recipe.select
    contests = [_Contest(entry, entry.latents.pop("animate", None)) for entry in entries]
    todo = [(contest, n) for contest in contests for n in range(settings.candidates)]
    while todo and not shard.in_flight.lost:
        _make_missing_paths(todo, make_paths)
        _try(shard, todo, compute)
        todo = [(c, len(c.tried)) for c in contests if _wants_another(settings, c)]
    if not shard.in_flight.lost:
        yield from (_outcome(shard, contest) for contest in contests)


def _wants_another(settings: select.Params, contest: _Contest) -> bool:
    if contest.failure or contest.best is None or contest.best.quality is None:
        return False
    return len(contest.tried) < settings.most and contest.best.quality.flag in settings.flags


def _make_missing_paths(todo: Sequence[tuple[_Contest, int]], make_paths: Step) -> None:
    """What the candidates start from, once for each work that has to animate any."""
    lacking = {id(c.entry): c for c, number in todo if number or c.first is None}
    contests = list(lacking.values())
    for contest, made in zip(contests, make_paths([c.entry for c in contests]), strict=True):
        if isinstance(made, Failure):
            contest.failure = made


def _try(shard: Shard, todo: Sequence[tuple[_Contest, int]], compute: Step) -> None:
    """Candidates through the model, as many to a call as paintings would be, and measured."""
    waiting: deque[tuple[_Contest, Awakening, Future[tuple[Quality, float]]]] = deque()
    left = deque(todo)
    with ThreadPoolExecutor(1, "measure") as measurer:
        while left and not shard.in_flight.lost:
            part: list[tuple[_Contest, Awakening]] = []
            while left and len(part) < shard.batch_size:
                contest, number = left.popleft()
                if contest.failure is None:
                    part.append((contest, contest.candidate(number)))
            results = compute([candidate for _, candidate in part])
            for (contest, candidate), result in zip(part, results, strict=True):
                shard.in_flight.got_on()
                if isinstance(result, Failure):
                    _drop_out(shard, contest, candidate, result)
                else:
                    waiting.append((contest, result, measurer.submit(_measured, result)))
            while len(waiting) > shard.batch_size:
                _judge(shard, *waiting.popleft())
        while waiting:
            _judge(shard, *waiting.popleft())


def _measured(candidate: Awakening) -> tuple[Quality, float]:
    if candidate.frames is None:
        raise ValueError("the candidate has not been computed")
    start = time.perf_counter()
    quality = measure.run(candidate.frames, candidate.source.painting)
    return quality, time.perf_counter() - start


def _drop_out(shard: Shard, contest: _Contest, candidate: Awakening, failure: Failure) -> None:
    if kind(failure.error.code) != "numeric":
        contest.failure = contest.failure or failure
        return
    contest.broken.append(failure)
    seed = shard.seed_of(candidate.job, "animate", candidate.candidate)
    contest.tried[candidate.candidate] = Tried(seed=seed, code=failure.error.code)


def _judge(
    shard: Shard, contest: _Contest, candidate: Awakening, future: Future[tuple[Quality, float]]
) -> None:
    """Enter a measured candidate; the better of it and the best so far keeps its frames."""
    seconds = contest.entry.seconds
    try:
        quality, took = future.result()
    except Exception as error:  # noqa: BLE001  # the item loop: judged in one place
        contest.failure = Failure(candidate.job, as_item_error(error, "measure"), seconds)
        return
    seconds["t_encode"] = seconds.get("t_encode", 0.0) + took  # where measuring always counts
    rule, number = shard.recipe.select.rule, candidate.candidate
    seed = shard.seed_of(candidate.job, "animate", number)
    contest.tried[number] = select.tried(seed, quality, rule)
    place = select.rank(quality, rule, number)
    if contest.place is None or place < contest.place:
        contest.best, contest.place = candidate, place
        candidate.quality = quality


def _outcome(shard: Shard, contest: _Contest) -> Awakening | Failure:
    """The work with its best candidate's frames, or its failure."""
    entry, best = contest.entry, contest.best
    if contest.failure is not None:
        return contest.failure
    if best is None:
        return _all_broken(contest)
    tried = tuple(contest.tried[number] for number in sorted(contest.tried))
    entry.latents = {}
    if contest.first is not None and best.candidate == 0 and shard.keeps("animate"):
        entry.fresh["select"] = stored(shard, contest.first)
    elif "animate" in best.fresh:
        entry.fresh["select"] = best.fresh["animate"]
    entry.choice = Choice(candidate=best.candidate, tried=tried)
    entry.frames, entry.quality, entry.prompt_cut = best.frames, best.quality, best.prompt_cut
    entry.batch_size, entry.peak_memory = best.batch_size, best.peak_memory
    return entry


def _all_broken(contest: _Contest) -> Failure:
    first = contest.broken[0]
    many = len(contest.broken)
    with_all = f"{first.error.message}, with each of {many} seeds" if many > 1 else ""
    error = ItemError(first.error.code, with_all or first.error.message, stage=first.error.stage)
    return Failure(first.job, error, contest.entry.seconds)
