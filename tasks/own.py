"""What a model reads of one work alone: motion mask, motion strength, negative prompt."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from epa_core.errors import ItemError
from tasks.beside import MASK, decode_beside, read_beside
from tasks.shard import Job, Shard, Source

if TYPE_CHECKING:
    import PIL.Image

    from epa_core.media.images import ImageLimits


def own_arguments(shard: Shard, job: Job, source: Source) -> dict[str, Any]:
    """Arguments of the model's call that hold for this work only, from the catalog's columns.

    Raises ItemError ``bad_motion``, and what a picture beside the painting can raise.
    """
    read = shard.recipe.card.per_work
    own: dict[str, Any] = {}
    if "mask_uri" in read and job.row["mask_uri"]:
        data, original = read_beside(job.row, MASK, shard.limits), (source.width, source.height)
        own["mask_image"] = mask(data, source.painting.size, original, shard.limits)
    if "motion_strength" in read and job.row["motion_strength"]:
        own["motion_strength"] = _strength(job.row["motion_strength"])
    if "negative_prompt" in read and job.row["negative_prompt"]:
        own["negative_prompt"] = job.row["negative_prompt"]
    return own


def mask(
    data: bytes,
    size: tuple[int, int],
    original: tuple[int, int],
    limits: ImageLimits | None = None,
) -> PIL.Image.Image:
    """Decode a mask (white may move, black stays) and fit it to the canvas ``size``, mode L.

    It must have the shape of the ``original`` painting (width, height), else ItemError
    ``mask_size``.
    """
    from epa_core.media.images import fit

    return fit(decode_beside(data, original, MASK, limits).convert("L"), size)


def _strength(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 100:
        raise ItemError(
            "bad_motion",
            f"the catalog's motion_strength is {text!r}; a number from 0 to 100 is expected",
            stage="prepare",
        )
    return value
