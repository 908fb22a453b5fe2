"""From a finished or failed work to its files and its record; the record is the commit."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable
from dataclasses import asdict, replace
from functools import cache
from importlib import metadata
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from catalogs import paths
from catalogs.codes import retried
from catalogs.keys import digest_bytes
from catalogs.records import Output, Record, commit, utc_now
from epa_core.errors import ItemError
from tasks import encode, measure, metrics
from tasks.intermediates import LATENTS, cache_folder, latents_to_bytes
from tasks.models import resolve_device
from tasks.shard import Failure, Job, Shard, timed

if TYPE_CHECKING:
    from epa_core.cards import ModelCard
    from epa_core.media.video import Clip
    from tasks.compute import Awakening

_TYPES = {
    "mp4": "video/mp4",
    "webp": "image/webp",
    "jpg": "image/jpeg",
    "mkv": "video/x-matroska",
    "gif": "image/gif",
}


def commit_done(shard: Shard, entry: Awakening) -> None:
    """Encode, measure, upload, record. Raises ItemError, StoreError."""
    frames = entry.frames
    if frames is None:
        raise ValueError("the work has not been computed")
    entry.frames = None
    with timed(entry.seconds, "t_encode"):
        quality = entry.quality or measure.run(frames, entry.source.painting)
        clip = encode.run(frames, shard.recipe.encode, _tags(shard, entry.job))
    with timed(entry.seconds, "t_upload"):
        _keep_latents(shard, entry)
        outputs = _upload(shard, entry.job, clip)
    info = clip.info
    source = entry.source
    _commit(
        shard,
        entry.job,
        entry.seconds,
        status="done",
        outputs=outputs,
        **{name: info[name] for name in _FROM_CLIP},
        ai_marking=shard.recipe.encode.mark_ai,
        source_sha256=source.sha256,
        source_bytes=source.bytes,
        source_width=source.width,
        source_height=source.height,
        batch_size=entry.batch_size,
        prompt_cut=entry.prompt_cut or None,
        proxy_prompt_cut=entry.proxy_cut or None,
        strict_numerics=shard.strict or entry.proxy_strict,
        peak_memory=entry.peak_memory,
        torch=_version("torch"),
        **asdict(quality),
        **_chosen(shard, entry),
    )
    shard.watch.succeeded()


def _chosen(shard: Shard, entry: Awakening) -> dict[str, Any]:
    """The seed of the kept candidate, and what is known of the others; nothing without any."""
    if entry.choice is None:
        return {}
    kept = entry.choice.tried[entry.choice.candidate]
    return {"seed": kept.seed, **entry.choice.facts()}


def commit_failure(shard: Shard, failure: Failure) -> None:
    """Record that a work failed, and why. Raises StoreError."""
    error = failure.error
    _commit(
        shard,
        failure.job,
        failure.seconds,
        status="failed",
        code=error.code,
        message=error.message,
        stage_failed=error.stage,
        retryable=retried(error.code),
    )
    shard.watch.failed(error)


def commit_quarantine(shard: Shard, job: Job, deaths: int) -> None:
    """Set a work aside that workers keep dying with. Raises StoreError."""
    message = f"{deaths} workers died while they worked on it"
    error = ItemError("worker_killed", message, stage="animate")
    facts = {"status": "quarantined", "code": error.code, "message": error.message}
    _commit(shard, replace(job, crashes=deaths), {}, stage_failed=error.stage, **facts)
    shard.watch.failed(error)


_FROM_CLIP = ("frames_sha256", "width", "height", "frames", "fps", "duration", "codec", "loop")


def _commit(shard: Shard, job: Job, seconds: dict[str, float], **facts: Any) -> None:
    facts |= {name: round(value, 4) for name, value in seconds.items()}
    facts |= {"device": resolve_device(shard.execution.device), "worker": _worker()}
    facts |= {"code_version": _version("epa"), "finished_at": utc_now()}
    facts |= {"started_at": shard.in_flight.started_at(job), "crash_count": job.crashes}
    if shard.in_flight.lost:
        return  # who took over does this work, too, and may have sealed it
    stands = commit(shard.store, record_of(shard, job, **facts))
    shard.in_flight.end(job)
    shard.records.append(stands)
    shard.counts[stands.status] += 1
    shard.on_record(stands.status)
    shard.on_commit(stands)
    metrics.recorded(stands)


def record_of(shard: Shard, job: Job, **facts: Any) -> Record:
    """A record of what catalog and run say of a work, and of the ``facts`` that they cannot."""
    row, recipe = job.row, shard.recipe
    styles = row["styles"] or []
    facts.setdefault("seed", shard.seed_of(job, "animate"))
    return Record(
        item_id=job.work.item_id,
        shard_id=shard.shard_id,
        key=job.work.key,
        keys=dict(job.work.keys),
        attempt=job.attempt,
        source_uri=row["image_uri"],
        rights=row["rights_statement"],
        license=row["license"],
        artist=row["artist"],
        title=row["title"],
        style=styles[0] if styles else None,
        genre=row["genre"],
        year=row["year_begin"],
        prompt=row["prompt"],
        prompt_source=row["prompt_source"],
        prompt_rule=row["prompt_rule"],
        variant=recipe.variant,
        cell=shard.cell,
        model=recipe.model.name,
        model_identity=shard.facts["model.identity"],
        proxy=recipe.proxy.name if recipe.uses_proxy else None,
        proxy_identity=shard.facts["proxy.identity"] if recipe.uses_proxy else None,
        material=json.dumps(shard.material_of(job), sort_keys=True, ensure_ascii=False),
        config_digest=shard.facts["config.digest"],
        **facts,
    )


def _upload(shard: Shard, job: Job, clip: Clip) -> tuple[Output, ...]:
    """Put every file under a name that holds the item, its key and the content's digest."""
    digests = {name: digest_bytes(data) for name, data in clip.files.items()}
    content = content_digest(digests.values())
    outputs = []
    for name, data in clip.files.items():
        path = paths.output(job.work.item_id, job.work.key, content, name, label=_label(job))
        shard.store.put(path, data, _TYPES[name.rpartition(".")[2]])
        outputs.append(Output(name=name, path=path, sha256=digests[name], bytes=len(data)))
    return tuple(outputs)


