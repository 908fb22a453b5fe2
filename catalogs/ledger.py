"""The ledger and what is done to it, in one place to import from.

What is known (catalogs.facts), how a shard and a plan are closed and opened again
(catalogs.seals), and how the known is put into one snapshot (catalogs.compaction).
"""

from catalogs.compaction import compact
from catalogs.facts import Ledger, load
from catalogs.rows import Row
from catalogs.seals import finished, reopen, seal_all, seal_leftovers, seal_shard

__all__ = [
    "Ledger",
    "Row",
    "compact",
    "finished",
    "load",
    "reopen",
    "seal_all",
    "seal_leftovers",
    "seal_shard",
]
