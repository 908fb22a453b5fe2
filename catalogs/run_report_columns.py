"""Columns of the manifest as numpy arrays: what a report is counted from.

No work becomes a Python object, so that 80,000 of them take seconds and little memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catalogs.safe_text import on_one_line

Numbers = NDArray[np.float64]
Places = NDArray[np.int64]

UNKNOWN = "not known"
_LONGEST = 80  # characters of a name


@dataclass(frozen=True)
class Group:
    """The rows that share a value, which ``label`` names as a reader may see it."""

    label: str
    places: Places


def label_of(value: object) -> str:
    """A name as people read it: WikiArt writes `Post_Impressionism`."""
    return on_one_line(str(value).replace("_", " "), _LONGEST) or UNKNOWN


class Columns:
    """A table of the manifest, a column at a time; each is decoded once for several questions."""

    def __init__(self, table: Any) -> None:
        self._table = table
        self.count: int = table.num_rows
        self.numbers = lru_cache(maxsize=32)(self._numbers)
        self._codes = lru_cache(maxsize=32)(self._encoded)

    def _numbers(self, name: str) -> Numbers:
        """A column of numbers; NaN where there is none (or an infinite one)."""
        values = np.asarray(self._table[name].to_numpy(), dtype=np.float64)
        return np.where(np.isfinite(values), values, np.nan)

    def _encoded(self, name: str) -> tuple[Places, list[Any]]:
        import pyarrow as pa

        column = self._table[name]
        if column.num_chunks == 0:
            return np.zeros(0, np.int64), []
        encoded = pa.concat_arrays(column.chunks).dictionary_encode()
        codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        return codes.astype(np.int64), encoded.dictionary.to_pylist()

    def counts(self, name: str, where: NDArray[np.bool_] | None = None) -> Counter[Any]:
        """How often each value occurs (in the rows chosen); None where there is none."""
        codes, values = self._codes(name)
        chosen = codes if where is None else codes[where]
        found: Counter[Any] = Counter()
        for code, count in zip(*np.unique(chosen, return_counts=True), strict=True):
            found[None if code < 0 else values[code]] += int(count)
        return found

    def equal(self, name: str, value: object) -> NDArray[np.bool_]:
        """Where the column holds the value."""
        codes, values = self._codes(name)
        if value is None or value not in values:
            return codes == -1 if value is None else np.zeros(len(codes), bool)
        return codes == values.index(value)

    def isin(self, name: str, values: Collection[str]) -> NDArray[np.bool_]:
        """Where the column holds one of the values."""
        import pyarrow as pa
        import pyarrow.compute as pc

        found = pc.is_in(self._table[name], value_set=pa.array(list(values), pa.string()))
        return np.asarray(found.to_numpy(), bool)

    def text(self, name: str, place: int, limit: int = _LONGEST) -> str:
        """One value as a line of text, empty where there is none."""
        value = self._table[name][int(place)].as_py()
        return "" if value is None else on_one_line(value, limit)

    def exact(self, name: str, places: Places) -> list[Any]:
        """The values of some rows as they are."""
        values: list[Any] = self._table[name].take(places).to_pylist()
        return values

    def range(self, name: str) -> tuple[str, str] | None:
        """The first and the last of a column's texts; None where there is none."""
        import pyarrow.compute as pc

        found = pc.min_max(self._table[name]).as_py()
        return None if found["min"] is None else (found["min"], found["max"])

    def groups(
        self,
        name: str,
        most: int,
        among: NDArray[np.bool_],
        named: Callable[[object], str] = label_of,
    ) -> list[Group]:
        """The chosen rows by value, the most frequent first; all beyond ``most`` are one group."""
        codes, values = self._codes(name)
        places = np.flatnonzero(among)
        chosen = codes[places]
        found, counts = np.unique(chosen, return_counts=True)
        known = [
            (-int(count), named(values[code]), int(code))
            for code, count in zip(found, counts, strict=True)
            if code >= 0
        ]
        known.sort()
        groups = [Group(label, places[chosen == code]) for _, label, code in known[:most]]
        if rest := [code for _, _, code in known[most:]]:
            groups.append(Group(f"{len(rest):,} others", places[np.isin(chosen, rest)]))
        if (chosen < 0).any():
            groups.append(Group(UNKNOWN, places[chosen < 0]))
        return groups


def quantile(values: Numbers, *shares: float) -> list[float]:
    """Quantiles of the numbers that are any; empty where none is."""
    known = values[~np.isnan(values)]
    return [float(q) for q in np.quantile(known, shares)] if known.size else []
