"""How many paintings make a shard."""

from __future__ import annotations

import math
from collections.abc import Callable

from tasks.config import Execution

# Two task runs a shard: about a thousand in a flow run is what Prefect's pages and server bear.
_MOST_SHARDS = 250
_LARGEST = 1024  # paintings in a shard sized by the clock: others want to help, too


def shard_size(
    execution: Execution, paintings: int, works: int, seconds_per_work: Callable[[], float | None]
) -> int:
    """Paintings in one shard of a run: as it says, or by the seconds that a work is known to take.

    By the clock it is a power of two, so that the partition stays as measurements waver.
    """
    size = execution.shard_size
    if execution.shard_minutes is not None and paintings and (seconds := seconds_per_work()):
        wanted = 60 * execution.shard_minutes / (seconds * works / paintings)
        size = int(2 ** round(math.log2(min(max(wanted, 1), _LARGEST))))
    return max(size, paintings // _MOST_SHARDS)
