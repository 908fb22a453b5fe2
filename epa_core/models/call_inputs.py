"""What calls of this project's own pipelines are given: lists, sizes, generators and noise."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import torch
from PIL import Image
from torch import Tensor

from epa_core.media.images import canvas_size

AREA = 512 * 512

Generators: TypeAlias = torch.Generator | list[torch.Generator] | None


def each(name: str, value: Any, count: int) -> list[Any]:
    """One value per painting, of a list or of one for all; ValueError for another length."""
    if not isinstance(value, list | tuple):
        return [value] * count
    if len(value) != count:
        raise ValueError(f"{name} holds {len(value)} values for {count} paintings.")
    return list(value)


def clip_size(
    images: Sequence[Image.Image], height: int | None, width: int | None, multiple: int
) -> tuple[int, int]:
    """(width, height) in pixels: as given, or the paintings' aspect at 512x512 px.

    ValueError for sizes that are no multiples, only one side, or paintings that differ.
    """
    if not images:
        raise ValueError("image holds no painting.")
    if (height is None) != (width is None):
        raise ValueError("give both height and width, or neither.")
    if height is None or width is None:
        sizes = {canvas_size(*image.size, AREA, multiple) for image in images}
        if len(sizes) > 1:
            raise ValueError(
                f"the paintings would be animated at {len(sizes)} sizes; give height and width."
            )
        return sizes.pop()
    if min(width, height) <= 0 or width % multiple or height % multiple:
        raise ValueError(f"the size {width}x{height} is not a positive multiple of {multiple}.")
    return width, height


def per_painting(generator: Generators, count: int) -> list[torch.Generator | None]:
    """One generator per painting; one for all is drawn from by one after the other.

    ValueError for a list of another length.
    """
    if not isinstance(generator, list):
        return [generator] * count
    if len(generator) != count:
        raise ValueError(f"{len(generator)} generators were given for {count} paintings.")
    return list(generator)


def drawn(shape: Sequence[int], generators: Sequence[torch.Generator | None]) -> Tensor:
    """Gaussian noise [B, *shape], float32, on the CPU: one draw [1, *shape] from each generator."""
    draws = [
        torch.randn(
            (1, *shape),
            generator=one,
            device=None if one is None else one.device,
            dtype=torch.float32,
        )
        for one in generators
    ]
    return torch.cat([draw.cpu() for draw in draws])
