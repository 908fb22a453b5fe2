"""The models and proxies that a run may name, what each needs, and how to load one.

Reading the cards imports neither torch nor diffusers (the command line lists them); ``load_model``
and ``load_proxy`` do.
"""

from typing import TYPE_CHECKING, Any

from epa_core import weights
from epa_core.card_data import MODELS, PREVIEW_VERSION, ModelCard
from epa_core.levers import Levers
from epa_core.levers.early import check_card
from epa_core.proxy_cards import (
    PROXIES,
    Proxy,
    ProxyCard,
    load_proxy,
    proxy_card,
    proxy_commit,
    proxy_identity,
)

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

__all__ = [
    "MODELS",
    "PROXIES",
    "ModelCard",
    "Proxy",
    "ProxyCard",
    "load_model",
    "load_proxy",
    "model_card",
    "model_commit",
    "model_identity",
    "proxy_card",
    "proxy_commit",
    "proxy_identity",
]

NO_LEVERS = Levers()


def model_card(name: str) -> ModelCard:
    """Return the card of a model; UnsupportedError names the nearest one when there is none."""
    return weights.lookup(MODELS, "model", name)


def load_model(
    name: str,
    *,
    source: str | None = None,
    revision: str | None = None,
    dtype: str = "float32",
    device: str = "cpu",
    levers: Levers = NO_LEVERS,
) -> "DiffusionPipeline":
    """Return the named model's pipeline on ``device``, its progress bars silent.

    ``source`` is a local folder in the layout of diffusers or a hub id; None means the card's
    weights. ``dtype`` is float32, float16 or bfloat16 (for the preview float32 alone); the
    card's ``dtype`` is what the model is meant for, but is not taken unasked. Safetensors are
    preferred; pickled weights are read as weights only. ``levers`` say how it is placed and tuned.

    UnsupportedError for an unknown name, a folder that is no such model, a hub id without a
    revision, weights that cannot be had, or a dtype or lever that is not for this model or device.
    """
    card = model_card(name)
    weights.check_dtype("model", card, dtype)
    check_card(card, levers)
    where, pinned = weights.resolve("model", MODELS, card, source, revision)
    from epa_core.loading import check_device, place

    if where is not None:
        check_device(device, levers)  # before gigabytes are read
    pipeline: Any
    if where is None:
        from epa_core.models.preview import build_preview

        pipeline = build_preview()
    elif card.loader is not None:
        import torch

        folder = weights.fetched("model", card, where, pinned)
        pipeline = weights.imported(card.loader)(folder, getattr(torch, dtype))
    else:
        pipeline = weights.from_pretrained("model", card, where, pinned, dtype)
    pipeline.set_progress_bar_config(disable=True)
    with weights.quiet():  # diffusers holds that float16 fails on a CPU; it is only slow
        return place(pipeline, device, levers)


def model_commit(name: str, source: str | None, revision: str | None) -> str | None:
    """Return the commit that this model's revision stands for now; None without hub weights.

    Same errors as ``load_model``, and UnsupportedError where the hub cannot be asked.
    """
    card = model_card(name)
    return weights.commit("model", card, *weights.resolve("model", MODELS, card, source, revision))


def model_identity(name: str, source: str | None = None, revision: str | None = None) -> str:
    """Return what tells this model's results from any other's, for cache keys.

    ``preview@<version>``, ``repository@revision``, or ``local:<digest>`` of a folder's files (not
    of its path, so that a moved folder keeps its results). Same errors as ``load_model``.
    """
    card = model_card(name)
    where, pinned = weights.resolve("model", MODELS, card, source, revision)
    return f"{name}@{PREVIEW_VERSION}" if where is None else weights.identity(where, pinned)
