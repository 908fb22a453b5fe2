"""What a number given by a user may be."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Range:
    """Allowed numbers: from ``low`` (or only above it) to ``high``; ``whole``: integers only."""

    low: float
    high: float = math.inf
    above: bool = False
    whole: bool = False

    def read(self, value: object) -> float | None:
        """Return ``value`` as a number of this range; None if it is none."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        if not math.isfinite(value) or (self.whole and value != int(value)):
            return None
        inside = self.low < value if self.above else self.low <= value
        if not inside or value > self.high:
            return None
        return int(value) if self.whole else float(value)

    def __str__(self) -> str:
        kind = "a whole number" if self.whole else "a number"
        start = f"above {self.low:g}" if self.above else f"of at least {self.low:g}"
        return f"{kind} {start}" + ("" if self.high == math.inf else f" and at most {self.high:g}")
