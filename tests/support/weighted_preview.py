"""The preview's formulas under cards that have weights, so that a run may ask for half precision.

Real weights in half precision take minutes on a CPU; what a test wants to see is who is loaded and
when, in which precision.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from epa_core.cards import MODELS, PROXIES
from epa_core.models.preview import build_preview
from epa_core.proxies.preview import PreviewProxy

NAME = "weighted-preview"


def load(*_: Any) -> Any:
    """The model, whatever lies in its folder."""
    return build_preview()


def load_maker(*_: Any) -> Any:
    """The proxy maker, likewise."""
    return PreviewProxy()


def plant(monkeypatch: pytest.MonkeyPatch, folder: Path) -> dict[str, Any]:
    """Know such a model and proxy maker for a test; ``name`` and ``source`` of either."""
    folder.mkdir()
    model, maker = MODELS["preview"], PROXIES["preview"]
    for cards, card, loader in ((MODELS, model, "load"), (PROXIES, maker, "load_maker")):
        weighted = replace(
            card,
            name=NAME,
            weights=f"test/{NAME}",
            pipeline_class=model.pipeline_class,
            loader=f"{__name__}.{loader}",
        )
        monkeypatch.setitem(cards, NAME, weighted)  # type: ignore[arg-type] # each its own kind
    index = {"_class_name": model.pipeline_class.rpartition(".")[2]}
    (folder / "model_index.json").write_text(json.dumps(index))
    return {"name": NAME, "source": str(folder)}
