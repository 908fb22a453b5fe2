"""Shards: works grouped by the hash of their id, never by position, count or workers.

The shards are the leaves of a binary trie over the bits of blake2b-64(item id): a prefix held by
at most `shard_size` works is a shard, any other is split. So the partition is a function of the
set of ids alone, and new works leave all shards as they are but those they fill up.
A shard is called "s" and its prefix in bits: "s" holds everything, "s01" a quarter. So its name
alone says what it holds, also to a process that knows of another partition.
"""

import hashlib
from bisect import bisect_left
from collections.abc import Sequence
from typing import NewType

from catalogs.errors import ConfigError
from catalogs.keys import ItemId

ShardId = NewType("ShardId", str)
BITS = 64


def item_hash(item_id: ItemId | str) -> int:
    """Place of an id in the trie: 64 bits, the first being the most significant."""
    data = item_id.encode(errors="surrogatepass")
    return int.from_bytes(hashlib.blake2b(data, digest_size=BITS // 8).digest(), "big")


def partition(item_ids: Sequence[ItemId | str], shard_size: int) -> dict[ShardId, list[int]]:
    """Group works: shard -> positions in `item_ids`, ascending; shards in the order of the trie.

    Equal ids stay together, also where that fills a shard beyond `shard_size`.
    """
    if shard_size < 1:
        raise ConfigError(f"shard_size is {shard_size}; at least 1 is allowed.")
    hashed = sorted((item_hash(item_id), place) for place, item_id in enumerate(item_ids))
    hashes = [value for value, _ in hashed]
    shards: dict[ShardId, list[int]] = {}
    todo = [(0, len(hashes), 0, 0)] if hashes else []  # (first, past the last, prefix, depth)
    while todo:
        first, last, prefix, depth = todo.pop()
        if last - first <= shard_size or depth == BITS or hashes[first] == hashes[last - 1]:
            bits = f"{prefix:0{depth}b}" if depth else ""
            shards[ShardId(f"s{bits}")] = sorted(place for _, place in hashed[first:last])
            continue
        right = (2 * prefix + 1) << (BITS - depth - 1)
        middle = bisect_left(hashes, right, first, last)
        if middle < last:
            todo.append((middle, last, 2 * prefix + 1, depth + 1))
        if first < middle:
            todo.append((first, middle, 2 * prefix, depth + 1))
    return shards


def holds(shard_id: str, item_id: ItemId | str) -> bool:
    """Whether a shard is the item's place, in whatever partition: its name says which ids."""
    return f"{item_hash(item_id):0{BITS}b}".startswith(shard_id[1:])


def same_branch(one: str, other: str) -> bool:
    """Whether two shards, also of different partitions, can hold the same id."""
    return one.startswith(other) or other.startswith(one)
