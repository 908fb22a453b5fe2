"""What both passes over a shard share: its context, one job per work, the prepared painting."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import takewhile
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from catalogs.cache import Cache
from catalogs.images import read_image
from catalogs.plan import Work
from catalogs.store import Store
from epa_core.errors import ItemError
from tasks import prepare
from tasks.config import Execution, Recipe
from tasks.failures import FailureWatch, as_item_error, out_of_memory
from tasks.in_flight import InFlight
from tasks.intermediates import (
    PICTURE,
    Damaged,
    cache_folder,
    picture_from_bytes,
    picture_to_bytes,
)
from tasks.models import free_memory, resolve_device

if TYPE_CHECKING:
    import PIL.Image

    from catalogs.records import Record
    from epa_core.media.images import ImageLimits


@dataclass(frozen=True)
class Job:
    """One work to do: its keys, its catalog row, which attempt this is, what is left to do."""

    work: Work
    row: Mapping[str, Any]
    attempt: int = 1
    stages: tuple[str, ...] = ()  # those without a result yet
    crashes: int = 0  # workers that died while they worked on it

    @property
    def prompt(self) -> str:
        """The motion prompt of the video."""
        return str(self.row["prompt"])

    @property
    def proxy_prompt(self) -> str:
        """The prompt of the proxy image, the video's own unless the catalog has another."""
        return str(self.row["proxy_prompt"] or self.row["prompt"])


class SeedOf(Protocol):
    """Gives the seed of one stage of a job, or of its further candidates."""

    def __call__(self, job: Job, stage: str, candidate: int = 0) -> int: ...  # noqa: D102


@dataclass
class Shard:
    """A shard at work: where results go and how they are made."""

    shard_id: str
    jobs: list[Job]
    store: Store
    cache: Cache
    recipe: Recipe
    execution: Execution
    max_prompt: int
    seed_of: SeedOf
    material_of: Callable[[Job], Mapping[str, Any]]
    facts: Mapping[str, str]  # model.identity, proxy.identity, config.digest
    cell: str | None = None  # which cell of the run's matrix, where it has one
    strict: bool = False  # a second go in float32, after half precision gave no numbers
    on_record: Callable[[str], None] = lambda status: None
    on_commit: Callable[[Record], None] = lambda record: None
    records: list[Record] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    watch: FailureWatch = field(default_factory=FailureWatch)
    in_flight: InFlight = field(default_factory=InFlight)
    suspects: list[Job] = field(default_factory=list)  # to be done in processes of their own

    @property
    def batch_size(self) -> int:
        """Paintings in one model call: on a CPU larger tensors only cost memory traffic."""
        given = self.execution.batch_size
        return given or (1 if resolve_device(self.execution.device) == "cpu" else 2)

    def keeps(self, stage: str) -> bool:
        """Whether the latents of a stage go into the cache.

        Keys say half precision: what float32 made in a second go serves its own work only.
        """
        return cache_folder(stage) in self.cache.keep and not self.strict

    @property
    def limits(self) -> ImageLimits:
        """What counts as a usable painting."""
        from epa_core.media.images import ImageLimits

        return ImageLimits(**self.execution.limits.model_dump(exclude={"require_rights"}))


@dataclass
class Source:
    """The prepared painting and what is known of the file it came from."""

    painting: PIL.Image.Image
    sha256: str
    bytes: int
    width: int
    height: int


STRICT = "strict_numerics"  # fact of a cached proxy that half precision could not draw


@contextmanager
def timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    """Add the wall time of the block to ``seconds[name]``."""
    start = time.perf_counter()
    try:
        yield
    finally:
        seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - start


@contextmanager
def shared_time(entries: Sequence[HasJob], name: str) -> Iterator[None]:
    """Time a block that serves several works; each is charged its share."""
    seconds: dict[str, float] = {}
    with timed(seconds, name):
        yield
    for entry in entries:
        entry.seconds[name] = entry.seconds.get(name, 0.0) + seconds[name] / len(entries)


def load_painting(
    shard: Shard, job: Job, seconds: dict[str, float], stage: str = "prepare"
) -> Source:
    """The painting prepared for the video (or for ``prepare.proxy``), from the cache or its source.

    Raises ItemError, OSError.
    """
    check_prompt(shard, job)
    cached = cached_picture(shard, "prepare", job.work.keys[stage])
    if cached is not None:
        painting, facts = cached
        add_seconds(seconds, facts)
        width, height = (int(facts[name]) for name in ("width", "height"))
        return Source(painting, facts["sha256"], int(facts["bytes"]), width, height)
    with timed(seconds, "t_fetch"):
        try:
            data = read_image(job.row["image_uri"], max_bytes=shard.limits.max_bytes)
        except Exception as error:  # judged here: a later stage may ask for the painting again
            raise as_item_error(error, "prepare") from error
    with timed(seconds, "t_prepare"):
        source = _prepared(shard, job, data, stage)
    facts = {"sha256": source.sha256, "bytes": str(source.bytes)}
    facts |= {"width": str(source.width), "height": str(source.height)}
    facts |= {name: f"{seconds[name]:.4f}" for name in ("t_fetch", "t_prepare")}
    keep_picture(shard, "prepare", job.work.keys[stage], source.painting, facts)
    return source


