"""The models and proxies that a run may name, what each needs, and how to load one.

Reading the cards imports neither torch nor diffusers (the command line lists them); ``load_model``
and ``load_proxy`` do. Weights on the Hugging Face hub move, so a hub model is loaded only at a
stated revision: the card's, or one given by the caller ("main" too must be said).
"""

import difflib
import hashlib
import importlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from epa_core.card_data import (
    GIVEN_PROXY_VERSION,
    MODELS,
    PREVIEW_PROXY_VERSION,
    PREVIEW_VERSION,
    PROXIES,
    ModelCard,
    ProxyCard,
)
from epa_core.errors import UnsupportedError

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline
    from PIL import Image

__all__ = [
    "MODELS",
    "PROXIES",
    "ModelCard",
    "Proxy",
    "ProxyCard",
    "load_model",
    "load_proxy",
    "model_card",
    "model_identity",
    "proxy_card",
    "proxy_identity",
]

DTYPES = ("float32", "float16", "bfloat16")

# A local file of at most DIGEST_WHOLE_BYTES is digested whole; of a larger one its size, both ends
# and blocks spread evenly between them, because reading 30 GiB to name a model would take minutes.
# That notices what rewrites tensors all over the file (another checkpoint or precision, a merged
# LoRA). It misses a change of the same size that touches only what lies between two neighbouring
# blocks, a stretch of up to a 63rd of the file: a single tensor edited by hand, say.
DIGEST_WHOLE_BYTES = 6 * 2**20
DIGEST_END_BYTES = 2**20
DIGEST_BLOCK_BYTES = 2**16
DIGEST_BLOCKS = 62

Card = TypeVar("Card")


class Proxy(Protocol):
    """Makes proxy images."""

    def make(
        self, images: list["Image.Image"], prompts: list[str], seeds: list[int]
    ) -> list["Image.Image"]:
        """Return one proxy per image, of the same size."""
        ...


def _lookup(cards: Mapping[str, Card], kind: str, name: str) -> Card:
    if name in cards:
        return cards[name]
    near = difflib.get_close_matches(name, cards, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(sorted(cards))}."
    raise UnsupportedError(f"There is no {kind} named {name!r}; {hint}")


def model_card(name: str) -> ModelCard:
    """Return the card of a model; UnsupportedError names the nearest one when there is none."""
    return _lookup(MODELS, "model", name)


def proxy_card(name: str) -> ProxyCard:
    """Return the card of a proxy; UnsupportedError names the nearest one when there is none."""
    return _lookup(PROXIES, "proxy", name)


def load_model(
    name: str,
    *,
    source: str | None = None,
    revision: str | None = None,
    dtype: str = "float32",
    device: str = "cpu",
) -> "DiffusionPipeline":
    """Return the named model's pipeline on ``device``, its progress bars silent.

    ``source`` is a local folder in the layout of diffusers or a hub id; None means the card's
    weights. ``dtype`` is float32, float16 or bfloat16 (the preview always computes in float32); the
    card's ``dtype`` is what the model is meant for, but is not taken unasked. Safetensors are
    preferred; pickled weights are read as weights only.

    UnsupportedError for an unknown name, a folder that is no such model, a hub id without a
    revision, or weights that cannot be had.
    """
    card = model_card(name)
    if dtype not in DTYPES:
        raise UnsupportedError(f"dtype {dtype!r} is not one of {', '.join(DTYPES)}.")
    where, pinned = _resolve(card, source, revision)
    pipeline: Any
    if where is None:
        from epa_core.models.preview import build_preview

        pipeline = build_preview()
    else:
        pipeline = _from_pretrained(card, where, pinned, dtype)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(device)


def load_proxy(name: str) -> Proxy:
    """Return the named proxy; UnsupportedError names the nearest one when there is none.

    UnsupportedError also for "given": those pictures come with the catalog and need no maker.
    """
    card = proxy_card(name)
    if card.name == "preview":
        from epa_core.proxies.preview import PreviewProxy

        return PreviewProxy()
    if card.name == "given":
        raise UnsupportedError(
            "The proxy 'given' makes no pictures; it stands for those that the catalog's "
            "proxy_uri names."
        )
    from epa_core.proxies.none import NoProxy

    return NoProxy()


def model_identity(name: str, source: str | None = None, revision: str | None = None) -> str:
    """Return what tells this model's results from any other's, for cache keys.

    ``preview@<version>``, ``repository@revision``, or ``local:<digest>`` of a folder's files (not
    of its path, so that a moved folder keeps its results). Same errors as ``load_model``.
    """
    card = model_card(name)
    where, pinned = _resolve(card, source, revision)
    if where is None:
        return f"{name}@{PREVIEW_VERSION}"
    if isinstance(where, Path):
        return f"local:{_folder_digest(where)}"
    return f"{where}@{pinned}"


