"""Where a card's weights lie, what they are loaded with, and what tells them from any others.

Weights on the Hugging Face hub move, so hub weights are loaded only at a stated revision: the
card's, or one given by the caller ("main" too must be said). What is kept under keys names a commit
(``commit``): a branch moves. Importing this module imports neither torch nor diffusers.
"""

import difflib
import hashlib
import importlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from epa_core.errors import UnsupportedError

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

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

Named = TypeVar("Named")


class Card(Protocol):
    """What the cards of models and of proxies say about their weights.

    ``weights`` is a hub id, the address of an archive to be fetched by hand, or None where nothing
    is loaded; ``saved_as`` are further classes that their ``model_index.json`` may name.
    """

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def weights(self) -> str | None: ...  # noqa: D102
    @property
    def revision(self) -> str | None: ...  # noqa: D102
    @property
    def pipeline_class(self) -> str | None: ...  # noqa: D102
    @property
    def saved_as(self) -> tuple[str, ...]: ...  # noqa: D102


def lookup(cards: Mapping[str, Named], kind: str, name: str) -> Named:
    """Return the card of that name; UnsupportedError names the nearest one when there is none."""
    if name in cards:
        return cards[name]
    near = difflib.get_close_matches(name, cards, n=1, cutoff=0.6)
    hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(sorted(cards))}."
    raise UnsupportedError(f"There is no {kind} named {name!r}; {hint}")


def check_dtype(kind: str, card: Card, dtype: str) -> None:
    """Raise UnsupportedError unless ``dtype`` is one that this model or proxy can be loaded in."""
    if dtype not in DTYPES:
        raise UnsupportedError(f"dtype {dtype!r} is not one of {', '.join(DTYPES)}.")
    if card.weights is None and dtype != "float32":
        raise UnsupportedError(
            f"{kind}.dtype = {dtype!r}: the {kind} {card.name!r} has no weights and computes in "
            "float32 whatever is asked for; leave it out."
        )


def resolve(
    kind: str, cards: Mapping[str, Card], card: Card, source: str | None, revision: str | None
) -> tuple[Path | str | None, str | None]:
    """Return (folder, None), (hub id, revision), or (None, None) where nothing is loaded.

    ``kind`` is model or proxy, as in the run file; ``cards`` are all of that kind, for hints.
    UnsupportedError for a folder without such weights and for a hub id without a revision.
    """
    if card.weights is None:
        if source is not None:
            raise UnsupportedError(f"The {kind} {card.name!r} is built in and takes no source.")
        return None, None
    if source is not None and (folder := Path(source).expanduser()).is_dir():
        _check_folder(kind, cards, card, folder)
        return folder, None
    if "://" in card.weights:
        what = f"the source {source!r} is no folder" if source else "it is on no hub"
        raise UnsupportedError(
            f"The {kind} {card.name!r} is not at hand ({what}): download {card.weights}, unpack "
            f"it, and name the folder that holds model_index.json as {kind}.source in a run "
            "file or --weights on the command line."
        )
    where = source or card.weights
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", where) or where.startswith("."):
        raise UnsupportedError(
            f"The source {where!r} is neither a folder that exists nor a hub id (owner/name)."
        )
    pinned = revision or (card.revision if source in (None, card.weights) else None)
    if pinned is None:
        option = (
            "--revision" if kind == "model" else f"--proxy-revision or --set {kind}.revision=HASH"
        )
        raise UnsupportedError(
            f"The {kind} {card.name!r} from the hub ({where}) needs a revision: give a commit hash "
            f"(or 'main' for what is newest when a run starts) as {kind}.revision in a run file or "
            f"{option} on the command line, or name a local folder with the weights as "
            f"{kind}.source."
        )
    return where, pinned


def commit(kind: str, card: Card, where: Path | str | None, revision: str | None) -> str | None:
    """Return the commit that ``revision`` stands for now, of what ``resolve`` returned.

    A commit hash stands for itself, a branch or tag for what the hub says, or for what it stood for
    when it was last asked where it cannot be reached. None without hub weights; UnsupportedError
    for what is neither on the hub nor in its cache.
    """
    if not isinstance(where, str) or revision is None:
        return None
    from huggingface_hub import resolve_revision

    try:
        return resolve_revision(where, revision=revision).resolved
    except Exception as error:  # the client's errors have no common base
        reason = " ".join(str(error).split())
        raise UnsupportedError(
            f"The {kind} {card.name!r}: {kind}.revision {revision!r} of {where} could not be "
            f"resolved to a commit; give a commit hash, or reach the hub once. {reason}"
        ) from error


def identity(where: Path | str, revision: str | None) -> str:
    """Return what tells these weights from any others, from what ``resolve`` returned.

    ``repository@revision``, or ``local:<digest>`` of a folder's files (not of its path, so that a
    moved folder keeps its results).
    """
    return f"local:{_folder_digest(where)}" if isinstance(where, Path) else f"{where}@{revision}"


