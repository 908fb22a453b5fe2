"""Looking after a collection: what `epa verify`, `epa gc` and `epa rebuild` do and say."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from shlex import quote
from typing import Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from catalogs import garbage, paths, verification
from catalogs.errors import ConfigError
from catalogs.garbage import Garbage, Needs
from catalogs.verification import Verification
from flows.console import CONSOLE
from flows.inspection import not_recorded, open_collection
from flows.report import escaped
from tasks.collection import Collection

_SHOWN = 10  # examples
_LISTED = 1000  # findings, objects in JSON


def print_verification(
    location: str, *, everything: bool, deep: bool, redo: bool, as_json: bool
) -> bool:
    """Verify a collection and say what is wrong with it; whether nothing is."""
    collection = open_collection(location)
    rejected = collection.reviews.rejected
    with _bar("files read", shown=deep) as bar:
        report = verify_collection(collection, everything=everything, deep=deep, on_files=bar)
    again = verification.redo(collection.store, report) if redo else 0
    if as_json:
        more = {"redo": again} if redo else {}
        _write_json(verification_facts(report, deep) | {"rejected": len(rejected)} | more)
    else:
        _print_verified(report, deep)
        if rejected and not everything:
            _console().print(f"Rejected and left out: {len(rejected)}; --all looks at these, too.")
        _print_cures(report, location, again if redo else None)
    return not report.findings


def verify_collection(
    collection: Collection,
    *,
    everything: bool,
    deep: bool,
    on_files: Callable[[int], object] = lambda count: None,
) -> Verification:
    """Look at the results of the collection's present works, or of all there are."""
    rejected = collection.reviews.rejected  # what is recorded of them is none of their state
    return verification.verify(
        collection.store,
        {w.key: w.item_id for w in collection.works if w.item_id not in rejected},
        collection.plan_key,
        everything=everything,
        deep=deep,
        lease_seconds=collection.run.execution.lease_seconds,
        on_files=on_files,
    )


def verification_facts(report: Verification, deep: bool) -> dict[str, Any]:
    """What was looked at and found, as plain data."""
    findings = [
        {
            "kind": found.kind,
            "path": found.path,
            "reason": found.reason,
            "item_id": found.row.item_id if found.row else None,
        }
        for found in report.findings[:_LISTED]
    ]
    return {
        "works": report.works,
        "states": dict(report.states),
        "results": report.rows,
        "files": report.files,
        "bytes": report.bytes,
        "deep": deep,
        "counts": dict(report.counts),
        "findings": findings,
    }


def _print_verified(report: Verification, deep: bool) -> None:
    console = _console()
    states = ", ".join(f"{n} {state}" for state, n in sorted(report.states.items()) if n)
    console.print(f"{report.works} works: {states}." if report.works else "There are no works.")
    how = "read and compared by SHA-256" if deep else "compared by size"
    size = _size(report.bytes)
    console.print(f"{report.rows} results, {report.files} files of {size} {how}.")
    if not report.findings:
        console.print("All of it is as recorded.")
        return
    table = Table("wrong", "count", "for example", box=None, pad_edge=False)
    for kind, count in report.counts.most_common():
        path = next(found.path for found in report.findings if found.kind == kind)
        table.add_row(verification.MEANINGS[kind], str(count), escaped(path))
    console.print(table)
    for found in report.findings[:_SHOWN]:
        whose = f"{found.row.item_id}: " if found.row else ""
        console.print(f"  {escaped(whose + found.path)}: {escaped(found.reason)}")
    _print_more(console, len(report.findings))


def _print_cures(report: Verification, location: str, again: int | None) -> None:
    """What to do next; ``again`` is how many results were asked for anew, if that was wished."""
    console = _console()
    is_file = location.endswith((".yaml", ".yml"))
    file = location if is_file else f"{location.rstrip('/')}/{paths.RUN_FILE}"
    run = f"epa run {escaped(quote(file))}"
    place = escaped(quote(location))
    if again is not None:
        then = f": {run}" if again else "."
        console.print(f"{again} results are to be made again by the next run{then}")
    elif report.lost:
        console.print(f"Make them again with: epa verify {place} --redo; then: {run}")
    if report.counts["damaged"]:
        console.print(f"Mend the state with: epa rebuild {place}")
    if count := report.counts["unrecorded"]:
        console.print(not_recorded(count, location))


def print_garbage(location: str, *, delete: bool, days: float, as_json: bool) -> None:
    """Say what may go, and with ``delete`` remove it."""
    if not 0 <= days < 36_500:
        raise ConfigError(f"--older-than {days}: a number of days from 0 to 36500 is allowed")
    collection = open_collection(location)
    found = find_garbage(collection, days)
    harmed = garbage.remove(collection.store, found) if delete else 0
    if as_json:
        _write_json(garbage_facts(found, delete))
        return
    _print_collected(found, location, delete)
    if harmed:
        _console().print(
            f"{harmed} results were committed to these files meanwhile; the next run makes them "
            "again."
        )