def painting_to_redraw(shard: Shard, job: Job, seconds: dict[str, float]) -> PIL.Image.Image:
    """The painting on the proxy maker's canvas, fitted from the scan itself."""
    stage = "prepare.proxy" if "prepare.proxy" in job.work.keys else "prepare"
    return load_painting(shard, job, seconds, stage).painting


def add_seconds(seconds: dict[str, float], facts: Mapping[str, str]) -> None:
    """Charge a work with what its cached picture cost to make, in whichever pass that was."""
    for name, value in facts.items():
        if name.startswith("t_"):
            seconds[name] = seconds.get(name, 0.0) + float(value)


def keep_proxy(
    shard: Shard, job: Job, image: PIL.Image.Image, seconds: Mapping[str, float], cut: str
) -> None:
    """Cache a drawn proxy, with the seconds it took and what of the prompt its maker cut off."""
    facts = {"t_proxy": f"{seconds.get('t_proxy', 0.0):.4f}", "prompt_cut": cut}
    if shard.strict:
        facts[STRICT] = "float32"
    keep_picture(shard, "proxy", job.work.keys["proxy"], image, facts)


def _prepared(shard: Shard, job: Job, data: bytes, stage: str) -> Source:
    digest = hashlib.sha256(data).hexdigest()
    known = job.row["image_sha256"]
    if known and known != digest:
        raise ItemError(
            "source_changed",
            "the picture is no longer the one in the catalog; build the catalog again",
            stage="fetch",
        )
    canvas = shard.recipe.prepare
    if stage == "prepare.proxy":
        proxy = shard.recipe.proxy
        canvas = prepare.Params(area=proxy.area, multiple=proxy.multiple)
    painting, (width, height) = prepare.run(data, canvas, shard.limits)
    return Source(painting, digest, len(data), width, height)


def cached_picture(
    shard: Shard, stage: str, key: str
) -> tuple[PIL.Image.Image, dict[str, str]] | None:
    """A cached picture and its facts; a damaged one is discarded and counts as missing."""
    data = shard.cache.get(stage, key, PICTURE)
    if data is None:
        return None
    try:
        return picture_from_bytes(data)
    except Damaged:
        shard.cache.discard(stage, key, PICTURE)
        return None


def keep_picture(
    shard: Shard, stage: str, key: str, image: PIL.Image.Image, facts: Mapping[str, str]
) -> None:
    """Cache a picture, where its stage is kept."""
    if stage in shard.cache.keep:
        shard.cache.put(stage, key, PICTURE, picture_to_bytes(image, facts))


def check_prompt(shard: Shard, job: Job) -> None:
    """Refuse a work by its row: without a prompt, one no model can read, no rights where asked.

    Raises ItemError.
    """
    prompt, rights = job.row["prompt"], (job.row["license"], job.row["rights_statement"])
    asked = shard.execution.limits.require_rights
    if asked and not any(text and text.strip() for text in rights):
        raise ItemError(
            "no_rights", "the catalog names neither licence nor rights statement", stage="prepare"
        )
    if not prompt:
        raise ItemError("empty_prompt", "the work has no motion prompt", stage="prepare")
    longest = max(len(prompt), len(job.proxy_prompt))
    if longest > shard.max_prompt:
        raise ItemError(
            "prompt_too_long",
            f"the prompt has {longest} characters, at most {shard.max_prompt} are allowed",
            stage="prepare",
        )


def turns(shard: Shard, jobs: Sequence[Job]) -> Iterator[Iterator[Job]]:
    """The jobs in the groups that may be at work at the same time.

    All first but those that a worker died with; then each of these by itself, so that another
    death tells the guilty from its neighbours. Ends early where the shard was taken over.
    """
    calm = [job for job in jobs if not job.crashes]
    shard.in_flight.expect(calm)
    for group in (calm, *([job] for job in jobs if job.crashes)):
        yield takewhile(lambda _: not shard.in_flight.lost, group)


@dataclass
class Failure:
    """A work that cannot be finished, and why."""

    job: Job
    error: ItemError
    seconds: dict[str, float] = field(default_factory=dict)


class HasJob(Protocol):
    """Anything on its way through a pass."""

    job: Job
    seconds: dict[str, float]


Entry = TypeVar("Entry", bound=HasJob)


def split_on_failure(
    entries: list[Entry],
    work: Callable[[list[Entry]], list[Entry]],
    stage: str,
    save_memory: Callable[[], bool] = lambda: False,
) -> Iterator[Entry | Failure]:
    """Results of ``work`` on all entries at once; a batch that fails is halved and tried again.

    So one bad painting fails alone, and a batch too large for the GPU shrinks until it fits. A
    single one that is still too large is tried once more if ``save_memory`` could do something.
    """
    if not entries:
        return
    try:
        results = work(entries)
    except Exception as error:  # noqa: BLE001  # the item loop: judged in one place, then recorded
        judged = as_item_error(error, stage)
        oom = out_of_memory(error)
    else:
        yield from results
        return
    if oom:  # outside the handler: the error's traceback held the batch's tensors
        free_memory()
    if len(entries) > 1:
        half = len(entries) // 2
        yield from split_on_failure(entries[:half], work, stage, save_memory)
        yield from split_on_failure(entries[half:], work, stage, save_memory)
    elif oom and save_memory():
        yield from split_on_failure(entries, work, stage)
    else:
        yield Failure(entries[0].job, judged, entries[0].seconds)
