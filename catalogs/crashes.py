"""Deaths of workers, counted per work: facts, so that two successors count one death once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from catalogs import documents, paths
from catalogs.records import utc_now
from catalogs.store import Store


def counts(store: Store) -> Counter[str]:
    """How many workers died while a work, by its key, was in flight. One listing."""
    keys = (paths.parse_crash(info.path) for info in store.list(paths.CRASHES))
    return Counter(key for key in keys if key is not None)


def attribute(store: Store, death: str, in_flight: Mapping[str, str], reason: str = "") -> None:
    """Note that the works `in_flight` (key -> item id) were so when a worker died.

    `death` names the death: whoever else attributes the same one writes the same objects.
    """
    for key, item_id in in_flight.items():
        fact = {"item_id": item_id, "death": death, "reason": reason, "noticed_at": utc_now()}
        store.create(paths.crash(key, death), documents.encode(fact), documents.TYPE)


def forget(store: Store, keys: Iterable[str]) -> None:
    """Remove all that is known of some works' deaths: they ended, or are to be tried anew."""
    wanted = set(keys)
    if wanted:
        found = (info.path for info in store.list(paths.CRASHES))
        store.delete(path for path in found if paths.parse_crash(path) in wanted)
