"""Which models fit in how much memory, and with which levers; from the cards alone.

Neither torch nor diffusers is imported.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from epa_core.errors import UnsupportedError
from epa_core.model_cards.card import Memory, ModelCard

Licence = Literal["any", "commercial"]

# What the accelerator's own context takes, and what is lost between allocations.
RESERVED_GIB = 1.0
# What a block of layers and the next one take on the accelerator while the rest is away.
_BLOCKS_GIB = 1.5


@dataclass(frozen=True)
class Lever:
    """One way to load a model: its name, how a run file says it, what it costs."""

    name: str
    settings: str
    note: str


@dataclass(frozen=True)
class Fit:
    """A model with the lightest lever under which it fits, and the GiB it then needs."""

    card: ModelCard
    lever: Lever
    needs: float


NONE = Lever("none", "", "all of it on the GPU")
TEXT = Lever("text encoder offload", "execution.offload: model", "moved off before frames are made")
MODEL = Lever("model offload", "execution.offload: model", "one part at a time on the GPU")
FP8 = Lever(
    "fp8, model offload",
    "execution.offload: model, model.storage_dtype: float8_e4m3fn",
    "weights in 8 bits between uses: results change a little",
)
GROUP = Lever("group offload", "execution.offload: block", "a few layers at a time: slow")
LEVERS = (NONE, TEXT, MODEL, FP8, GROUP)


def levers_of(parts: Memory) -> tuple[Lever, ...]:
    """Those that make a difference to a model of such parts."""
    return tuple(lever for lever in LEVERS if lever != TEXT or parts.text)


def needed(parts: Memory, lever: Lever) -> float:
    """GiB that the model needs under ``lever``, for one painting at its card's size."""
    denoisers, work = parts.denoisers, max(parts.running, parts.decoding)
    if lever == NONE:
        peak = parts.weights + work
    elif lever == TEXT:
        peak = max(parts.text, sum(denoisers) + parts.other + work)
    elif lever == GROUP:
        peak = max(_BLOCKS_GIB + parts.running, parts.other + parts.decoding)
    else:
        share = 0.5 if lever == FP8 else 1.0
        peak = max(parts.text, share * max(denoisers) + parts.running, parts.other + parts.decoding)
    return peak + RESERVED_GIB


def memory_of(text: str) -> float:
    """GiB said as "24GB", "24 GiB", "24" or "24000MB"; UnsupportedError for anything else.

    GB is taken for GiB, since a card sold as 24 GB has 24 GiB.
    """
    match = re.fullmatch(r"\s*(\d{1,6}(?:\.\d{1,3})?)\s*(g|gb|gib|m|mb|mib)?\s*", text.lower())
    amount = float(match[1]) if match else 0.0
    if match is None or amount <= 0:
        raise UnsupportedError(
            f"--memory is {text!r}; allowed are amounts such as 24GB, 16GiB or 8000MB."
        )
    return amount / 1024 if (match[2] or "g").startswith("m") else amount


def check_licence(text: str) -> None:
    """UnsupportedError unless it is one of ``Licence``."""
    if text not in get_args(Licence):
        raise UnsupportedError(
            f"--licence is {text!r}; allowed are {', '.join(get_args(Licence))}."
        )


def allowed(card: ModelCard, licence: str) -> bool:
    """Whether a use of that kind is allowed, freely or on conditions."""
    return licence == "any" or card.commercial in ("yes", "conditional")


def fit_of(card: ModelCard, memory: float) -> Fit | None:
    """The lightest lever that makes the model fit; None where none does or nobody knows."""
    if card.parts is None:
        return None
    for lever in levers_of(card.parts):
        needs = needed(card.parts, lever)
        if needs <= memory:
            return Fit(card, lever, needs)
    return None


def recommended(cards: Iterable[ModelCard], memory: float, licence: str) -> list[Fit]:
    """What fits and is allowed: lighter levers first, then the more pixels and frames."""
    fits = [fit_of(card, memory) for card in cards if allowed(card, licence)]
    return sorted(
        (fit for fit in fits if fit is not None),
        key=lambda fit: (LEVERS.index(fit.lever), -fit.card.area * fit.card.num_frames),
    )
