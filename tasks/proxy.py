"""Stage 2: the proxy image, the painting redrawn under its motion prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import Field

from epa_core.errors import ItemError
from tasks.base import Params as _Params

if TYPE_CHECKING:
    import PIL.Image

    from epa_core.cards import Proxy

VERSION = 1


class Params(_Params):
    """Which proxy maker draws, and how."""

    name: str = Field("preview", description="a proxy of `epa models`")


def run(
    maker: Proxy,
    images: Sequence[PIL.Image.Image],
    prompts: Sequence[str],
    seeds: Sequence[int],
) -> list[PIL.Image.Image]:
    """Redraw every painting under its prompt; sizes are kept. Raises ItemError."""
    made = maker.make(list(images), list(prompts), list(seeds))
    for image, proxy in zip(images, made, strict=True):
        if proxy.size != image.size:
            raise ItemError(
                "proxy_size",
                f"the proxy is {proxy.width}x{proxy.height}, the painting "
                f"{image.width}x{image.height}",
                stage="proxy",
            )
    return made


def given(data: bytes, size: tuple[int, int], original: tuple[int, int]) -> PIL.Image.Image:
    """Decode the proxy that the catalog names and fit it to the painting's canvas ``size``.

    Its aspect may differ from the ``original`` painting's (width, height) by at most 2 %:
    otherwise it is another picture, ItemError ``proxy_size``.
    """
    from epa_core.media.images import decode_image, fit

    image = decode_image(data)
    if abs((image.width / image.height) / (original[0] / original[1]) - 1) > 0.02:
        raise ItemError(
            "proxy_size",
            f"the given proxy is {image.width}x{image.height}, the painting "
            f"{original[0]}x{original[1]}: not the same shape",
            stage="proxy",
        )
    return fit(image, size)
