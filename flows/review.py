"""What curators decided: taken in from a review.csv, and told of again beside a work."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from shlex import quote

from rich.console import Console

from catalogs import paths, reviews
from catalogs.errors import StoreError
from catalogs.review_file import read_review
from catalogs.reviews import VERDICTS, Decision, Review, Settled
from catalogs.store import Store
from flows.inspection import open_collection
from flows.report import escaped, print_plan
from tasks.collection import Collection

_SHOWN = 5  # works of an earlier version that are named
_TRIES = 100  # reviews that others take in at the same moment


def take_review(location: str, file: str) -> int:
    """Take in a review.csv and say what the next run will make of it; how many decisions are new.

    Raises ConfigError before anything is written where a row of it is wrong.
    """
    collection = open_collection(location)
    works = collection.table["id"].to_pylist()
    decisions = read_review(file, works, collection.run.prompts.max_length)
    for _ in range(_TRIES):
        settled = _settled(collection, decisions)
        number = collection.reviews.seq + 1
        if not settled.taken:
            break
        if reviews.record(collection.store, settled, number, source=Path(file).name):
            break
        collection = open_collection(location)  # another review was first
    else:
        raise StoreError(f"no free number for a review in {collection.store.url}")
    _print_taken(settled, number)
    _print_ahead(location)
    return len(settled.taken)


def _settled(collection: Collection, decisions: list[Decision]) -> Settled:
    earlier = reviews.history(collection.store)
    known = {decision for review in earlier for decision in review.decisions}
    wanted = {decision.id for decision in decisions}
    keys: dict[str, set[str]] = {item: set() for item in wanted}
    for work in collection.works:
        if work.item_id in wanted:
            keys[work.item_id].add(work.key)
    ledger = collection.ledger
    return reviews.settle(
        decisions, collection.reviews, known, keys, lambda key: ledger.find(key) is not None
    )


def _print_taken(settled: Settled, number: int) -> None:
    console = Console(soft_wrap=True, highlight=False)
    counts = Counter(decision.verdict for decision in settled.taken)
    told = ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS if counts[verdict])
    if settled.taken:
        console.print(f"Taken in as review {number}: {told}.")
    else:
        console.print("Nothing new in it.")
    if settled.repeated:
        console.print(f"Taken in before: {len(settled.repeated)}.")
    if settled.outdated:
        ids = [decision.id for decision in settled.outdated]
        more = ", ..." if len(ids) > _SHOWN else ""
        named = escaped(", ".join(ids[:_SHOWN]))
        console.print(f"Left out, of earlier versions of their works: {len(ids)} ({named}{more}).")


def _print_ahead(location: str) -> None:
    """What the next run will do, as the store has it now."""
    is_file = location.endswith((".yaml", ".yml"))
    file = location if is_file else f"{location.rstrip('/')}/{paths.RUN_FILE}"
    Console(soft_wrap=True, highlight=False).print(f"Next: epa run {escaped(quote(file))}")
    print_plan(open_collection(location).plan)


def decisions_about(store: Store, item: str) -> Iterator[tuple[Review, Decision]]:
    """Every decision about a work, in the order they were taken in, with its review."""
    for review in reviews.history(store):
        yield from ((review, decision) for decision in review.decisions if decision.id == item)
