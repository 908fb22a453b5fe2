"""The sentences of the packaged prompt lexicon."""

import json
from pathlib import Path

LEXICON = Path(__file__).parents[2] / "catalogs" / "data" / "lexicon.json"


def lexicon_prompts() -> list[str]:
    """Every sentence that a catalog without prompts may be given."""
    tree = json.loads(LEXICON.read_text(encoding="utf-8"))
    return sorted(set(_sentences([tree[key] for key in ("rules", "genre", "style", "generic")])))


def _sentences(tree: object) -> list[str]:
    if isinstance(tree, str):
        return [tree] if " " in tree else []
    branches = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else []
    return [found for branch in branches for found in _sentences(branch)]
