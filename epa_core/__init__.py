"""The method and the models of *Every Painting Awakened* (arXiv 2503.23736) on diffusers pipelines.

Knows nothing of storage, catalogs or Prefect. ``epa_core.awaken(pipeline, painting, proxy,
prompt=...)`` is the whole method in one call; everything else is imported from its module.
"""

from typing import Any

__all__ = ["ItemError", "awaken"]


def __getattr__(name: str) -> Any:
    # Lazy, so that ``import epa_core.errors`` does not pull torch into the command line.
    if name == "awaken":
        from epa_core.awakening import awaken

        return awaken
    if name == "ItemError":
        from epa_core.errors import ItemError

        return ItemError
    raise AttributeError(f"module 'epa_core' has no attribute {name!r}")
