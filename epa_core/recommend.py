"""Which models fit in how much memory, and with which levers; from the cards alone.

Neither torch nor diffusers is imported.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from operator import itemgetter
from typing import Literal, get_args

from epa_core.errors import UnsupportedError
from epa_core.media.images import canvas_size
from epa_core.model_cards.card import BYTES, Dtype, ModelCard, gib

Licence = Literal["any", "commercial"]

# Settings of a run file by dotted name.
Settings = tuple[tuple[str, str], ...]
TILES = ("model.vae_tiling", "true")

# What the accelerator's own context takes, and what is lost between allocations.
RESERVED_GIB = 1.0
# What a block of layers and the next one take on the accelerator in two bytes a number, while the
# rest is away.
_BLOCKS_GIB = 1.5


@dataclass(frozen=True)
class Lever:
    """One way to load a model: its name, its settings by dotted name, what it costs."""

    name: str
    settings: Settings
    note: str


@dataclass(frozen=True)
class Fit:
    """A model with the lightest lever under which it fits, and the GiB it then needs."""

    card: ModelCard
    lever: Lever
    needs: float

    @property
    def settings(self) -> Settings:
        """What a run file has to say for it."""
        return settings_of(self.card, self.lever)


@dataclass(frozen=True)
class LeftOut:
    """A model that is not recommended: its terms, its size, or nobody knows its figures.

    ``least`` is the lever under which it needs least, where it is too large.
    """

    card: ModelCard
    because: Literal["licence", "memory", "figures"]
    least: Fit | None = None


NONE = Lever("no offload", (), "all of it on the GPU")
_PARTS = ("execution.offload", "model")
MODEL = Lever("model offload", (_PARTS,), "one part at a time on the GPU")
FP8 = Lever(
    "fp8, model offload",
    (_PARTS, ("model.storage_dtype", "float8_e4m3fn")),
    "weights in 8 bits between uses: results change a little",
)
GROUP = Lever(
    "group offload", (("execution.offload", "block"),), "a few layers at a time on the GPU: slow"
)
LEVERS = (NONE, MODEL, FP8, GROUP)


def settings_of(card: ModelCard, lever: Lever) -> Settings:
    """The lever's settings, and tiles where the model's figures are with them."""
    tiled = card.parts is not None and card.parts.tiled
    return (*lever.settings, *((TILES,) if tiled else ()))


def said(settings: Settings) -> str:
    """How a run file says them, in a line."""
    return ", ".join(f"{name}: {value}" for name, value in settings)


def needed(card: ModelCard, lever: Lever, dtype: Dtype | None = None) -> float:
    """GiB that the model needs under ``lever``, for one painting at its card's size.

    Weights are parameters times bytes of ``dtype`` (the card's own), one byte where they are kept
    in fp8; what is on the GPU at a time is the lever's; activations are the card's allowance. The
    card must have figures.
    """
    dtype, parts = dtype or card.dtype, card.parts
    if parts is None:
        raise ValueError(f"{card.name} has no figures of memory")
    wider = BYTES[dtype] / BYTES["float16"]
    running, decoding = parts.running * wider, parts.decoding * wider
    text, other = gib(parts.text, dtype), gib(parts.other, dtype)
    denoisers = [gib(part, dtype) for part in parts.denoisers]
    if lever == NONE:
        peak = sum(denoisers) + text + other + max(running, decoding)
    elif lever == GROUP:
        blocks = min(_BLOCKS_GIB * wider, max(denoisers))
        peak = max(blocks + running, other + decoding)
    else:
        kept = 1 / BYTES[dtype] if lever == FP8 else 1.0
        peak = max(text, kept * max(denoisers) + running, other + decoding)
    return peak + RESERVED_GIB


def size_of(card: ModelCard) -> tuple[int, int]:
    """(width, height) in px at which the model computes a square painting."""
    if card.fixed is not None:
        return card.fixed[1], card.fixed[0]
    return canvas_size(1, 1, card.area, card.multiple)


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
    for lever in LEVERS:
        needs = needed(card, lever)
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


def left_out(cards: Iterable[ModelCard], memory: float, licence: str) -> list[LeftOut]:
    """The models that are not recommended, and why."""
    left = []
    for card in cards:
        if not allowed(card, licence):
            left.append(LeftOut(card, "licence"))
        elif card.parts is None:
            left.append(LeftOut(card, "figures"))
        elif fit_of(card, memory) is None:
            gib, lever = min(((needed(card, lever), lever) for lever in LEVERS), key=itemgetter(0))
            left.append(LeftOut(card, "memory", Fit(card, lever, gib)))
    return left
