"""The cache of intermediate results: disposable, named by key, never the cause of a failure."""

import logging
from collections.abc import Iterable
from weakref import WeakKeyDictionary

from catalogs import paths
from catalogs.errors import StoreError
from catalogs.keys import StageKey
from catalogs.store import Store

_log = logging.getLogger(__name__)
_said: WeakKeyDictionary[Store, set[tuple[str, int | None]]] = WeakKeyDictionary()


class Cache:
    """Results of the stages in `keep`, as objects under `cache/<stage>/`.

    A missing object means that the result is computed again. Whoever decodes an object and finds
    it damaged calls `discard` and computes again; stages not in `keep` cost no request.
    """

    def __init__(self, store: Store, keep: Iterable[str]) -> None:
        self.store = store
        self.keep = frozenset(keep)

    def get(self, stage: str, key: StageKey | str, ext: str) -> bytes | None:
        """Bytes of a stage's result; None when it is not kept, not there or not readable."""
        if stage not in self.keep:
            return None
        try:
            return self.store.get(paths.cache_object(stage, key, ext))
        except StoreError as error:
            self._warn("cached %s %s is computed again: %s", stage, key, error)
            return None

    def has(self, stage: str, key: StageKey | str, ext: str) -> bool:
        """Whether a stage's result is there, whole or damaged: one request without the bytes."""
        if stage not in self.keep:
            return False
        try:
            return self.store.head(paths.cache_object(stage, key, ext)) is not None
        except StoreError:
            return False

    def put(self, stage: str, key: StageKey | str, ext: str, data: bytes) -> None:
        """Keep a stage's result; a store that refuses is logged and costs only the reuse."""
        if stage not in self.keep:
            return
        try:
            self.store.put(paths.cache_object(stage, key, ext), data, durable=False)
        except StoreError as error:
            self._warn("%s %s is not kept in the cache: %s", stage, key, error)

    def discard(self, stage: str, key: StageKey | str, ext: str) -> None:
        """Remove a damaged result, so that the next run does not meet it again."""
        if stage not in self.keep:
            return
        _log.warning("cached %s %s is damaged and removed", stage, key)
        try:
            self.store.delete([paths.cache_object(stage, key, ext)])
        except StoreError as error:
            self._warn("cached %s %s stays: %s", stage, key, error)

    def _warn(self, text: str, stage: str, key: StageKey | str, error: StoreError) -> None:
        """Warn once per cause: a full disk says the same of every work."""
        said = _said.setdefault(self.store, set())
        level = logging.DEBUG if (text, error.errno) in said else logging.WARNING
        said.add((text, error.errno))
        _log.log(level, text, stage, key, error)
