"""What `epa models` prints: the list, one card explained, what fits a GPU."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from epa_core.cards import MODELS, PROXIES, ModelCard, ProxyCard
from epa_core.model_cards.card import MAX_NATIVE_KAPPA, PAPER_KAPPA0
from epa_core.model_cards.refused import REFUSED
from epa_core.recommend import (
    LEVERS,
    allowed,
    check_licence,
    fit_of,
    levers_of,
    memory_of,
    needed,
    recommended,
)
from epa_core.weights import lookup

if TYPE_CHECKING:
    from collections.abc import Iterator

    from epa_core.model_cards.card import Schedule
    from epa_core.recommend import Fit

_READS = {
    "mask_uri": "mask (mask_uri)",
    "motion_strength": "motion_strength",
    "negative_prompt": "negative_prompt",
}


def print_models() -> None:
    """All cards in two tables."""
    console = Console(highlight=False)
    table = Table(Column("model", no_wrap=True), "what", "size", "frames", "licence", box=None)
    for model in MODELS.values():
        row = (model.name, model.summary, _size(model), str(model.num_frames))
        table.add_row(*row, model.licence)
    console.print(table)
    table = Table(Column("proxy", no_wrap=True), "what", box=None)
    for proxy in PROXIES.values():
        table.add_row(proxy.name, proxy.summary)
    console.print(table)
    plain = Console(highlight=False, soft_wrap=True)
    plain.print("More: epa models show NAME; epa models recommend --memory 24GB")
    plain.print(f"Not driven (docs/models.md says why): {', '.join(sorted(REFUSED))}")


def _size(card: ModelCard) -> str:
    side = round(card.area**0.5)
    return f"{side}x{side}"


def print_model(name: str) -> None:
    """One model explained, or every field of a proxy's card."""
    console = Console(soft_wrap=True, highlight=False)
    cards: dict[str, ModelCard | ProxyCard] = {**PROXIES, **MODELS}
    card = lookup(cards, "model or proxy", name)
    if isinstance(card, ProxyCard):
        for field, value in asdict(card).items():
            console.print(f"{field:16} {escape(str(value))}")
        return
    for field, value in explained(card):
        console.print(f"{field:16} {escape(value)}")


def explained(card: ModelCard) -> Iterator[tuple[str, str]]:
    """Pairs of a field and what is to be said of it; a field may come several times."""
    terms = f"; {card.condition}" if card.condition else ""
    own = ", ".join(_READS[name] for name in card.per_work)
    yield "model", f"{card.name}: {card.summary}"
    yield "weights", card.weights or "none: a formula"
    yield "pipeline", card.pipeline_class
    yield "licence", f"{card.licence}. Commercial use: {card.commercial}{terms}"
    shape = f"{card.area:,} pixels (as {_size(card)}) in the painting's shape"
    yield "size", f"{shape}, sides multiples of {card.multiple}"
    yield "frames", f"{card.num_frames} at {card.fps} fps; {_frame_rule(card.frame_multiple)}"
    yield "conditioned on", card.conditioned_on
    yield "text", "the prompt is read" if card.uses_text else "none: prompts only reach the proxy"
    yield "of each work", own or "nothing of its own"
    yield from _levels(card.schedule)
    yield "dtype", card.dtype
    yield "memory", card.memory
    if card.parts is not None and card.weights is not None:
        for lever in levers_of(card.parts):
            settings = f" ({lever.settings})" if lever.settings else ""
            yield "", f"{needed(card.parts, lever):5.1f} GiB with {lever.name}{settings}"
    for trap in card.traps:
        yield "know", trap


def _frame_rule(multiple: int) -> str:
    return "any number" if multiple == 1 else f"others: a multiple of {multiple}, plus 1"


def _levels(schedule: Schedule | None) -> Iterator[tuple[str, str]]:
    if schedule is None:
        yield (
            "levels",
            "decided by the scheduler that comes with the weights (kappa is noise to signal): "
            f"native where its first step is at kappa {MAX_NATIVE_KAPPA:g} or less, else matched, "
            f"and t0 nearest to kappa {PAPER_KAPPA0}",
        )
        return
    own = f"kappa {_kappa(schedule.first)} to {schedule.last:.3g}"
    if schedule.starts_with_signal:
        yield (
            "levels",
            f"native: its own first 16 of 25 steps, {own} (noise to signal), because its first "
            "step still has signal",
        )
        yield "t0", f"step 1, kappa {schedule.t0_kappa:.3g}: where its schedule starts"
        return
    signal = "no" if math.isinf(schedule.first) else "next to no"
    yield (
        "levels",
        f"matched: the paper's 16, kappa 14.6 to 1.16 (noise to signal), because its first step "
        f"has {signal} signal; its own first 16 of 25 would be {own}",
    )
    yield (
        "t0",
        f"step {schedule.t0} of 25, kappa {schedule.t0_kappa:.3g}, the nearest to the paper's "
        f"{PAPER_KAPPA0}; at step 1 nothing would be left of the fused latents",
    )


def _kappa(value: float) -> str:
    return "infinity" if math.isinf(value) else f"{value:.3g}"


def print_recommended(memory: str, licence: str) -> None:
    """What fits, with the lightest lever; what does not, and why. Raises UnsupportedError."""
    gib = memory_of(memory)
    check_licence(licence)
    fits = recommended(MODELS.values(), gib, licence)
    name = Column("model", no_wrap=True)
    narrow: dict[str, Any] = {"box": None, "padding": (0, 1, 0, 0), "pad_edge": False}
    table = Table(name, "fits with", "GiB", "size, frames", "commercial", **narrow)
    for fit in fits:
        card, size = fit.card, f"{_size(fit.card)}x{fit.card.num_frames}"
        table.add_row(card.name, fit.lever.name, f"{fit.needs:.1f}", size, card.commercial)
    Console(highlight=False).print(table)
    plain = Console(highlight=False, soft_wrap=True)
    for lever in LEVERS:
        if lever.settings and any(fit.lever == lever for fit in fits):
            plain.print(f"{lever.name}: {lever.settings}; {lever.note}")
    for line in (*_conditions(fits), *_left_out(gib, licence)):
        plain.print(escape(line))
    plain.print(
        "Estimates for one painting at the card's size, from the sizes of weights; nothing was "
        "measured on a GPU. Smaller pictures and fewer frames need less, batches more."
    )


def _conditions(fits: list[Fit]) -> Iterator[str]:
    """The terms, once for all models that share them."""
    sharing: dict[str, list[str]] = {}
    for fit in fits:
        if fit.card.commercial == "conditional":
            sharing.setdefault(fit.card.condition, []).append(fit.card.name)
    for condition, names in sharing.items():
        yield f"conditional: {', '.join(names)}: {condition}"


def _left_out(gib: float, licence: str) -> Iterator[str]:
    for card in MODELS.values():
        if not allowed(card, licence):
            yield f"left out: {card.name}, commercial use: {_terms(card)}"
        elif card.parts is None:
            yield f"no figures: {card.name} ({card.memory})"
        elif fit_of(card, gib) is None:
            least = min((needed(card.parts, lever), lever.name) for lever in LEVERS)
            yield f"too large: {card.name}, {least[0]:.1f} GiB with {least[1]}"


def _terms(card: ModelCard) -> str:
    return f"{card.commercial} ({card.condition or card.licence})"
