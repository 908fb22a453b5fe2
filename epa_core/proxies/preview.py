"""The preview proxy: a painting repainted by plain image operations, with no weights.

Stands where a neural image-to-image model would: same composition, another hand. Strokes are
flattened, tones and colours turn towards what the prompt's words suggest, edges are drawn in.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Self

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Mood:
    """A shift of the whole picture: of Lab lightness, green-red and blue-yellow, and two gains."""

    light: float = 0.0
    red: float = 0.0
    yellow: float = 0.0
    contrast: float = 1.12
    colour: float = 1.25


USUAL = Mood(yellow=3.0)
MOODS = {
    "storm gale thunder lightning dark crash wreck wind heavy": Mood(-9, -2, -9, 1.3, 1.1),
    "fire flame ember blaze candle candlelight sunset glow lamp spark": Mood(0, 9, 14, 1.15, 1.35),
    "snow snowflake ice winter frost white": Mood(10, -1, -7, 0.95, 0.75),
    "night moon moonlight star midnight": Mood(-6, 2, -11, 1.2, 1.25),
    "water sea wave river lake rain pond boat ocean": Mood(0, -4, -6, 1.15, 1.25),
    "sun sunlight light ray dawn sunrise morning gold golden": Mood(6, 2, 9, 1.08, 1.2),
    "leaf leaves tree grass flower garden forest branch": Mood(2, -6, 6, 1.1, 1.3),
    "mist fog smoke steam haze": Mood(5, 0, 0, 0.82, 0.8),
}
_BY_WORD = {word: mood for words, mood in MOODS.items() for word in words.split()}


class PreviewProxy:
    """Repaints a painting as its prompt's words suggest; deterministic in (image, prompt, seed)."""

    def configured(self, settings: Mapping[str, Any]) -> Self:
        """Return the maker itself: it has no settings."""
        return self

    def make(
        self, images: list[Image.Image], prompts: list[str], seeds: list[int]
    ) -> list[Image.Image]:
        """Return one RGB image per painting, of the same size."""
        return [
            _repaint(image, mood_of(prompt), prompt, seed)
            for image, prompt, seed in zip(images, prompts, seeds, strict=True)
        ]

    def cut_off(self, prompt: str) -> str:
        """It reads prompts of any length, so nothing is cut off."""
        return ""


def mood_of(prompt: str) -> Mood:
    """Return the mood of the prompt's first word that has one; a warm one without any."""
    for token in re.findall(r"[a-z]+", prompt.lower()):
        for word in (token, token.removesuffix("s"), token.removesuffix("es")):
            if word in _BY_WORD:
                return _BY_WORD[word]
    return USUAL


def _repaint(image: Image.Image, mood: Mood, prompt: str, seed: int) -> Image.Image:
    pixels = np.asarray(image.convert("RGB"))
    digest = sha256(f"{seed} {prompt}".encode()).digest()
    rng = np.random.default_rng(int.from_bytes(digest[:8], "big"))
    flat = _flattened(pixels)
    lab = cv2.cvtColor(flat.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    wash = _wash(rng, lab.shape[:2])
    middle = float(lab[..., 0].mean())
    lab[..., 0] = middle + (lab[..., 0] - middle) * mood.contrast + mood.light + 5 * wash[..., 0]
    lab[..., 1] = lab[..., 1] * mood.colour + mood.red + 5 * wash[..., 1]
    lab[..., 2] = lab[..., 2] * mood.colour + mood.yellow + 5 * wash[..., 2]
    lab[..., 0] = np.clip(lab[..., 0] - 26 * _drawn_edges(flat), 0, 100)
    painted = cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)
    return Image.fromarray((np.clip(painted, 0, 1) * 255 + 0.5).astype(np.uint8))


def _flattened(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Broad strokes: noise and small detail merge, outlines stay."""
    side = min(pixels.shape[:2])
    flat = pixels
    for _ in range(2):
        flat = cv2.bilateralFilter(flat, 7, 30, max(side / 90, 1.5))
    return flat


def _drawn_edges(pixels: NDArray[np.uint8]) -> Array:
    """Lines [H, W] in 0..1 where the painting has strong edges."""
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    fine, broad = cv2.GaussianBlur(grey, (0, 0), 0.8), cv2.GaussianBlur(grey, (0, 0), 1.8)
    return np.clip((broad - fine - 0.012) * 14, 0, 1)


def _wash(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Broad uneven glaze [H, W, 3] in about -1..1; the one thing the seed changes."""
    coarse = rng.uniform(-1, 1, (5, 5, 3)).astype(np.float32)
    return cv2.resize(coarse, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC)
