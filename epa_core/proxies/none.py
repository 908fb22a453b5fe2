"""The proxy that nobody paints: the painting itself."""

from collections.abc import Mapping
from typing import Any, Self

from PIL import Image


class NoProxy:
    """Puts the painting itself on the proxy path, so that fusing blends it with itself."""

    def configured(self, settings: Mapping[str, Any]) -> Self:
        """Return the maker itself: it has no settings."""
        return self

    def make(
        self, images: list[Image.Image], prompts: list[str], seeds: list[int]
    ) -> list[Image.Image]:
        """Return copies of the paintings."""
        return [image.convert("RGB") for image in images]

    def cut_off(self, prompt: str) -> str:
        """It reads no prompt, so nothing is cut off."""
        return ""
