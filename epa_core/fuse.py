"""Frame-wise fusion of two refined latent clips (EPA, "dual-path" fusion).

Frame l of L takes ``beta_l = l / (L - 1)``: the first frame is the real path's, the last one the
proxy path's, and each frame turns by its own angle.
"""

import math
from typing import Literal

import torch
from torch import Tensor

Interpolation = Literal["slerp", "lerp"]

# Radians. Below, the arc and its chord agree to 1e-13; above pi minus this, sin(angle) cancels.
_PARALLEL = 1e-6
_OPPOSITE = 1e-4


def slerp(start: Tensor, end: Tensor, beta: float) -> Tensor:
    """Spherical interpolation of two tensors taken as vectors: ``start`` at 0, ``end`` at 1.

    ``sin((1-beta) angle) / sin(angle) * start + sin(beta angle) / sin(angle) * end``, computed in
    float64 and returned in ``start``'s shape and dtype. Parallel and zero vectors are interpolated
    linearly; opposite ones turn through a fixed perpendicular direction.
    """
    if beta <= 0 or beta >= 1:
        return (start if beta <= 0 else end).clone()
    p, q = start.double().flatten(), end.double().flatten()
    p_norm, q_norm = float(p.norm()), float(q.norm())
    if p_norm == 0 or q_norm == 0:
        mixed = torch.lerp(p, q, beta)
    else:
        mixed = _turn(p, q, p_norm, q_norm, beta)
    return mixed.view_as(start).to(start.dtype)


def _turn(p: Tensor, q: Tensor, p_norm: float, q_norm: float, beta: float) -> Tensor:
    u, v = p / p_norm, q / q_norm
    # Kahan's formula: exact near 0 and near pi, where arccos of the dot product is not.
    angle = 2 * math.atan2(float((u - v).norm()), float((u + v).norm()))
    if angle < _PARALLEL:
        return torch.lerp(p, q, beta)
    if angle < math.pi - _OPPOSITE:
        return (math.sin((1 - beta) * angle) * p + math.sin(beta * angle) * q) / math.sin(angle)
    if p.numel() == 1:
        return torch.lerp(p, q, beta)
    across = _perpendicular(u, v)
    norm = (1 - beta) * p_norm + beta * q_norm
    return norm * (math.cos(beta * angle) * u + math.sin(beta * angle) * across)


def _perpendicular(u: Tensor, v: Tensor) -> Tensor:
    """The unit vector perpendicular to ``u`` towards ``v``; any fixed one if they are opposite."""
    across = v - (u @ v) * u
    if float(across.norm()) < 1e-9:
        across = torch.zeros_like(u)
        across[u.abs().argmin()] = 1.0
    across = across - (u @ across) * u
    return across / across.norm()


def fuse(
    real: Tensor,
    proxy: Tensor,
    frame_axis: int,
    interpolation: Interpolation = "slerp",
    *,
    half: bool = False,
) -> Tensor:
    """One clip from two of the same shape, by ``beta_l = l / (L - 1)`` along ``frame_axis``.

    Clips have no batch axis, so that a result never depends on what else was computed. The first
    and the last frame are exact copies; a clip of one frame is the real one. "lerp" is the paper's
    uniform-interpolation ablation. ``half`` rounds what slerp reads and gives to float16, as the
    released code does.
    """
    if real.shape != proxy.shape:
        raise ValueError(
            f"real and proxy latents differ in shape: {tuple(real.shape)} and {tuple(proxy.shape)}"
        )
    last = real.shape[frame_axis] - 1
    frames = []
    for index, (start, end) in enumerate(
        zip(real.unbind(frame_axis), proxy.unbind(frame_axis), strict=True)
    ):
        beta = index / last if last else 0.0
        if beta in (0.0, 1.0) or (interpolation == "slerp" and not half):
            frames.append(slerp(start, end, beta))
        elif interpolation == "slerp":
            frames.append(slerp(start.half(), end.half(), beta).to(start.dtype))
        else:
            frames.append(torch.lerp(start.double(), end.double(), beta).to(start.dtype))
    return torch.stack(frames, frame_axis)
