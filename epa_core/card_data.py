"""The models that a run may name (``cards`` is the way to them); one module per kind."""

from epa_core.model_cards import (
    cogvideox,
    hunyuan,
    inpainting,
    ltx,
    others,
    paper,
    unets,
    wan,
)
from epa_core.model_cards.card import ModelCard

__all__ = ["MODELS", "PREVIEW_VERSION", "ModelCard"]

# Part of cache keys: raise it whenever the same input would give other frames.
PREVIEW_VERSION = "2"


def _by_name(*cards: ModelCard) -> dict[str, ModelCard]:
    return {card.name: card for card in cards}


MODELS: dict[str, ModelCard] = _by_name(
    *paper.CARDS,
    *wan.CARDS,
    *cogvideox.CARDS,
    *ltx.CARDS,
    *hunyuan.CARDS,
    *unets.CARDS,
    *others.CARDS,
    *inpainting.CARDS,
)
