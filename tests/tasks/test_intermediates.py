"""What lies in the cache comes back exactly, and a changed byte is noticed."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paintings import painting

from tasks.intermediates import (
    Damaged,
    latents_from_bytes,
    latents_to_bytes,
    picture_from_bytes,
    picture_to_bytes,
)

torch = pytest.importorskip("torch")
LATENTS = torch.randn(4, 3, 5, 6, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_latents_come_back_as_stored(dtype: str) -> None:
    stored = LATENTS.to(getattr(torch, dtype))
    back = latents_from_bytes(latents_to_bytes(stored))
    assert back.dtype == torch.float32
    assert torch.equal(back, stored.float())


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 255))
def test_any_changed_byte_of_latents_is_noticed(place: int, flip: int) -> None:
    data = bytearray(latents_to_bytes(LATENTS.half()))
    data[place % len(data)] ^= flip
    try:
        back = latents_from_bytes(bytes(data))
    except Damaged:
        return
    # Only bytes that carry no meaning (spaces that pad the header) may change unnoticed.
    assert torch.equal(back, LATENTS.half().float())


def test_cut_latents_are_noticed() -> None:
    data = latents_to_bytes(LATENTS.half())
    for length in (0, 4, 8, 50, len(data) // 2, len(data) - 1):
        with pytest.raises(Damaged):
            latents_from_bytes(data[:length])


def test_pictures_come_back_with_their_facts() -> None:
    image = painting(1)
    back, facts = picture_from_bytes(picture_to_bytes(image, {"sha256": "ab", "width": "7"}))
    assert back.tobytes() == image.tobytes()
    assert facts["sha256"] == "ab"
    assert facts["width"] == "7"


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 255))
def test_any_changed_byte_of_a_picture_is_noticed(place: int, flip: int) -> None:
    data = bytearray(picture_to_bytes(painting(1), {"sha256": "ab"}))
    data[place % len(data)] ^= flip
    with pytest.raises(Damaged):
        picture_from_bytes(bytes(data))
