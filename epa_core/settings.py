"""How to awaken a painting, independent of any pipeline."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from epa_core.distill import AlphaCurve
from epa_core.errors import UnsupportedError
from epa_core.noise_levels import PAPER_SHARE, PAPER_STEPS, update_count

Variant = Literal["baseline", "V", "S", "V+U", "V+S"]
Levels = Literal["auto", "native", "matched"]


@dataclass(frozen=True)
class EPASettings:
    """How to awaken a painting; the defaults are the paper's.

    ``variant``: V distils the real path only, S fuses without distilling, V+U fuses linearly, V+S
    is the whole method, baseline the pipeline's untouched call. ``p``: share of the steps that are
    distilled. ``levels``: VSDS on the pipeline's own first timesteps (native) or at the paper's
    noise-to-signal ratios (matched); auto takes native where the schedule starts with signal.
    ``kappa0``: noise-to-signal ratio from which the fused latent is denoised; None is the first
    step where the schedule starts with signal, 14.6 elsewhere.

    Two switches reproduce what the released code does differently from the paper. ``half_slerp``
    fuses in half precision. ``one_stream`` draws all noise of a painting from one generator seeded
    with its seed, so that paintings of one size and seed share their noise (``awaken`` only: the
    stages take what they draw from as ``seeds``).
    """

    variant: Variant = "V+S"
    num_inference_steps: int = PAPER_STEPS
    p: float = PAPER_SHARE
    alpha_curve: AlphaCurve = "stepwise-decreasing"
    alpha_first: float = 10.0
    alpha_last: float = 1.0
    levels: Levels = "auto"
    kappa0: float | None = None
    half_slerp: bool = False
    one_stream: bool = False

    def __post_init__(self) -> None:
        for name, value, allowed in (
            ("variant", self.variant, get_args(Variant)),
            ("alpha_curve", self.alpha_curve, get_args(AlphaCurve)),
            ("levels", self.levels, get_args(Levels)),
        ):
            if value not in allowed:
                raise UnsupportedError(f"{name} is {value!r}; allowed are {', '.join(allowed)}.")
        if self.num_inference_steps < 1:
            raise UnsupportedError(
                f"num_inference_steps is {self.num_inference_steps}; it must be at least 1."
            )
        if self.kappa0 is not None and not 0 < self.kappa0 < math.inf:
            raise UnsupportedError(f"kappa0 is {self.kappa0}; allowed are positive numbers.")
        update_count(self.num_inference_steps, self.p)

    @property
    def distils(self) -> bool:
        """Whether the variant needs distilled latents."""
        return "V" in self.variant

    @property
    def needs_proxy(self) -> bool:
        """Whether the variant fuses two paths."""
        return self.variant in ("S", "V+U", "V+S")