def from_pretrained(
    kind: str, card: Card, where: Path | str, revision: str | None, dtype: str, **arguments: Any
) -> "DiffusionPipeline":
    """Return the card's pipeline in ``dtype``, on the CPU; ``arguments`` go to diffusers.

    Files of the fp16 variant (``*.fp16.safetensors``) are taken for float16 where there are any:
    half the download. Safetensors are preferred; pickled weights are read as weights only.
    UnsupportedError where the weights cannot be had.
    """
    import torch

    arguments |= {"revision": revision, "dtype": getattr(torch, dtype)}
    try:
        with quiet():
            pipeline_class = imported(card.pipeline_class or "")
            if isinstance(where, Path):
                arguments["variant"] = _variant(where, dtype)
            elif dtype == "float16":
                try:
                    return pipeline_class.from_pretrained(where, variant="fp16", **arguments)
                except ValueError as error:
                    if "no such modeling files" not in str(error):
                        raise
            return pipeline_class.from_pretrained(where, **arguments)
    except (OSError, ValueError) as error:  # what diffusers and the hub raise for missing parts
        reason = " ".join(str(error).split())
        raise UnsupportedError(
            f"The {kind} {card.name!r} could not be loaded from {where}: {reason}"
        ) from error


def fetched(kind: str, card: Card, where: Path | str, revision: str | None) -> Path:
    """Return the folder of a model that diffusers cannot load, downloaded where it is a hub id.

    Pictures, clips and other models beside it are left. UnsupportedError where it cannot be had.
    """
    if isinstance(where, Path):
        return where
    from huggingface_hub import snapshot_download

    kinds = ("*.json", "*.txt", "*.safetensors", "*.bin")
    folders = [f"{folder}/" for folder in getattr(card, "folders", ())] or [""]
    wanted = [folder + files for folder in folders for files in kinds]
    try:
        return Path(snapshot_download(where, revision=revision, allow_patterns=wanted))
    except (OSError, ValueError) as error:  # what the hub raises for what it has not
        reason = " ".join(str(error).split())
        raise UnsupportedError(
            f"The {kind} {card.name!r} could not be loaded from {where}: {reason}"
        ) from error


def moved(pipeline: "DiffusionPipeline", device: str) -> "DiffusionPipeline":
    """Return ``pipeline`` on ``device``; diffusers' word that float16 fails on a CPU is not so."""
    with quiet():
        return pipeline.to(device)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the libraries' reports and bars to themselves while a model is loaded.

    What matters in them is raised; downloads show their own progress.
    """
    import diffusers
    import transformers

    loggers = (diffusers.utils.logging, transformers.utils.logging)
    levels = [logger.get_verbosity() for logger in loggers]
    barred = [logger for logger in loggers if logger.is_progress_bar_enabled()]
    try:
        for logger in loggers:
            logger.set_verbosity_error()
            logger.disable_progress_bar()
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.set_verbosity(level)
        for logger in barred:
            logger.enable_progress_bar()


def _variant(folder: Path, dtype: str) -> str | None:
    """fp16 where such weights lie in ``folder`` and are asked for, or are all that a part has."""
    half: set[Path] = set()
    whole: set[Path] = set()
    for file in folder.glob("*/*"):
        if file.suffix in (".safetensors", ".bin"):
            (half if ".fp16" in file.suffixes or ".fp16-" in file.name else whole).add(file.parent)
    return "fp16" if half and (dtype == "float16" or half - whole) else None


def imported(dotted: str) -> Any:
    """Return what a dotted name stands for, importing its module."""
    module, _, name = dotted.rpartition(".")
    return getattr(importlib.import_module(module), name)


def class_name(card: Card) -> str:
    """Return the name of the card's pipeline class, without its module; "" where it has none."""
    return (card.pipeline_class or "").rpartition(".")[2]


def model_index(folder: Path) -> dict[str, Any]:
    """Return a folder's ``model_index.json``, which names a class; else UnsupportedError."""
    index = folder / "model_index.json"
    if not index.is_file():
        raise UnsupportedError(f"The folder {folder} holds no model: model_index.json is missing.")
    try:
        found: dict[str, Any] = json.loads(index.read_text(encoding="utf-8"))
        found["_class_name"]
    except (ValueError, KeyError, TypeError):
        raise UnsupportedError(
            f"The folder {folder} holds no model: model_index.json names no _class_name."
        ) from None
    return found


def _check_folder(kind: str, cards: Mapping[str, Card], card: Card, folder: Path) -> None:
    """Raise UnsupportedError unless ``folder`` holds a pipeline of the card's class."""
    folders = getattr(card, "folders", ())
    if folders and not (folder / "model_index.json").is_file():
        lacking = [name for name in folders if not (folder / name).is_dir()]
        if lacking:
            raise UnsupportedError(
                f"The folder {folder} holds no {card.name}: {', '.join(lacking)} missing, and "
                "there is no model_index.json."
            )
        return
    found = model_index(folder)["_class_name"]
    wanted = class_name(card)
    if found not in (wanted, *card.saved_as):
        others = [other.name for other in cards.values() if class_name(other) == found]
        hint = f" (that of {', '.join(others)})" if others else ""
        raise UnsupportedError(
            f"The folder {folder} holds a {found}{hint}, but the {kind} {card.name!r} "
            f"needs {' or '.join((*card.saved_as, wanted))}."
        )


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