def content_digest(digests: Iterable[str]) -> str:
    """Digest of a whole result, from those of its files; its folder is named by it."""
    return digest_bytes("".join(sorted(digests)).encode())


def _keep_latents(shard: Shard, entry: Awakening) -> None:
    for stage, latents in entry.fresh.items():
        fact = entry.choice.model_dump_json() if stage == "select" and entry.choice else ""
        data = latents_to_bytes(latents, fact)
        shard.cache.put(cache_folder(stage), entry.job.work.keys[stage], LATENTS, data)
    entry.fresh.clear()


def _label(job: Job) -> str:
    """What a person would call the work's folder."""
    named = [job.row["artist"], job.row["title"]]
    return " ".join(name for name in named if name) or PurePosixPath(job.row["image_uri"]).stem


def _tags(shard: Shard, job: Job) -> dict[str, str]:
    row = job.row
    title = row["title"] or job.work.item_id
    return {
        "title": f"{title} (animated)",
        "artist": row["artist"] or "",
        "description": job.prompt,
        "copyright": row["rights_statement"] or row["license"] or "",
        "item_id": job.work.item_id,
        "key": job.work.key,
        "config": shard.facts["config.digest"],
        "source_type": source_type(shard.recipe.card),
    }


def source_type(card: ModelCard) -> str:
    """IPTC's term for what ``card``'s model makes: the embedded formula was trained on nothing."""
    return "trainedAlgorithmicMedia" if card.weights else "algorithmicMedia"


@cache
def _version(package: str) -> str:
    return metadata.version(package)


@cache
def _worker() -> str:
    return f"{platform.node()}:{os.getpid()}"
