"""Stage 1: the painting's bytes become the prepared painting, at the size the model works at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from tasks.base import Params as _Params

if TYPE_CHECKING:
    import PIL.Image

    from epa_core.media.images import ImageLimits

VERSION = 1


class Params(_Params):
    """What decides the prepared painting besides its bytes."""

    area: int | None = Field(
        None, ge=256, le=2**26, description="pixels of the canvas; model's own if empty"
    )
    multiple: int | None = Field(None, ge=1, le=1024, description="sides are multiples of this")


def run(
    data: bytes, params: Params, limits: ImageLimits
) -> tuple[PIL.Image.Image, tuple[int, int]]:
    """Decode untrusted image bytes and fit them to the canvas.

    Returns the RGB painting (aspect kept, about ``params.area`` pixels, sides multiples of
    ``params.multiple``) and the size (width, height) it had. Raises ItemError.
    """
    from epa_core.media.images import canvas_size, decode_image, fit

    if params.area is None or params.multiple is None:
        raise ValueError("prepare needs resolved parameters")
    image = decode_image(data, limits)
    size = canvas_size(image.width, image.height, params.area, params.multiple)
    return fit(image, size), image.size
