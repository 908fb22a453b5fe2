"""Proxies that nobody paints: the image the catalog names, or the painting itself."""

from collections.abc import Sequence

from PIL import Image

from epa_core.errors import ItemError


class GivenProxy:
    """Takes the image that came with the painting."""

    def make(
        self,
        images: list[Image.Image],
        prompts: list[str],
        seeds: list[int],
        given: Sequence[Image.Image | None] = (),
    ) -> list[Image.Image]:
        """Return each ``given`` image in RGB at its painting's size (LANCZOS, aspect not kept).

        ItemError ``proxy_missing`` when one is missing.
        """
        if len(given) != len(images) or any(image is None for image in given):
            raise ItemError(
                "proxy_missing",
                "The proxy 'given' needs an image named in proxy_uri.",
                stage="proxy",
            )
        return [
            proxy.convert("RGB").resize(image.size, Image.Resampling.LANCZOS)
            if proxy.size != image.size
            else proxy.convert("RGB")
            for image, proxy in zip(images, given, strict=True)
            if proxy is not None
        ]


class NoProxy:
    """Puts the painting itself on the proxy path, so that fusing blends it with itself."""

    def make(
        self, images: list[Image.Image], prompts: list[str], seeds: list[int]
    ) -> list[Image.Image]:
        """Return copies of the paintings."""
        return [image.convert("RGB") for image in images]
