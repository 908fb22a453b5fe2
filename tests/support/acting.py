"""A local store that lets somebody else act right before or after certain requests of ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from catalogs.store_local import LocalStore

T = TypeVar("T")


class Acting(LocalStore):
    """Whoever acts does so once, at the first request that fits; `acted` counts."""

    acted = 0

    def when(self, moment: str, verb: str, prefix: str, act: Callable[[], object]) -> Acting:
        """At a moment ("before" or "after") of a request on a path with a prefix, `act`."""
        self.__dict__.setdefault("plans", []).append((moment, verb, prefix, act))
        return self

    def _request(self, verb: str, path: str, act: Callable[[str], T]) -> T:
        self._let("before", verb, path)
        result = super()._request(verb, path, act)
        self._let("after", verb, path)
        return result

    def _let(self, moment: str, verb: str, path: str) -> None:
        plans = self.__dict__.setdefault("plans", [])
        for plan in plans:
            if plan[:2] == (moment, verb) and path.startswith(plan[2]):
                plans.remove(plan)
                self.acted += 1
                plan[3]()
                return
