import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalogs.errors import ConfigError
from catalogs.shards import holds, partition, same_branch

IDS = st.sets(st.text(st.characters(codec="utf-8"), max_size=12), max_size=120)
SIZES = st.integers(1, 20)
GOLDEN = {"s00": [4, 5, 11], "s01": [2, 6, 8, 9], "s10": [0, 1, 3, 10], "s11": [7]}


def groups(ids: list[str], size: int) -> dict[str, set[str]]:
    return {shard: {ids[i] for i in places} for shard, places in partition(ids, size).items()}


@given(IDS, SIZES)
def test_every_id_is_in_exactly_one_shard_of_bounded_size(ids: set[str], size: int) -> None:
    listed = sorted(ids)
    shards = partition(listed, size)
    places = [i for group in shards.values() for i in group]
    assert sorted(places) == list(range(len(listed)))
    assert all(0 < len(group) <= size for group in shards.values())
    assert all(group == sorted(group) for group in shards.values())


@given(IDS, SIZES, st.randoms())
def test_order_does_not_matter(ids: set[str], size: int, random: object) -> None:
    listed = sorted(ids)
    mixed = list(listed)
    random.shuffle(mixed)  # type: ignore[attr-defined]
    assert groups(listed, size) == groups(mixed, size)


@given(IDS, IDS, SIZES)
def test_more_works_only_split_the_shards_they_fill(
    ids: set[str], more: set[str], size: int
) -> None:
    before, after = groups(sorted(ids), size), groups(sorted(ids | more), size)
    for shard, group in before.items():
        if shard in after:
            assert after[shard] & ids == group
            assert after[shard] - more <= group
        else:  # split: its works lie below it
            below = [name for name in after if name.startswith(shard)]
            assert group <= set().union(*(after[name] for name in below))
            assert sum(len(after[name]) for name in below) > size


@given(IDS, SIZES)
def test_shards_are_on_branches_of_their_own(ids: set[str], size: int) -> None:
    shards = groups(sorted(ids), size)
    assert all(not same_branch(a, b) for a in shards for b in shards if a != b)


def test_names_and_edges() -> None:
    assert partition([], 5) == {}
    assert list(partition(["a", "b"], 5)) == ["s"]
    assert all(set(name[1:]) <= {"0", "1"} for name in partition([str(i) for i in range(50)], 4))
    assert partition(["same"] * 7, 2) == {"s": list(range(7))}
    with pytest.raises(ConfigError, match="shard_size is 0"):
        partition(["a"], 0)


def test_a_partition_is_the_same_in_every_version() -> None:
    ids = [f"work-{i}" for i in range(12)]
    assert partition(ids, 4) == GOLDEN


def test_shards_of_a_large_collection_are_well_filled() -> None:
    shards = partition([f"artist/{i}" for i in range(20_000)], 64)
    assert 20_000 / len(shards) > 64 / 2


@given(IDS, SIZES)
def test_the_name_of_a_shard_says_what_it_holds(ids: set[str], size: int) -> None:
    for shard, group in groups(sorted(ids), size).items():
        assert {item for item in ids if holds(shard, item)} == group
