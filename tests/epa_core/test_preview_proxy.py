"""Proxy images without weights."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from epa_core.proxies.none import NoProxy
from epa_core.proxies.preview import USUAL, PreviewProxy, mood_of

PAINTINGS = Path(__file__).parents[1] / "data" / "paintings"
NAMES = ["boat.jpg", "great-wave.jpg", "starry-night.jpg", "composition-vii.jpg", "shipwreck.jpg"]


def load(name: str) -> Image.Image:
    return Image.open(PAINTINGS / name).convert("RGB")


def lab(image: Image.Image) -> NDArray[np.float32]:
    """Mean lightness, green-red and blue-yellow."""
    pixels = np.asarray(image, np.float32) / 255
    return cv2.cvtColor(pixels, cv2.COLOR_RGB2LAB).mean(axis=(0, 1))


@pytest.mark.parametrize("name", NAMES)
def test_a_proxy_is_another_hand_with_the_same_composition(name: str) -> None:
    painting = load(name)
    (proxy,) = PreviewProxy().make([painting], ["clouds drift"], [0])
    assert proxy.size == painting.size
    assert proxy.mode == "RGB"
    ours, theirs = np.asarray(painting, np.float32), np.asarray(proxy, np.float32)
    assert np.abs(ours - theirs).mean() > 6
    # The light and dark masses stay where they are.
    masses = [cv2.GaussianBlur(x.mean(axis=2), (0, 0), 4).ravel() for x in (ours, theirs)]
    assert np.corrcoef(*masses)[0, 1] > 0.9


def test_it_is_deterministic_in_image_prompt_and_seed_alone() -> None:
    first, second = load("boat.jpg"), load("shipwreck.jpg")
    maker = PreviewProxy()
    (alone,) = maker.make([second], ["storm"], [4])
    together = maker.make([first, second], ["night", "storm"], [9, 4])[1]
    assert alone.tobytes() == together.tobytes()
    assert maker.make([second], ["storm"], [5])[0].tobytes() != alone.tobytes()
    assert maker.make([second], ["fire"], [4])[0].tobytes() != alone.tobytes()


def test_words_set_the_mood() -> None:
    image = load("great-wave.jpg")

    def tones(prompt: str) -> NDArray[np.float32]:
        (proxy,) = PreviewProxy().make([image], [prompt], [0])
        return lab(proxy)

    plain, storm, fire, snow = map(
        tones, ("people walk", "a storm rages", "flames flicker", "snow falls")
    )
    assert storm[0] < plain[0] < snow[0]
    assert storm[2] < plain[2] < fire[2]
    assert fire[1] > plain[1]
    assert mood_of("") == mood_of("zzz") == USUAL


@pytest.mark.parametrize("size", [(1, 1), (16, 16), (300, 9)])
def test_any_size_and_mode(size: tuple[int, int]) -> None:
    images = [Image.new(mode, size, 100) for mode in ("RGB", "L", "P")]
    proxies = PreviewProxy().make(images, [""] * 3, [0] * 3)
    assert [proxy.size for proxy in proxies] == [size] * 3


def test_no_proxy_is_the_painting() -> None:
    painting = load("boat.jpg")
    assert NoProxy().make([painting], [""], [0])[0].tobytes() == painting.tobytes()