def find_garbage(collection: Collection, days: float) -> Garbage:
    """What nobody needs any more and was last written more than so many days ago."""
    stages = frozenset(key for work in collection.works for key in work.keys.values())
    needs = Needs(collection.plan_key, stages, collection.run.execution.lease_seconds)
    return garbage.find_garbage(collection.store, needs, timedelta(days=days))


def garbage_facts(found: Garbage, delete: bool) -> dict[str, Any]:
    """What may go, as plain data."""
    kinds = {
        kind: {"objects": len(infos), "bytes": sum(info.size for info in infos)}
        for kind, infos in found.found.items()
    }
    return {
        "deleted": delete,
        "kinds": kinds,
        "notes": found.notes,
        "paths": found.paths[:_LISTED],
    }


def _print_collected(found: Garbage, location: str, delete: bool) -> None:
    console = _console()
    for note in found.notes:
        console.print(f"{escaped(note)}.")
    if not found.found:
        console.print("There is nothing to remove.")
        return
    table = Table("what", "objects", "size", "for example", box=None, pad_edge=False)
    total = 0
    for kind, infos in found.found.items():
        size = sum(info.size for info in infos)
        total += size
        row = (garbage.MEANINGS[kind], str(len(infos)), _size(size), escaped(infos[0].path))
        table.add_row(*row)
    console.print(table)
    count = len(found.paths)
    if delete:
        console.print(f"{count} objects are removed, {_size(total)} are free.")
    else:
        console.print(f"{count} objects may go, {_size(total)}. Nothing was removed; do it with:")
        console.print(f"  epa gc {quote(location)} --delete")


def print_rebuilt(location: str, *, as_json: bool) -> None:
    """Rebuild the manifest of a collection and say what came of it."""
    from flows.wrap_up import refresh_gallery
    from tasks.rebuild import rebuild

    collection = open_collection(location)
    collection.store.check_writable()
    with _bar("results read", shown=True) as bar:
        report = rebuild(collection, bar)
    plan = collection.replan()
    page = collection.store.uri(refresh_gallery(collection))
    if as_json:
        _write_json(
            {
                "written": report.rows,
                "superseded": report.superseded,
                "recorded": report.recorded,
                "moved": report.moved,
                "left_out": report.left_out,
                "plan": dict(plan.counts),
                "gallery": page,
            }
        )
        return
    console = _console()
    console.print(f"{report.recorded} results are recorded as before.")
    earlier = f", {report.superseded} of them under other settings" if report.superseded else ""
    console.print(f"{report.rows} results were recorded from their files{earlier}.")
    _print_reasons(console, "damaged objects were moved to damaged/", report.moved)
    _print_reasons(console, "folders were left out", report.left_out)
    _say_what_is_gone(collection, report.rows)
    counts = ", ".join(f"{count} {reason}" for reason, count in plan.counts.most_common())
    console.print(f"For the next run there are {escaped(counts) or 'no works'}.")
    console.print(f"Gallery: {page}")


def _say_what_is_gone(collection: Collection, rows: int) -> None:
    if rows:
        exact = "" if collection.run.encode.archive else ", the digests of the frames"
        _console().print(
            f"Not to be had from files: failures, timings, the measures of motion{exact}, what was "
            "cut off prompts."
        )


def _print_reasons(console: Console, what: str, reasons: Mapping[str, str]) -> None:
    if not reasons:
        return
    console.print(f"{len(reasons)} {what}:")
    for path, reason in list(reasons.items())[:_SHOWN]:
        console.print(f"  {escaped(path)}: {escaped(reason)}")
    _print_more(console, len(reasons))


def _print_more(console: Console, count: int) -> None:
    if count > _SHOWN:
        console.print(f"  and {count - _SHOWN} more")


@contextmanager
def _bar(what: str, *, shown: bool) -> Iterator[Callable[[int], object]]:
    """A progress bar in a terminal."""
    with Progress(
        console=CONSOLE, transient=True, disable=not (shown and CONSOLE.is_terminal)
    ) as p:
        task = p.add_task(what, total=None)

        def count(total: int) -> None:
            if total:
                p.update(task, total=total)
            else:
                p.advance(task)

        yield count


def _console() -> Console:
    return Console(soft_wrap=True, highlight=False)


def _write_json(facts: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(facts, ensure_ascii=False) + "\n")


def _size(count: float) -> str:
    """Bytes as a person reads them."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
