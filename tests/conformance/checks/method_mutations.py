"""Mistakes in the method, whatever the model: one function exchanged for a mistaken one."""

from typing import Any

import pytest
import torch
from torch import Tensor

from epa_core import fuse
from epa_core import stages as method
from epa_core.families.base import Family
from epa_core.noise_levels import NoiseLevel

Patch = pytest.MonkeyPatch


def weight_of_one(patch: Patch, case: Any) -> None:
    patch.setattr(NoiseLevel, "weight", property(lambda level: 1.0))


def one_angle_for_all_frames(patch: Patch, case: Any) -> None:
    def fused(real: Tensor, proxy: Tensor, axis: int, *_: Any, half: bool = False) -> Tensor:
        one, other = (clip.half().double() if half else clip.double() for clip in (real, proxy))
        cosine = (one * other).sum() / (one.norm() * other.norm())
        beta = torch.linspace(0, 1, real.shape[axis], dtype=torch.float64)
        beta = beta.view([-1 if i == axis else 1 for i in range(real.ndim)])
        angle = cosine.acos()
        turned = torch.sin((1 - beta) * angle) * one + torch.sin(beta * angle) * other
        turned = (turned / angle.sin()).to(torch.half if half else real.dtype).to(real.dtype)
        inner = range(1, real.shape[axis] - 1)
        frames = [turned.select(axis, index) for index in inner]
        return torch.stack([real.select(axis, 0), *frames, proxy.select(axis, -1)], axis)

    patch.setattr(fuse, "fuse", fused)


def one_angle_per_pixel(patch: Patch, case: Any) -> None:
    """The angle of each place's channels, not of the whole frame."""

    def fused(real: Tensor, proxy: Tensor, axis: int, *_: Any, half: bool = False) -> Tensor:
        one, other = real.double(), proxy.double()
        cosine = torch.cosine_similarity(one, other, dim=1 - axis).clamp(-1 + 1e-7, 1 - 1e-7)
        angle = cosine.acos().unsqueeze(1 - axis)
        beta = torch.linspace(0, 1, real.shape[axis], dtype=torch.float64)
        beta = beta.view([-1 if i == axis else 1 for i in range(real.ndim)])
        turned = torch.sin((1 - beta) * angle) * one + torch.sin(beta * angle) * other
        return (turned / angle.sin()).to(real.dtype)

    patch.setattr(fuse, "fuse", fused)


def lerp_for_slerp(patch: Patch, case: Any) -> None:
    own = fuse.fuse
    patch.setattr(fuse, "fuse", lambda real, proxy, axis, *_, **__: own(real, proxy, axis, "lerp"))


def one_update_less(patch: Patch, case: Any) -> None:
    patch.setattr(method, "update_count", lambda steps, share: int(steps * share))


def constant_step_size(patch: Patch, case: Any) -> None:
    patch.setattr(method, "alphas", lambda curve, count, first, last: (first,) * count)


def rounded_frames(patch: Patch, case: Any) -> None:
    patch.setattr(type(case.family), "to_bytes", Family.to_bytes)
