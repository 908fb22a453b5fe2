"""Small JSON objects of the store: seals, HEADs, wishes to retry."""

import json
from collections.abc import Mapping
from typing import Any

from catalogs.errors import DamagedError

TYPE = "application/json"


def encode(value: Mapping[str, Any]) -> bytes:
    """Write a document as JSON, keys sorted: the same values give the same bytes."""
    return json.dumps(value, sort_keys=True, indent=1).encode()


def decode(data: bytes, path: str, **kinds: type) -> dict[str, Any]:
    """Read the document stored at `path`; `kinds` are the fields it must have and their types.

    DamagedError in one sentence for damaged bytes.
    """
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"{path} is damaged, it is no JSON: {error}") from error
    if not isinstance(value, dict):
        raise DamagedError(f"{path} is damaged: it is no JSON object.")
    for name, kind in kinds.items():
        if not isinstance(value.get(name), kind):
            raise DamagedError(f"{path} is damaged: {name} is missing or of another type.")
    return value
