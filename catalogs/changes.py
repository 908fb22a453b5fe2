"""What is recorded of a work's item under other keys: what changed since, which stages are made."""

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any, NamedTuple

from catalogs.facts import Ledger

if TYPE_CHECKING:
    from catalogs.plan import Work

FIELDS = 3  # named in a reason; the rest is counted
_SHORT = 24
_Result = tuple[dict[str, Any] | None, dict[str, str]]  # material, stage keys


class Past(NamedTuple):
    """What came before a work that has no record of its own.

    `change` names what differs from the result that the work supersedes, None where there is no
    such result; `made` are the stage keys that its item's results had.
    """

    change: str | None
    made: AbstractSet[str]


def pasts(
    works: Sequence["Work"],
    unknown: Iterable[int],
    ledger: Ledger,
    material_of: Callable[["Work"], Mapping[str, Any]],
    varied: Collection[str],
) -> dict[int, Past]:
    """Look up the past of the works at the places `unknown`; works of a new item have none.

    A work supersedes the latest result of its item. Where works of one item differ in the `varied`
    fields of their material, it is the latest that agrees in these and is no present work's.
    """
    items = dict.fromkeys(works[i].item_id for i in unknown)
    present: AbstractSet[str] = set()
    if varied:
        recorded = {item: rows for item in items if (rows := ledger.of_item(item))}
        present = {work.key for work in works}
    else:
        recorded = {item: [row] for item in items if (row := ledger.latest(item))}
    rows = [row for rows in recorded.values() for row in rows]
    keys, materials = {}, {}
    for row, (material, row_keys) in zip(rows, ledger.details(rows), strict=True):
        keys[row.key] = row_keys
        if row.key not in present:  # else it is superseded by nothing, and need not be parsed
            materials[row.key] = json.loads(material) if material else None
    found = {}
    for i in unknown:
        if (known := recorded.get(works[i].item_id)) is None:
            continue
        done = [keys[row.key].values() for row in known if row.status == "done"]
        earlier = [(materials[r.key], keys[r.key]) for r in known if r.key in materials]
        found[i] = _past(works[i], earlier, set().union(*done), material_of, varied)
    return found


def _past(
    work: "Work",
    earlier: Sequence[_Result],
    made: AbstractSet[str],
    material_of: Callable[["Work"], Mapping[str, Any]],
    varied: Collection[str],
) -> Past:
    material = material_of(work) if earlier else {}
    for old, keys in earlier:
        if varied and (old is None or any(_differ(old, material, name) for name in varied)):
            continue
        fields = _differences(old, material) if old is not None else []
        # Equal material under another key: the stage itself is another version now.
        first = next(stage for stage, key in work.keys.items() if keys.get(stage) != key)
        return Past(_listing(fields or [f"{first} (version)"]), made | set(keys.values()))
    return Past(None, made)


def _differ(old: Mapping[str, Any], new: Mapping[str, Any], name: str) -> bool:
    return bool(_plain(old.get(name)) != _plain(new.get(name)))


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Name the fields that differ, settings of the run with their values."""
    names = [*new, *(name for name in old if name not in new)]
    return [_difference(name, old, new) for name in names if _differ(old, new, name)]


def _plain(value: Any) -> Any:
    """Compare as JSON would have it: tuples are lists."""
    return list(value) if isinstance(value, tuple) else value


def _difference(name: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Show both values of a setting where they are short; a work's own texts are only named."""
    if "." not in name:
        return name
    shown = [
        value if isinstance(value, str) else json.dumps(value, default=str)
        for value in (old.get(name), new.get(name))
    ]
    if any(len(text) > _SHORT for text in shown):
        return name
    return f"{name} {shown[0]} -> {shown[1]}"


def _listing(fields: Sequence[str]) -> str:
    more = len(fields) - FIELDS
    return ", ".join(fields[:FIELDS]) + (f" and {more} more" if more > 0 else "")
