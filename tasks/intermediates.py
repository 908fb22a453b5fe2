"""Intermediate results as bytes: what lies in the cache, and how damage is noticed.

Pictures are PNG (its checksums show damage), latents are safetensors whose header carries a CRC-32
of the values, PNG's own checksum. Latents are rounded to the stored dtype whether or not they are
stored, so that a resumed run continues from exactly what an uninterrupted one had.
"""

from __future__ import annotations

import io
import json
import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import PIL.Image
    import torch

LATENTS = "safetensors"
PICTURE = "png"


class Damaged(ValueError):
    """A cached object is not what was written; it is to be recomputed."""


def picture_to_bytes(image: PIL.Image.Image, facts: Mapping[str, str]) -> bytes:
    """PNG bytes of an RGB picture, with ``facts`` in its text chunks."""
    from PIL.PngImagePlugin import PngInfo

    texts = PngInfo()
    for name, value in facts.items():
        texts.add_text(name, value)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1, pnginfo=texts)
    return buffer.getvalue()


def picture_from_bytes(data: bytes) -> tuple[PIL.Image.Image, dict[str, str]]:
    """The RGB picture and its facts. Raises Damaged."""
    import PIL.Image

    from epa_core.errors import ItemError
    from epa_core.media.images import from_png

    try:
        image = from_png(data)
    except ItemError as error:
        raise Damaged(f"cached picture cannot be read: {error.message}") from error
    texts = PIL.Image.open(io.BytesIO(data), formats=["PNG"]).info
    return image, {str(k): v for k, v in texts.items() if isinstance(v, str)}


def latents_to_bytes(latents: torch.Tensor, fact: str = "") -> bytes:
    """Safetensors bytes of one latent clip in its own dtype, with a checksum of its values.

    ``fact`` is what is to be known of it, any text.
    """
    from safetensors.torch import save

    stored = latents.contiguous()
    facts = {"fact": fact} if fact else {}
    return save({"latents": stored}, metadata={"crc32": _checksum(stored, fact), **facts})


def latents_from_bytes(data: bytes) -> torch.Tensor:
    """The latent clip as float32. Raises Damaged."""
    return latents_and_fact(data)[0]


def latents_and_fact(data: bytes) -> tuple[torch.Tensor, str]:
    """The latent clip as float32, and what is known of it ("" if nothing). Raises Damaged."""
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        stored = load(data)["latents"]
        wanted, fact = header["__metadata__"]["crc32"], header["__metadata__"].get("fact", "")
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise Damaged(f"cached latents cannot be read: {error}") from error
    if _checksum(stored, fact) != wanted:
        raise Damaged("cached latents differ from their checksum")
    return stored.to(torch.float32), fact


def _checksum(tensor: torch.Tensor, fact: str) -> str:
    return f"{zlib.crc32(fact.encode(), zlib.crc32(tensor.cpu().numpy().data)):08x}"


def cache_folder(stage: str) -> str:
    """Where the cache has a stage's results: both paths in one, all final latents in one."""
    return "animate" if stage == "select" else stage.partition(".")[0]
