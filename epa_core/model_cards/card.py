"""What a card says about an image-to-video model."""

from dataclasses import dataclass
from typing import Literal

from epa_core.model_cards.options import CallOptions

Commercial = Literal["yes", "conditional", "no", "unknown"]

#: The paper's first noise-to-signal ratio: where re-noising starts if a schedule has no signal.
PAPER_KAPPA0 = 14.6
#: A schedule that starts noisier has next to no signal at its first step: there, re-noising would
#: erase the fused latent (AnimateDiff starts at 25, SVD at 700, flow matching at infinity).
MAX_NATIVE_KAPPA = 30.0


@dataclass(frozen=True, kw_only=True)
class Memory:
    """GiB of weights by part in the card's dtype, and GiB beside them; estimates.

    ``denoisers`` are used one after the other. ``running``: what the denoiser needs for one
    painting at the card's size with guidance; ``decoding``: the VAE, in the smallest pieces that
    the model's pipeline or ``vae_tiling`` offers. Both scale with pixels and frames.
    """

    denoisers: tuple[float, ...]
    text: float = 0.0
    other: float = 0.0
    running: float
    decoding: float

    @property
    def weights(self) -> float:
        """All parts together."""
        return sum(self.denoisers) + self.text + self.other

    def words(self) -> str:
        """One sentence for people."""
        several = " + ".join(f"{part:g}" for part in self.denoisers)
        parts = [f"denoiser {several}"]
        parts += [f"text encoder {self.text:g}"] if self.text else []
        parts += [f"the rest {self.other:g}"] if self.other else []
        return (
            f"estimate, GiB: {', '.join(parts)}; beside these {self.running:g} while the denoiser "
            f"runs and {self.decoding:g} while frames are decoded"
        )


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Noise-to-signal ratios (kappa) of the released schedule in 25 steps at the card's size.

    ``first`` and ``last``: at the first and the 16th step. ``t0``: the step, counted from 1, that
    is nearest to kappa 14.6, and ``t0_kappa`` what it has.
    """

    first: float
    last: float
    t0: int
    t0_kappa: float

    @property
    def starts_with_signal(self) -> bool:
        """Whether its own first steps can be used."""
        return self.first <= MAX_NATIVE_KAPPA


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """One image-to-video model: where it comes from and the call it was made for.

    ``area`` is in pixels, sizes are multiples of ``multiple``, the number of frames is one more
    than a multiple of ``frame_multiple``; ``memory`` is an estimate in words, ``parts`` the same in
    figures; ``family`` groups checkpoints of one pipeline class; ``cache_dtype`` is what its
    latents are cached in, ``dtype`` what its weights are meant to be loaded in. ``saved_as`` are
    further classes that the ``model_index.json`` of its weights may name. ``weights`` is a hub id,
    the address of what has to be fetched by hand, or None for the embedded model; ``loader`` names
    the function (folder, dtype) that loads what ``from_pretrained`` cannot. ``per_work`` are the
    catalog's columns that the model reads: mask_uri, motion_strength, negative_prompt.
    ``commercial`` says whether videos may be used commercially, ``condition`` on what terms.
    ``traps`` are what people run into. ``folders`` are those of weights that are released without a
    ``model_index.json``. ``options`` are those of its call where they are described; None: the
    pipeline's own signature says.
    """

    name: str
    summary: str
    pipeline_class: str
    weights: str | None
    revision: str | None
    licence: str
    area: int
    multiple: int
    num_frames: int
    fps: int
    conditioned_on: str
    family: str
    cache_dtype: Literal["float32", "float16"]
    dtype: Literal["float32", "float16", "bfloat16"]
    uses_text: bool
    memory: str = ""
    parts: Memory | None = None
    saved_as: tuple[str, ...] = ()
    loader: str | None = None
    per_work: tuple[str, ...] = ()
    commercial: Commercial = "unknown"
    condition: str = ""
    frame_multiple: int = 1
    schedule: Schedule | None = None
    traps: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    options: CallOptions | None = None

    def __post_init__(self) -> None:
        if not self.memory and self.parts is not None:
            object.__setattr__(self, "memory", self.parts.words())
