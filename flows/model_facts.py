"""What there is to say of a card: sentences for people, plain data for programs."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from epa_core.model_cards.card import MAX_NATIVE_KAPPA, PAPER_KAPPA0
from epa_core.recommend import LEVERS, needed, said, settings_of, size_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from epa_core.cards import ModelCard
    from epa_core.model_cards.card import Schedule, Takes
    from epa_core.recommend import Fit, LeftOut

_READS = {
    "mask_uri": "mask (mask_uri)",
    "motion_strength": "motion_strength",
    "negative_prompt": "negative_prompt",
}


def size_words(card: ModelCard) -> str:
    """The size in short: of a square painting, or the only one, height first as in its papers."""
    width, height = size_of(card)
    return f"{height}x{width}" + (" only" if card.fixed else "")


def explained(card: ModelCard) -> Iterator[tuple[str, str]]:
    """Pairs of a field and what is to be said of it; a field may come several times."""
    terms = f"; {card.condition}" if card.condition else ""
    own = ", ".join(_READS[name] for name in card.per_work)
    yield "model", f"{card.name}: {card.summary}"
    yield "weights", card.weights or "none: a formula"
    yield "pipeline", card.pipeline_class
    yield "licence", f"{card.licence}. Commercial use: {card.commercial}{terms}"
    yield "size", _size(card)
    yield "frames", f"{card.num_frames} at {card.fps} fps; {_frame_rule(card.frame_multiple)}"
    yield "conditioned on", card.conditioned_on
    yield "text", "the prompt is read" if card.uses_text else "none: prompts only reach the proxy"
    yield "catalog", f"reads of each work: {own}" if own else "reads nothing more of a work"
    yield from _levels(card.schedule)
    yield "dtype", card.dtype
    yield "memory", card.memory
    for lever in LEVERS:
        if lever.name in needs(card):
            settings = said(settings_of(card, lever))
            with_it = f"{lever.name} ({settings})" if settings else lever.name
            yield "", f"{needs(card)[lever.name]:5.1f} GiB with {with_it}"
    yield "levers", _takes(card.levers)
    yield from _options(card)
    for trap in card.traps:
        yield "know", trap


def _options(card: ModelCard) -> Iterator[tuple[str, str]]:
    """What `model.options` may hold: default, meaning, what is allowed."""
    if card.options is None:
        yield "model.options", f"further arguments of the call of {card.pipeline_class}"
        return
    for number, (name, option) in enumerate(card.options.known.items()):
        default = json.dumps(option.default)
        told = f"{name}: {default}; {option.meaning} ({option.words})"
        yield "" if number else "model.options", told


def needs(card: ModelCard) -> dict[str, float]:
    """Lever -> GiB that the model needs under it; empty for the preview and without figures."""
    if card.parts is None or card.weights is None:
        return {}
    return {lever.name: round(needed(card, lever), 1) for lever in LEVERS}


def _size(card: ModelCard) -> str:
    width, height = size_of(card)
    sides = f"sides multiples of {card.multiple}"
    if card.fixed:
        return (
            f"computed at {height}x{width} (height x width) whatever the painting's shape; the "
            f"video is stretched back to it, {card.area:,} pixels, {sides}"
        )
    shape = f"the painting's shape ({height}x{width} if that is square)"
    return f"{card.area:,} pixels in {shape}, {sides}"


def _frame_rule(multiple: int) -> str:
    return "any number" if multiple == 1 else f"others: a multiple of {multiple}, plus 1"


def _levels(schedule: Schedule | None) -> Iterator[tuple[str, str]]:
    """Where motion is distilled and where the animation starts, and why there."""
    if schedule is None:
        yield (
            "levels",
            "decided by the scheduler that comes with the weights, which this card does not know "
            f"(kappa is noise to signal): native where its first step is at kappa "
            f"{MAX_NATIVE_KAPPA:g} or less, else matched, the paper's 16, kappa 14.6 to 1.16. Flow "
            "matching, as of most such models, starts without signal, so matched",
        )
        yield (
            "t0",
            f"the step nearest to the paper's kappa {PAPER_KAPPA0} where levels are matched, else "
            "step 1; animate.kappa0 names another noise",
        )
        return
    own = f"kappa {_kappa(schedule.first)} to {schedule.last:.3g}"
    if schedule.starts_with_signal:
        yield (
            "levels",
            f"native: motion is distilled at its own first 16 of 25 steps, {own} (noise to "
            f"signal), because its first step still has signal (kappa {MAX_NATIVE_KAPPA:g} or "
            "less); distill.levels chooses otherwise",
        )
        yield (
            "t0",
            f"step 1, kappa {schedule.t0_kappa:.3g}: the animation starts where its schedule does, "
            "since the fused clip is still felt there; animate.kappa0 names another noise",
        )
        return
    no, nothing = (
        ("no", "nothing") if math.isinf(schedule.first) else ("next to no", "hardly anything")
    )
    yield (
        "levels",
        f"matched: motion is distilled at the paper's 16, kappa 14.6 to 1.16 (noise to signal), "
        f"because its first step has {no} signal; its own first 16 of 25 would be {own}; "
        "distill.levels chooses otherwise",
    )
    yield (
        "t0",
        f"step {schedule.t0} of 25, kappa {schedule.t0_kappa:.3g}, the nearest to the paper's "
        f"{PAPER_KAPPA0}: the animation starts there, since at step 1 {nothing} would be left of "
        "the fused clip; animate.kappa0 names another noise",
    )


def _kappa(value: float) -> str:
    if math.isinf(value):
        return "infinity"
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _takes(takes: Takes) -> str:
    """The settings of a run file that the model has something for, and those that are refused."""
    if not takes.network:
        return "none: it has no network"
    offload = [*("model", "block", "leaf"), *(["sequential"] if takes.sequential else [])]
    compiled = ["true", *(["blocks"] if takes.compile_blocks else [])]
    known = {
        f"offload ({', '.join(offload)})": True,
        "storage_dtype": True,
        f"compile ({', '.join(compiled)})": True,
        **{
            name: getattr(takes, name)
            for name in ("vae_tiling", "vae_slicing", "channels_last", "attention")
        },
        "options.decode_chunk_size": takes.chunks,
        f"step_cache ({', '.join(takes.step_caches)})": bool(takes.step_caches),
    }
    refused = [name.removesuffix(" ()") for name, taken in known.items() if not taken]
    return f"{', '.join(name for name in known if known[name])}; not: {', '.join(refused)}"


def facts(card: ModelCard) -> dict[str, Any]:
    """A card for programs; what is unknown, or infinite, is None."""
    width, height = size_of(card)
    schedule = card.schedule
    chosen = schedule and {
        "choice": "native" if schedule.starts_with_signal else "matched",
        "first_kappa": None if math.isinf(schedule.first) else schedule.first,
        "last_kappa": schedule.last,
        "t0": schedule.t0,
        "t0_kappa": schedule.t0_kappa,
    }
    return {
        "name": card.name,
        "summary": card.summary,
        "weights": card.weights,
        "pipeline_class": card.pipeline_class,
        "licence": card.licence,
        "commercial": card.commercial,
        "condition": card.condition or None,
        "size": {
            "area": card.area,
            "multiple": card.multiple,
            "square": [width, height],
            "only": card.fixed is not None,
        },
        "frames": {"number": card.num_frames, "multiple": card.frame_multiple, "fps": card.fps},
        "conditioned_on": card.conditioned_on,
        "reads_text": card.uses_text,
        "per_work": list(card.per_work),
        "levels": chosen,
        "dtype": card.dtype,
        "needs_gib": needs(card),
        "levers": asdict(card.levers),
        "options": card.options
        and {
            name: {"default": option.default, "meaning": option.meaning, "allowed": option.words}
            for name, option in card.options.known.items()
        },
        "know": list(card.traps),
    }


def fit_facts(fit: Fit) -> dict[str, Any]:
    """A model that fits, for programs."""
    return {
        "model": fit.card.name,
        "lever": fit.lever.name,
        "settings": dict(fit.settings),
        "gib": round(fit.needs, 1),
        "size": list(size_of(fit.card)),
        "frames": fit.card.num_frames,
        "commercial": fit.card.commercial,
        "condition": fit.card.condition or None,
    }


def left_out_facts(left: LeftOut) -> dict[str, Any]:
    """A model that is not recommended, for programs."""
    return {
        "model": left.card.name,
        "because": left.because,
        "commercial": left.card.commercial,
        "lever": left.least and left.least.lever.name,
        "gib": left.least and round(left.least.needs, 1),
    }
