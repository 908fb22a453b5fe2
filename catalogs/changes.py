"""What is recorded of a work's item under other keys: what changed since, which stages are made."""

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any, NamedTuple

from catalogs.facts import Ledger
from catalogs.rows import Row

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
        fields = [_shown(change) for change in _differences(old, material)] if old else []
        # Equal material under another key: the stage itself is another version now.
        fields = fields or [f"{_first_stage(work, keys)} (version)"]
        return Past(_listing(fields), made | set(keys.values()))
    return Past(None, made)


class Change(NamedTuple):
    """How a work differs from an earlier result of its item.

    `stage` is the first whose key is another one; `fields` are names with old and new value, none
    where only a stage's own version differs. Both are empty where the result does not tell.
    """

    since: Row
    stage: str
    fields: tuple[tuple[str, Any, Any], ...]


def last_change(
    work: "Work",
    ledger: Ledger,
    material: Mapping[str, Any],
    *,
    present: Collection[str] = (),
    varied: Collection[str] = (),
) -> Change | None:
    """Compare a work with the last result of its item under a key that is none of `present`.

    Where works of one item differ in the `varied` fields, it is the last that agrees in these.
    """
    rows = [r for r in ledger.of_item(work.item_id) if r.status == "done" and r.key not in present]
    for row, (text, keys) in zip(rows, ledger.details(rows), strict=True):
        old = json.loads(text) if text else None
        if varied and (old is None or any(_differ(old, material, name) for name in varied)):
            continue
        stage = _first_stage(work, keys) if keys else ""
        return Change(row, stage, tuple(_differences(old, material)) if old else ())
    return None


def _first_stage(work: "Work", keys: Mapping[str, str]) -> str:
    return next((stage for stage, key in work.keys.items() if keys.get(stage) != key), "")


def _differ(old: Mapping[str, Any], new: Mapping[str, Any], name: str) -> bool:
    return bool(_plain(old.get(name)) != _plain(new.get(name)))


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """Name the fields that differ, with both values."""
    names = [*new, *(name for name in old if name not in new)]
    return [(name, old.get(name), new.get(name)) for name in names if _differ(old, new, name)]


def _plain(value: Any) -> Any:
    """Compare as JSON would have it: tuples are lists."""
    return list(value) if isinstance(value, tuple) else value


def _shown(change: tuple[str, Any, Any]) -> str:
    """Show both values of a setting where they are short; a work's own texts are only named."""
    name, *values = change
    if "." not in name:
        return name
    shown = [v if isinstance(v, str) else json.dumps(v, default=str) for v in values]
    if any(len(text) > _SHORT for text in shown):
        return name
    return f"{name} {shown[0]} -> {shown[1]}"


def _listing(fields: Sequence[str]) -> str:
    more = len(fields) - FIELDS
    return ", ".join(fields[:FIELDS]) + (f" and {more} more" if more > 0 else "")
