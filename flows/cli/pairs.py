"""Options of the form name=value."""

from __future__ import annotations

from catalogs.errors import ConfigError


def split_pairs(option: str, pairs: list[str], example: str) -> dict[str, str]:
    """``["a=b", ...]`` as a mapping. Raises ConfigError for a pair without an equals sign."""
    values = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise ConfigError(f"{option} {pair!r}: write it as name=value, like {example}")
        values[name.strip()] = value.strip()
    return values
