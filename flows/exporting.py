"""What `epa export` does: finished videos out of a collection, in the forms that others read."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from shlex import quote

from catalogs.errors import ConfigError
from catalogs.exports import folder, videofolder, webdataset
from catalogs.exports.card import card
from catalogs.exports.copying import Outcome
from catalogs.exports.loose import can_link
from catalogs.exports.selection import Selection, chosen, joined
from catalogs.exports.target import Target, check_place
from catalogs.exports.works import POSTER, PREVIEW, Work, works_of
from catalogs.validation import printable
from flows.bar import Bar
from flows.console import CONSOLE
from flows.inspection import open_collection
from tasks.collection import Collection
from tasks.commit import source_type

FORMATS = (videofolder.NAME, webdataset.NAME, folder.NAME)
_SHOWN = 20  # left out works that are named


@dataclass(frozen=True)
class Export:
    """What is to be exported, and how."""

    format: str
    output: str
    selection: Selection
    posters: bool = False
    previews: bool = False
    link: bool = False
    adopt: bool = False
    shard_bytes: int | None = None
    shard_works: int | None = None


def export_collection(location: str, wish: Export) -> bool:
    """Export and say what came of it; False where works had to be left out.

    Raises ConfigError before any work, StoreError.
    """
    _check(wish)
    collection = open_collection(location)
    check_place(collection.store, wish.output)
    works = _works(collection, wish)
    owner = hashlib.blake2b(collection.store.url.encode(), digest_size=8).hexdigest()
    target = Target(wish.output, wish.format, owner=owner, adopt=wish.adopt)
    if wish.link and not can_link(collection.store, target):
        raise ConfigError(
            "--link: both the collection and --output must be folders of this machine"
        )
    with Bar("works") as bar:
        outcome = _write(collection, target, works, wish, _counting(bar, len(works)))
    _report(location, target.url, outcome, len(works))
    return not outcome.left_out


def _check(wish: Export) -> None:
    if wish.format not in FORMATS:
        near = get_close_matches(wish.format, FORMATS, 1, 0.5)
        hint = f"did you mean {near[0]}?" if near else f"allowed are {', '.join(FORMATS)}"
        raise ConfigError(f"--format {wish.format!r}: there is no such format; {hint}")
    tars = wish.format == webdataset.NAME
    if tars and wish.link:
        raise ConfigError(
            "--link: a webdataset is made of tar files; allowed with the other formats"
        )
    if not tars and (wish.shard_bytes or wish.shard_works):
        raise ConfigError(f"--shard-bytes and --shard-works are for webdataset, not {wish.format}")
    least, most = webdataset.LEAST_BYTES, webdataset.MOST_BYTES
    if wish.shard_bytes is not None and not least <= wish.shard_bytes <= most:
        raise ConfigError(f"--shard-bytes {wish.shard_bytes}: from {least} to {most} is allowed")


def _works(collection: Collection, wish: Export) -> list[Work]:
    """The works that are exported; those without a video are counted on standard error."""
    table = chosen(joined(collection.results(), collection.table), wish.selection)
    names = [name for name, on in ((POSTER, wish.posters), (PREVIEW, wish.previews)) if on]
    found = list(works_of(table, names, source_type(collection.run.recipe().card)))
    works = [work for work in found if isinstance(work, Work)]
    if not works:
        raise ConfigError(f"none of the {len(found)} chosen works has a video")
    if len(works) < len(found):
        _say(f"{len(found) - len(works)} of the chosen works have no video")
    return works


def _write(
    collection: Collection,
    target: Target,
    works: Sequence[Work],
    wish: Export,
    on_work: Callable[[], None],
) -> Outcome:
    source = collection.store
    if wish.format == folder.NAME:
        return folder.export(source, target, works, link=wish.link, on_work=on_work)
    preview = not collection.run.recipe().card.weights
    readme = partial(card, form=wish.format, title=collection.run.name, preview=preview)
    if wish.format == videofolder.NAME:
        return videofolder.export(source, target, works, readme, link=wish.link, on_work=on_work)
    return webdataset.export(
        source,
        target,
        works,
        readme,
        shard_bytes=wish.shard_bytes or webdataset.SHARD_BYTES,
        shard_works=wish.shard_works,
        on_work=on_work,
    )


def _counting(bar: Bar, total: int) -> Callable[[], None]:
    done = 0

    def one_more() -> None:
        nonlocal done
        done += 1
        bar.at(done, total)

    return one_more


def _report(location: str, url: str, outcome: Outcome, works: int) -> None:
    for note in outcome.notes:
        _say(note)
    for left in outcome.left_out[:_SHOWN]:
        _say(f"left out: {left.item_id}: {left.path}: {left.reason}")
    if len(outcome.left_out) > _SHOWN:
        _say(f"and {len(outcome.left_out) - _SHOWN} more")
    if outcome.left_out:
        _say(f"Make them again with: epa verify {quote(location)} --deep --redo; then run, export")
    there = outcome.written + outcome.kept
    kept = f" ({outcome.kept} were there already)" if outcome.kept else ""
    size = f"{outcome.files} files of {outcome.bytes / 1e6:,.1f} MB written"
    _say(f"{there} of {works} works are in {url}{kept}; {size}.", to_stdout=True)


def _say(sentence: str, *, to_stdout: bool = False) -> None:
    if to_stdout:
        print(printable(sentence, 10_000))  # noqa: T201
    else:
        CONSOLE.print(printable(sentence, 10_000), markup=False, highlight=False, soft_wrap=True)
