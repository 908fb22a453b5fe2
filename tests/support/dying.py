"""A local store at whose n-th writing request the process dies."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from catalogs.store_local import LocalStore

T = TypeVar("T")


class Killed(BaseException):
    """The process dies."""


class Dying(LocalStore):
    """Dies before or after its n-th writing request."""

    def __init__(self, root: Path, place: int, *, after: bool) -> None:
        super().__init__(root)
        self.place, self.after = place, after

    def _request(self, verb: str, path: str, act: Callable[[str], T]) -> T:
        if verb in ("get", "list", "head"):
            return super()._request(verb, path, act)
        self.place -= 1
        if self.place == 0 and not self.after:
            raise Killed
        result = super()._request(verb, path, act)
        if self.place == 0:
            raise Killed
        return result
