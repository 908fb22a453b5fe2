"""Stage 6: what can be said of the video without any weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasks.base import Params as _Params

if TYPE_CHECKING:
    import numpy as np
    import PIL.Image

    from epa_core.metrics.quality import Quality

VERSION = 1


class Params(_Params):
    """The measures have no settings; a change of their definition raises VERSION."""


def run(frames: np.ndarray, painting: PIL.Image.Image) -> Quality:
    """Measures of ``frames`` (uint8 [F, H, W, 3], before encoding) against the painting."""
    from epa_core.metrics.quality import measure

    return measure(frames, painting)
