"""How a report writes numbers, times and money, and how Markdown takes a text for nothing else."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from html import escape
from typing import Any

from markupsafe import Markup

_NOTHING = "–"
_S = "\u00a0"  # between a number and its unit no line ends
# Each of these begins something somewhere: emphasis, code, links, tables, HTML, mathematics.
_SPECIAL = re.compile(r"[\\`*_\[\]|~@$#]|:(?=//)|(?<=www)\.", re.IGNORECASE)
_FIRST = re.compile(r"[-+>#=]|\d+(?=[.)](?:\s|$))")


def as_markdown(value: Any) -> Any:
    """A text as Markdown that shows that text; numbers and what is Markdown already stay.

    Angle brackets and ampersands become entities, since not everything that reads Markdown takes a
    backslash before them.
    """
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    text = escape(" ".join(value.split()), quote=False)
    parts = re.split(r"(&(?:amp|lt|gt);)", text)
    text = "".join(
        part if number % 2 else _SPECIAL.sub(r"\\\g<0>", part) for number, part in enumerate(parts)
    )
    return (
        _FIRST.sub(lambda start: _stopped(start[0]), text, count=1) if _FIRST.match(text) else text
    )


def _stopped(start: str) -> str:
    """What would begin a list, a quote or a heading, so that it does not."""
    return f"{start}\\" if start.isdigit() else f"\\{start}"


def number(value: float | None) -> str:
    """Three digits that count; whole numbers in full."""
    if value is None:
        return _NOTHING
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def percent(share: float) -> str:
    """A share from 0 to 1."""
    if 0 < share < 0.001:
        return f"<{_S}0.1{_S}%"
    return f"{100 * share:.{1 if 0 < share < 0.9995 else 0}f}{_S}%"


def duration(seconds: float | None) -> str:
    """A length of time in one or two units."""
    if seconds is None:
        return _NOTHING
    if seconds < 60:
        return f"{seconds:.0f}{_S}s" if seconds >= 10 else f"{seconds:.2g}{_S}s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{int(seconds // 60)}{_S}min {int(seconds % 60)}{_S}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}{_S}h {minutes}{_S}min" if hours < 100 else f"{hours:,}{_S}h"


def hours(seconds: float) -> str:
    """Seconds as hours with three digits that count; what is less than one hour in full."""
    if 0 < seconds < 3600:
        return duration(seconds)
    return f"{number(float(f'{seconds / 3600:.3g}'))}{_S}h"


def money(seconds: float, price: float, currency: str = "") -> str:
    """What so many seconds cost at a price per hour."""
    amount = seconds / 3600 * price
    digits = 2 if amount >= 0.1 or amount == 0 else 4
    return f"{amount:,.{digits}f} {currency}".strip().replace(" ", _S)


def moment(text: str | None) -> str:
    """A moment of the manifest, to the minute."""
    try:
        found = datetime.fromisoformat(text or "")
    except ValueError:
        return _NOTHING
    return f"{found.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def gigabytes(count: float) -> str:
    """Bytes as GiB."""
    return f"{count / 2**30:.1f}{_S}GiB"


def code_spans(text: str) -> Markup:
    """Our own words as HTML, what stands between backticks as code."""
    parts = [escape(part) for part in text.split("`")]
    marked = (f"<code>{part}</code>" if n % 2 else part for n, part in enumerate(parts))
    return Markup("".join(marked))  # noqa: S704  # escaped above


def ours(text: str) -> Markup:
    """Our own words, which are Markdown already."""
    return Markup(text)  # noqa: S704  # only for texts of this program


FILTERS: Mapping[str, Callable[..., Any]] = {
    **{"number": number, "percent": percent, "duration": duration, "hours": hours},
    **{"money": money, "moment": moment, "gigabytes": gigabytes},
    **{"code_spans": code_spans, "ours": ours},
}
