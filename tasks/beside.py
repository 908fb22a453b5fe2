"""Pictures that a catalog names beside a painting: its motion mask, its given proxy."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from catalogs.errors import ConfigError, TooManyBytes
from catalogs.images import read_image
from epa_core.errors import ItemError

if TYPE_CHECKING:
    import PIL.Image

    from epa_core.media.images import ImageLimits

_MOST_ASPECT_ERROR = 0.02


@dataclass(frozen=True)
class Beside:
    """A kind of picture beside a painting: how its columns begin, and where it is needed.

    ``missing`` and ``misfit`` are the failure codes of one that is not there or of another shape.
    """

    column: str
    what: str
    stage: str
    missing: str
    misfit: str


MASK = Beside("mask", "the mask", "prepare", "no_mask", "mask_size")
PROXY = Beside("proxy", "the given proxy", "proxy", "no_proxy", "proxy_size")


def read_beside(row: Mapping[str, Any], kind: Beside, limits: ImageLimits | None = None) -> bytes:
    """The bytes at the catalog's address, the same that were there when it was built.

    Raises ItemError ``no_mask`` or ``no_proxy``, ``unreadable_file``, ``bad_reference``,
    ``too_large`` beyond the ``limits``, and
    ``source_changed`` where the catalog knows another SHA-256; StoreError as ``read_image``.
    """

    def failure(code: str, message: str) -> ItemError:
        return ItemError(code, f"{kind.what}{message}", stage=kind.stage)

    try:
        most = limits.max_bytes if limits else None
        data = read_image(row[f"{kind.column}_uri"], max_bytes=most)
    except FileNotFoundError:
        raise failure(kind.missing, " is not where the catalog says") from None
    except PermissionError:
        raise failure("unreadable_file", " may not be read") from None
    except TooManyBytes as error:
        raise failure("too_large", f": {error}") from error
    except ConfigError as error:
        raise failure("bad_reference", f": {error}") from error
    known = dict(row["extra"] or ()).get(f"{kind.column}_sha256")
    if known and known.lower() != hashlib.sha256(data).hexdigest():
        raise failure(
            "source_changed", " is no longer the one in the catalog; build the catalog again"
        )
    return data


def decode_beside(
    data: bytes, original: tuple[int, int], kind: Beside, limits: ImageLimits | None = None
) -> PIL.Image.Image:
    """Decode to RGB, of any resolution but the shape of the ``original`` (width, height), in 2 %.

    Of ``limits`` (None: the usual ones) only the number of pixels holds. Raises ItemError
    ``mask_size`` or ``proxy_size``, and what a painting that cannot be decoded raises.
    """
    from epa_core.media.images import DEFAULT_LIMITS, decode_image

    # Its own shape is judged by the painting's, which may be as long as the run allows.
    lenient = replace(limits or DEFAULT_LIMITS, min_side=1, max_aspect=math.inf)
    try:
        image = decode_image(data, lenient)
    except ItemError as error:
        message = f"{kind.what}: {error.message}"
        raise ItemError(error.code, message, stage=kind.stage) from error
    if abs((image.width / image.height) / (original[0] / original[1]) - 1) > _MOST_ASPECT_ERROR:
        raise ItemError(
            kind.misfit,
            f"{kind.what} is {image.width}x{image.height}, the painting "
            f"{original[0]}x{original[1]}: not the same shape",
            stage=kind.stage,
        )
    return image
