"""The ledger and what is done to it, in one place to import from.

What is known (catalogs.facts), how it is read (catalogs.loading), how a shard and a plan are
closed and opened again (catalogs.seals), and how all of it gets into one snapshot
(catalogs.compaction).
"""

from catalogs.compaction import compact
from catalogs.facts import Ledger
from catalogs.loading import load, survey
from catalogs.rows import Row
from catalogs.seals import (
    declare_lost,
    finished,
    reopen,
    seal_all,
    seal_leftovers,
    seal_shard,
)

__all__ = [
    "Ledger",
    "Row",
    "compact",
    "declare_lost",
    "finished",
    "load",
    "reopen",
    "seal_all",
    "seal_leftovers",
    "seal_shard",
    "survey",
]
