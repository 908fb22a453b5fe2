"""Intermediate results as bytes: what lies in the cache, and how damage is noticed.

Pictures are PNG (its checksums show damage), latents are safetensors whose header carries a
digest of the values. Latents are rounded to the stored dtype whether or not they are stored, so
that a resumed run continues from exactly what an uninterrupted one had.
"""

from __future__ import annotations

import hashlib
import io
import json
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


def rounded(latents: torch.Tensor, dtype: str) -> torch.Tensor:
    """``latents`` as float32 after a round trip through the stored ``dtype``."""
    import torch

    return latents.to(getattr(torch, dtype)).to(torch.float32)


def latents_to_bytes(latents: torch.Tensor, dtype: str) -> bytes:
    """Safetensors bytes of one latent clip in ``dtype``, with the digest of its values."""
    import torch
    from safetensors.torch import save

    stored = latents.to(getattr(torch, dtype)).contiguous()
    return save({"latents": stored}, metadata={"blake2b": _digest(stored)})


def latents_from_bytes(data: bytes) -> torch.Tensor:
    """The latent clip as float32. Raises Damaged."""
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        stored = load(data)["latents"]
        wanted = header["__metadata__"]["blake2b"]
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise Damaged(f"cached latents cannot be read: {error}") from error
    if _digest(stored) != wanted:
        raise Damaged("cached latents differ from their digest")
    return stored.to(torch.float32)


def _digest(tensor: torch.Tensor) -> str:
    return hashlib.blake2b(tensor.cpu().numpy().data, digest_size=16).hexdigest()
