"""What `epa models` prints: the list, one card explained, what fits a GPU."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from epa_core.cards import MODELS, PROXIES, ModelCard, ProxyCard
from epa_core.model_cards.refused import REFUSED
from epa_core.recommend import (
    LEVERS,
    TILES,
    check_licence,
    left_out,
    memory_of,
    recommended,
    said,
)
from epa_core.weights import lookup
from flows.model_facts import explained, facts, fit_facts, left_out_facts, size_words

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from epa_core.recommend import Fit, LeftOut

_UNBROKEN = 10_000  # columns of what is no terminal: a line there is for grep


def _console() -> Console:
    """Text wraps at a terminal's words, and nowhere else."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = _UNBROKEN
    return console


def _print(console: Console, table: Table) -> None:
    """Without the blanks that fill the last column."""
    with console.capture() as caught:
        console.print(table)
    console.file.writelines(f"{line.rstrip()}\n" for line in caught.get().splitlines())


def _table(*columns: str | Column) -> Table:
    return Table(*columns, box=None, padding=(0, 1, 0, 0), pad_edge=False)


def _name(title: str) -> Column:
    return Column(title, no_wrap=True)


def _write(data: Any) -> None:
    sys.stdout.write(json.dumps(data, ensure_ascii=False) + "\n")


def print_models(*, as_json: bool = False) -> None:
    """All cards in two tables."""
    if as_json:
        proxies = [asdict(proxy) for proxy in PROXIES.values()]
        models = [facts(model) for model in MODELS.values()]
        _write({"models": models, "proxies": proxies, "not_driven": dict(REFUSED)})
        return
    console = _console()
    columns = (_name("size"), Column("frames", justify="right"), _name("commercial"))
    table = _table(_name("model"), "what", *columns)
    for model in MODELS.values():
        row = (model.name, model.summary, size_words(model), str(model.num_frames))
        table.add_row(*row, model.commercial)
    _print(console, table)
    console.print()
    table = _table(_name("proxy"), "what")
    for proxy in PROXIES.values():
        table.add_row(proxy.name, proxy.summary)
    _print(console, table)
    console.print("\nSizes are those of a square painting, height x width.")
    console.print("More: epa models show NAME; epa models recommend --memory 24GB")
    console.print(f"Not driven (docs/models.md says why): {', '.join(sorted(REFUSED))}")


def print_model(name: str, *, as_json: bool = False) -> None:
    """One model explained, or every field of a proxy's card. Raises UnsupportedError."""
    cards: dict[str, ModelCard | ProxyCard] = {**PROXIES, **MODELS}
    card = lookup(cards, "model or proxy", name)
    if isinstance(card, ProxyCard):
        fields = asdict(card)
        pairs: Iterable[tuple[str, str]] = ((key, str(value)) for key, value in fields.items())
    else:
        fields, pairs = facts(card), explained(card)
    if as_json:
        _write(fields)
        return
    console = _console()
    table = Table.grid(_name(""), "", padding=(0, 1, 0, 0))
    table.columns[0].min_width = 16
    for field, value in pairs:
        table.add_row(field, escape(value))
    _print(console, table)


def print_recommended(memory: str, licence: str, *, as_json: bool = False) -> None:
    """What fits, with the lightest lever; what does not, and why. Raises UnsupportedError."""
    gib = memory_of(memory)
    check_licence(licence)
    fits = recommended(MODELS.values(), gib, licence)
    others = left_out(MODELS.values(), gib, licence)
    if as_json:
        data = {"memory_gib": gib, "licence": licence, "fits": [fit_facts(fit) for fit in fits]}
        _write(data | {"left_out": [left_out_facts(left) for left in others]})
        return
    console = _console()
    columns = (_name("size"), Column("frames", justify="right"), _name("commercial"))
    table = _table(_name("model"), _name("fits with"), Column("GiB", justify="right"), *columns)
    for fit in fits:
        row = (fit.card.name, fit.lever.name, f"{fit.needs:.1f}", size_words(fit.card))
        table.add_row(*row, str(fit.card.num_frames), fit.card.commercial)
    _print(console, table)
    for block in (_pulled(fits), _conditions(fits), map(_left_out, others), (_ESTIMATES,)):
        for number, line in enumerate(block):
            console.print("\n" * (not number) + escape(line))


_ESTIMATES = (
    "Estimates for one painting at the card's size: parameters times bytes, and an allowance for "
    "activations (docs/models.md); nothing was measured on a GPU. Smaller pictures and fewer "
    "frames need less, batches more."
)


def _pulled(fits: list[Fit]) -> Iterator[str]:
    """How a run file says the levers that some model needs."""
    for lever in LEVERS:
        if lever.settings and any(fit.lever == lever for fit in fits):
            yield f"{lever.name}: {said(lever.settings)}; {lever.note}"
    tiled = [fit.card.name for fit in fits if TILES in fit.settings]
    if tiled:
        yield f"counted with {said((TILES,))}, frames decoded in tiles: {', '.join(tiled)}"


def _conditions(fits: list[Fit]) -> Iterator[str]:
    """The terms, once for all models that share them."""
    sharing: dict[str, list[str]] = {}
    for fit in fits:
        if fit.card.commercial == "conditional":
            sharing.setdefault(fit.card.condition, []).append(fit.card.name)
    for condition, names in sharing.items():
        yield f"conditional: {', '.join(names)}: {condition}"


def _left_out(left: LeftOut) -> str:
    card = left.card
    if left.because == "licence":
        terms = f"{card.commercial} ({card.condition or card.licence})"
        return f"left out: {card.name}, commercial use: {terms}"
    if left.least is None:
        return f"no figures: {card.name} ({card.memory})"
    return f"too large: {card.name}, {left.least.needs:.1f} GiB with {left.least.lever.name}"