def proxy_identity(name: str) -> str:
    """Return what tells this proxy's results from any other's, for cache keys."""
    versions = {"preview": PREVIEW_PROXY_VERSION, "given": GIVEN_PROXY_VERSION, "none": "1"}
    return f"{name}@{versions[proxy_card(name).name]}"


def _resolve(
    card: ModelCard, source: str | None, revision: str | None
) -> tuple[Path | str | None, str | None]:
    """Return (folder, None), (hub id, revision), or (None, None) for the embedded model."""
    if card.weights is None:
        if source is not None:
            raise UnsupportedError(f"The model {card.name!r} is built in and takes no source.")
        return None, None
    if source is not None and (folder := Path(source).expanduser()).is_dir():
        _check_folder(card, folder)
        return folder, None
    where = source or card.weights
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", where) or where.startswith("."):
        raise UnsupportedError(
            f"The source {where!r} is neither a folder that exists nor a hub id (owner/name)."
        )
    pinned = revision or (card.revision if source in (None, card.weights) else None)
    if pinned is None:
        raise UnsupportedError(
            f"The model {card.name!r} from the hub ({where}) needs a revision: give a commit hash "
            "(or 'main' for whatever is newest) as model.revision in a run file or --revision on "
            "the command line, or name a local folder with the weights as the source."
        )
    return where, pinned


def _check_folder(card: ModelCard, folder: Path) -> None:
    """Raise UnsupportedError unless ``folder`` holds a pipeline of the card's class."""
    index = folder / "model_index.json"
    if not index.is_file():
        raise UnsupportedError(f"The folder {folder} holds no model: model_index.json is missing.")
    try:
        found = json.loads(index.read_text(encoding="utf-8"))["_class_name"]
    except (ValueError, KeyError, TypeError):
        raise UnsupportedError(
            f"The folder {folder} holds no model: model_index.json names no _class_name."
        ) from None
    wanted = card.pipeline_class.rpartition(".")[2]
    if found not in (wanted, *card.saved_as):
        others = [c.name for c in MODELS.values() if c.pipeline_class.rpartition(".")[2] == found]
        hint = f" (that of {', '.join(others)})" if others else ""
        raise UnsupportedError(
            f"The folder {folder} holds a {found}{hint}, but the model {card.name!r} "
            f"needs a {wanted}."
        )


def _from_pretrained(
    card: ModelCard, where: Path | str, revision: str | None, dtype: str
) -> "DiffusionPipeline":
    import torch

    module, _, class_name = card.pipeline_class.rpartition(".")
    pipeline_class = getattr(importlib.import_module(module), class_name)
    try:
        return pipeline_class.from_pretrained(
            where, revision=revision, torch_dtype=getattr(torch, dtype)
        )
    except (OSError, ValueError) as error:  # what diffusers and the hub raise for missing parts
        reason = " ".join(str(error).split())
        raise UnsupportedError(
            f"The model {card.name!r} could not be loaded from {where}: {reason}"
        ) from error


def _folder_digest(folder: Path) -> str:
    digest = hashlib.sha256()
    files = (path for path in folder.rglob("*") if path.is_file())
    for path in sorted(files, key=lambda path: path.relative_to(folder).as_posix()):
        relative = path.relative_to(folder).as_posix()
        if any(part.startswith(".") for part in relative.split("/")):
            continue  # download caches and version control, not the model
        size = path.stat().st_size
        digest.update(f"{relative}\0{size}\0".encode())
        with path.open("rb") as stream:
            for offset, length in _digested_spans(size):
                stream.seek(offset)
                digest.update(stream.read(length))
    return digest.hexdigest()


def _digested_spans(size: int) -> list[tuple[int, int]]:
    """(offset, length) in bytes of the parts of a file that stand for all of it."""
    if size <= DIGEST_WHOLE_BYTES:
        return [(0, size)]
    gap = (size - 2 * DIGEST_END_BYTES - DIGEST_BLOCKS * DIGEST_BLOCK_BYTES) // (DIGEST_BLOCKS + 1)
    step = gap + DIGEST_BLOCK_BYTES
    blocks = [
        (DIGEST_END_BYTES + gap + index * step, DIGEST_BLOCK_BYTES)
        for index in range(DIGEST_BLOCKS)
    ]
    return [(0, DIGEST_END_BYTES), *blocks, (size - DIGEST_END_BYTES, DIGEST_END_BYTES)]
