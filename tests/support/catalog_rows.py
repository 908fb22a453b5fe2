"""A catalog row with every column that enters a key."""

from __future__ import annotations

from typing import Any

ROW: dict[str, Any] = {
    "id": "a",
    "image_uri": "a.png",
    "image_sha256": "0" * 64,
    "image_bytes": 1,
    "prompt": "the water ripples",
    "proxy_prompt": None,
    "proxy_uri": None,
    "mask_uri": None,
    "motion_strength": None,
    "negative_prompt": None,
    "extra": None,
    "title": "T",
    "artist": "A",
    "rights_statement": None,
    "license": None,
}
