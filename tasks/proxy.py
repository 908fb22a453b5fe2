"""Stage 2: the proxy image, the painting redrawn under its motion prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from epa_core.errors import ItemError
from tasks.base import Params as _Params
from tasks.beside import PROXY, decode_beside

if TYPE_CHECKING:
    import PIL.Image

    from epa_core.cards import Proxy
    from epa_core.media.images import ImageLimits

VERSION = 1


class Params(_Params):
    """Which proxy maker draws, on which canvas, and how; what is left empty is the maker's own.

    What each maker takes, and in which range, is in ``epa_core.proxies.settings``.
    """

    name: str = Field("preview", description="a proxy of `epa models`")
    source: str | None = Field(None, description="local folder or hub id of its weights")
    revision: str | None = Field(
        None, description="commit of the hub repository; a branch: its newest one when a run starts"
    )
    dtype: Literal["float32", "float16", "bfloat16"] | None = Field(
        None, description="precision of the weights; maker's own if empty"
    )
    area: int | None = Field(
        None, ge=256, le=2**26, description="pixels of its canvas; maker's own, or the model's"
    )
    multiple: int | None = Field(None, ge=1, le=1024, description="sides are multiples of this")
    strength: float | None = Field(None, description="how much is redrawn, 0 to 1")
    num_inference_steps: int | None = Field(None, description="sampler steps at strength 1")
    guidance_scale: float | None = Field(None, description="how closely the prompt is followed")
    image_guidance_scale: float | None = Field(None, description="how closely the painting is")
    aesthetic_score: float | None = Field(None, description="wanted (SDXL refiner)")
    negative_aesthetic_score: float | None = Field(None, description="unwanted (SDXL refiner)")
    negative_prompt: str | None = Field(None, description="what the proxy is steered away from")

    def settings(self) -> dict[str, Any]:
        """What is handed to the maker: its own settings, as far as they are given."""
        return self.model_dump(exclude=set(_NOT_THE_MAKERS), exclude_none=True)


_NOT_THE_MAKERS = ("name", "source", "revision", "dtype", "area", "multiple")


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


def given(
    data: bytes,
    size: tuple[int, int],
    original: tuple[int, int],
    limits: ImageLimits | None = None,
) -> PIL.Image.Image:
    """Decode the proxy that the catalog names and fit it to the painting's canvas ``size``.

    Before that it is brought to the ``original`` painting's (width, height), as the paper's
    released code does. One of another shape is another picture: ItemError ``proxy_size``.
    """
    from PIL.Image import Resampling

    from epa_core.media.images import fit

    image = decode_beside(data, original, PROXY, limits)
    return fit(image.resize(original, Resampling.BICUBIC), size)
