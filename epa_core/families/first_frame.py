"""Families whose pipelines keep the painting as frame 0 and step the frames after it."""

import torch
from torch import Tensor

from epa_core.families.base import Family


class CleanFirstFrame(Family):
    """Frame 0 is the clean condition and never stepped."""

    def to_step(self, clips: Tensor) -> Tensor:
        """All frames but the first."""
        return clips[:, :, 1:]

    def from_step(self, x: Tensor, clips: Tensor) -> Tensor:
        """The clean first frame, then ``x``."""
        return torch.cat([clips[:, :, :1].to(x), x], dim=2)
