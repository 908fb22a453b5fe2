"""What `epa why` says of one work: its state, what changed, what went wrong, where its video is."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import PurePath
from shlex import quote
from typing import Any

from rich.console import Console

from catalogs import leases, plan
from catalogs.changes import Change, last_change
from catalogs.choice import tried_text
from catalogs.codes import CODES
from catalogs.errors import ConfigError
from catalogs.leases import Holder
from catalogs.plan import Work
from catalogs.records import Record
from catalogs.reviews import Decision
from catalogs.rows import REJECTED
from catalogs.validation import printable
from flows.inspection import in_cell, open_collection
from flows.report import escaped
from flows.review import decisions_about
from tasks.collection import Collection, in_material
from tasks.rebuild import WORKER

_LISTED = 10  # works among which one is to be chosen
_RETRIED = {
    plan.WILL_RETRY: "the next run tries it again, as attempt {attempt}",
    plan.RETRY_ASKED: "somebody asked for another try, which is attempt {attempt} of the next run",
    plan.FILE_LOST: "the next run makes it again, as attempt {attempt}",
}


def print_why(location: str, named: str) -> None:
    """Everything known of one work, the most important first."""
    collection = open_collection(location)
    item = find_item(collection, named)
    works = [(i, work) for i, work in enumerate(collection.works) if work.item_id == item]
    history = collection.ledger.history(item)
    console = Console(soft_wrap=True, highlight=False)
    console.print(escaped(_heading(collection, item, works, history)))
    if not works:
        console.print("It is no longer among the selected works.")
    materials = [collection.material(work) for _, work in works]
    first = materials[0] if materials else {}
    shared = {n: v for n, v in first.items() if all(m.get(n) == v for m in materials)}
    told = _Told(collection, location, history)
    cells = collection.cells_by_key(works[0][1].index) if works else {}
    for (i, work), material in zip(works, materials, strict=True):
        labels = [cell.label for cell in cells[work.key] if cell.label is not None]
        now = f"now, {' and '.join(labels)}:" if labels else "now:"
        reason = f"[bold]{escaped(collection.plan.reasons[i])}[/]"
        console.print(f"{escaped(now)} {reason} (key {work.key})")
        _print_facts(console, {n: v for n, v in material.items() if n not in shared})
        for line in told.of(work, collection.plan.reasons[i], material):
            console.print(f"  {escaped(line)}")
    happened = [(record.finished_at or "", _recorded(collection, record)) for record in history]
    if collection.reviews.seq:
        decided = decisions_about(collection.store, item)
        happened += [(review.created, _decision(decision)) for review, decision in decided]
    if happened:
        console.print("what happened:")
    for when, what in sorted(happened, key=lambda entry: entry[0]):
        console.print(f"  {escaped(when)}  {what}")
    if shared:
        console.print("all of them are made of:" if len(works) > 1 else "made of:")
    _print_facts(console, shared)


class _Told:
    """What is known of the works of one item beside the plan."""

    def __init__(self, collection: Collection, location: str, history: Sequence[Record]):
        seconds = collection.run.execution.lease_seconds
        self.collection = collection
        self.location = location
        self.history = history
        self.holders = leases.holders(collection.store, seconds)
        self.attempts = {entry.work.key: entry.attempt for entry in collection.plan.pending}

    def of(self, work: Work, reason: str, material: Mapping[str, Any]) -> Iterator[str]:
        """Lines about one work, the most important first."""
        yield from _in_flight(work.key, self.holders)
        if reason != plan.DONE:
            yield from self._change(work, material)
            yield from self._error(work, reason)
            yield from self._deaths(work)
        yield from self._video(work.key, "video")

    def _change(self, work: Work, material: Mapping[str, Any]) -> Iterator[str]:
        """What differs from the last result, with old and new value."""
        change = last_change(
            work,
            self.collection.ledger,
            material,
            present={other.key for other in self.collection.works},
            varied=[in_material(name) for name in self.collection.run.matrix],
        )
        if change is None:
            return
        yield _since(change)
        for name, old, new in change.fields:
            yield f"  {name}: {_json(old)} -> {_json(new)}"
        yield from self._video(change.since.key, "  its video")

    def _error(self, work: Work, reason: str) -> Iterator[str]:
        if reason == REJECTED:
            note = self.collection.reviews.rejected[work.item_id]
            yield f"a curator rejected it{f': {note}' if note else ''}"
            yield f"  {CODES[reason].advice}"
            return
        failed = [r for r in self.history if r.key == work.key and r.status != "done"]
        attempt = self.attempts.get(work.key)
        again = _RETRIED.get(reason, "").format(attempt=attempt)
        if failed:
            last = failed[-1]
            where = f" in {last.stage_failed}" if last.stage_failed else ""
            yield f"last error{where} [{last.code}]: {last.message}"
            if last.code in CODES:
                yield f"  {CODES[last.code].advice}"
        elif reason == plan.FILE_LOST:
            yield "a file of its result was found missing or damaged"
        if again:
            yield again
        elif failed and attempt is None:
            asked = f"epa retry {quote(self.location)} --item {quote(work.item_id)}"
            yield f"it is not tried again by itself; ask for it with: {asked}"

    def _deaths(self, work: Work) -> Iterator[str]:
        deaths = self.collection.deaths[work.key]
        if deaths:
            times = "a worker" if deaths == 1 else f"{deaths} workers"
            alone = "" if deaths == 1 else "; it is done alone, in a process of its own"
            yield f"{times} died while it was in flight{alone}"

    def _video(self, key: str, what: str) -> Iterator[str]:
        done = [r for r in self.history if r.key == key and r.status == "done"]
        if done and done[-1].attempt > self.collection.ledger.lost.get(key, 0):
            paths = {output.name: output.path for output in done[-1].outputs}
            if "video.mp4" in paths:
                yield f"{what}: {self.collection.store.uri(paths['video.mp4'])}"


def _since(change: Change) -> str:
    stage = f", from stage {change.stage} on" if change.stage else ""
    other = "" if change.fields else ": that stage has another version"
    if not change.stage:
        other = "; what that was made of is not recorded"
    return f"differs from the last result{stage}{other}"


def _in_flight(key: str, holders: Iterable[Holder]) -> Iterator[str]:
    for holder in holders:
        if key in holder.in_flight:
            yield f"{holder.worker} is working on it, in shard {holder.shard_id}"


def _heading(
    collection: Collection,
    item: str,
    works: Sequence[tuple[int, Work]],
    history: Sequence[Record],
) -> str:
    """Who made what, and where it comes from."""
    if works:
        row = collection.rows([works[0][1]])[0]
        title, artist, place = row["title"], row["artist"], row["image_uri"]
    else:
        last = history[-1]
        title, artist, place = last.title, last.artist, last.source_uri or ""
    by = f" by {artist}" if artist else ""
    name = PurePath(place).name
    return f"{item}: {title or name}{by}" + (f" ({name})" if title else "")


def _print_facts(console: Console, facts: Mapping[str, Any]) -> None:
    for name, value in facts.items():
        console.print(f"  {name} = {escaped(_json(value))}")


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _decision(decision: Decision) -> str:
    note = f", {decision.note}" if decision.note else ""
    prompt = f"; new prompt: {decision.prompt}" if decision.prompt else ""
    return escaped(f"review: {decision.verdict}{note}{prompt} (of key {decision.key})")


def _recorded(collection: Collection, record: Record) -> str:
    lost = record.attempt <= collection.ledger.lost.get(record.key, 0)
    since = ", a file of it is lost since" if lost and record.status == "done" else ""
    return f"{_attempt(record)}{since}"


def _attempt(record: Record) -> str:
    text = escaped(f"{in_cell(record)}attempt {record.attempt}: ")
    text += record.status
    if record.worker == WORKER:
        return f"{text}, recorded from its files; key {record.key}"
    if record.status == "done":
        best = _best(record)
        return f"{text}, motion {record.motion}, {record.flag}{best}; key {record.key}"
    where = f" in {record.stage_failed}" if record.stage_failed else ""
    return text + escaped(f" [{record.code}]{where}: {record.message}")


def _best(record: Record) -> str:
    """Which of several seeds was kept, and what came of each; nothing without a choice."""
    if record.candidates is None:
        return ""
    tried = tried_text(record.model_dump(include={"candidate", "candidates_tried"}))
    return escaped(f", best of {record.candidates} (seed {record.seed}): {tried}")


def find_item(collection: Collection, named: str) -> str:
    """The id of the one work with this id, file name or title, or part of one.

    ConfigError where there is none, and where there are several.
    """
    table = collection.table
    ids, places, titles = (table[n].to_pylist() for n in ("id", "image_uri", "title"))
    names: dict[str, tuple[str, ...]] = {row.item_id: () for row in collection.ledger.current()}
    for item, place, title in zip(ids, places, titles, strict=True):
        names[item] = (PurePath(place).name, title or "")
    if named in names:
        return named
    wanted = named.casefold().strip()
    for fits in (
        lambda name: name == named,
        lambda name: name.casefold() == wanted or PurePath(name).stem.casefold() == wanted,
        lambda name: bool(wanted) and wanted in name.casefold(),
    ):
        found = [
            item for item, its in names.items() if any(fits(name) for name in (item, *its) if name)
        ]
        if len(found) == 1:
            return found[0]
        if found:
            raise ConfigError(_several(named, [(item, *names[item]) for item in found]))
    known = [name for item, its in names.items() for name in (item, *its)]
    near = get_close_matches(named, known, 1, 0.3)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    raise ConfigError(f"there is no work {named!r} in this collection{hint}")


def _several(named: str, found: Sequence[Sequence[str]]) -> str:
    shown = "; ".join(printable(" ".join(filter(None, names))) for names in found[:_LISTED])
    more = f"; and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
    return f"{named!r} fits {len(found)} works, name one of them by its id: {shown}{more}"
