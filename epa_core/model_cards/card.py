"""What a card says about an image-to-video model."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from epa_core.levers import CacheName
from epa_core.model_cards.options import CallOptions

Commercial = Literal["yes", "conditional", "no", "unknown"]
Dtype = Literal["float32", "float16", "bfloat16"]

BYTES: Mapping[Dtype, int] = MappingProxyType({"float32": 4, "float16": 2, "bfloat16": 2})

#: The paper's first noise-to-signal ratio: where re-noising starts if a schedule has no signal.
PAPER_KAPPA0 = 14.6
#: A schedule that starts noisier has next to no signal at its first step: there, re-noising would
#: erase the fused latent (AnimateDiff starts at 25, SVD at 700, flow matching at infinity).
MAX_NATIVE_KAPPA = 30.0


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Billions of parameters by part, and the GiB that a GPU needs beside them; estimates.

    ``denoisers`` are used one after the other. ``running``: what the denoiser's activations take
    for one painting at the card's size, with guidance; ``decoding``: the VAE's, in the smallest
    pieces that the model's pipeline offers, or in tiles (``tiled``: that needs vae_tiling); both in
    two bytes a number, both grow with pixels and frames. docs/models.md says where they come from.
    """

    denoisers: tuple[float, ...]
    text: float = 0.0
    other: float = 0.0
    running: float
    decoding: float
    tiled: bool = False

    def words(self, dtype: Dtype) -> str:
        """One sentence for people."""
        several = " + ".join(f"{gib(part, dtype):.1f}" for part in self.denoisers)
        parts = [f"denoiser {several}"]
        parts += [f"text encoder {gib(self.text, dtype):.1f}"] if self.text else []
        parts += [f"the rest {gib(self.other, dtype):.1f}"] if self.other else []
        wider = BYTES[dtype] / BYTES["float16"]
        return (
            f"estimate of weights in {dtype}, GiB: {', '.join(parts)}; beside these "
            f"{self.running * wider:g} while the denoiser runs and {self.decoding * wider:g} while "
            "frames are decoded, for one painting at the card's size"
        )


def gib(billions: float, dtype: Dtype) -> float:
    """GiB of so many billion parameters."""
    return billions * 1e9 * BYTES[dtype] / 2**30


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
class Takes:
    """Which levers of memory and time the model has something for (docs/memory.md).

    ``network``: offload, storage_dtype and compile. ``sequential``: that kind of offload.
    ``compile_blocks``: compile: blocks. ``attention``: another backend of either kind.
    ``chunks``: its call takes decode_chunk_size.
    """

    network: bool = True
    sequential: bool = True
    compile_blocks: bool = False
    attention: bool = False
    channels_last: bool = False
    vae_slicing: bool = False
    vae_tiling: bool = True
    chunks: bool = False
    step_caches: tuple[CacheName, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """One image-to-video model: where it comes from and the call it was made for.

    ``area`` is in pixels, sizes are multiples of ``multiple``, the number of frames is one more
    than a multiple of ``frame_multiple``; ``fixed`` is the (height, width) of a model that computes
    at one size alone, whatever the painting; ``memory`` is an estimate in words, ``parts`` the same
    in figures; ``family`` groups checkpoints of one pipeline class; ``cache_dtype`` is what its
    latents are cached in, ``dtype`` what its weights are meant to be loaded in. ``saved_as`` are
    further classes that the ``model_index.json`` of its weights may name. ``weights`` is a hub id,
    the address of what has to be fetched by hand, or None for the embedded model; ``loader`` names
    the function (folder, dtype) that loads what ``from_pretrained`` cannot. ``per_work`` are the
    catalog's columns that the model reads: mask_uri, motion_strength, negative_prompt.
    ``commercial`` says whether videos may be used commercially, ``condition`` on what terms.
    ``levers`` are what it can trade. ``traps`` are what people run into. ``folders`` are those of
    weights that are released without a ``model_index.json``. ``options`` are those of its call
    where they are described; None: the pipeline's own signature says.
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
    dtype: Dtype
    uses_text: bool
    memory: str = ""
    parts: Memory | None = None
    saved_as: tuple[str, ...] = ()
    loader: str | None = None
    per_work: tuple[str, ...] = ()
    commercial: Commercial = "unknown"
    condition: str = ""
    frame_multiple: int = 1
    fixed: tuple[int, int] | None = None
    schedule: Schedule | None = None
    levers: Takes = Takes()
    traps: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    options: CallOptions | None = None

    def __post_init__(self) -> None:
        if not self.memory and self.parts is not None:
            object.__setattr__(self, "memory", self.parts.words(self.dtype))
