"""Plots of a report as inline SVG, drawn by matplotlib.

matplotlib is given numbers alone. Names of categories come from catalogs: it would read mathematics
in them and look for their letters in its fonts, so they are put into the finished drawing, as text.
Colours are the page's own, so that a dark page has dark plots; ids are unique in the page.
"""

from __future__ import annotations

import io
import logging
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from catalogs.run_report_quality import GroupQuality, Measure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Stand-ins, which the page's colours replace; none of them is white, black or grey.
INK, SOFT, LINE, ACCENT, FILL = "#010203", "#040506", "#070809", "#0a0b0c", "#0d0e0f"
_FLAGS = [f"#1001{number:02x}" for number in range(6)]
_COLOURS = {
    **{INK: "var(--ink)", SOFT: "var(--soft)", LINE: "var(--line)"},
    **{ACCENT: "var(--accent)", FILL: "var(--fill)"},
    **{colour: f"var(--flag-{number})" for number, colour in enumerate(_FLAGS)},
}

_WIDTH, _LEFT, _RIGHT, _TOP, _BOTTOM, _ROW = 380, 156, 14, 6, 26, 20  # points
_LABEL = 22  # columns of a name
_NAME = "name-"
_SVG, _XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"


def measure_plot(
    measure: Measure, groups: Sequence[GroupQuality], whole: float | None, name: str
) -> str:
    """A row for each group: quartiles, 5 % and 95 %, or every value where there are few.

    The line across is the median of all works, ``whole``. Empty where nothing was measured.
    ``name`` is the drawing's own in its page.
    """
    shown = [group for group in groups if group.spreads[measure.name].quantiles]
    if not shown:
        return ""

    def draw(axes: Axes) -> None:
        if whole is not None:
            axes.axvline(whole, color=ACCENT, linewidth=0.8, linestyle=(0, (3, 3)), zorder=0)
        boxes, places = [], []
        for place, group in enumerate(shown):
            spread = group.spreads[measure.name]
            if spread.points:
                axes.scatter(
                    spread.points,
                    [place] * len(spread.points),
                    s=16,
                    facecolors=FILL,
                    edgecolors=INK,
                    linewidths=0.7,
                )
                continue
            names = ("whislo", "q1", "med", "q3", "whishi")
            boxes.append({**dict(zip(names, spread.quantiles, strict=True)), "fliers": []})
            places.append(place)
        if boxes:
            axes.bxp(
                boxes,
                positions=places,
                orientation="horizontal",
                widths=0.56,
                patch_artist=True,
                manage_ticks=False,
                boxprops={"facecolor": FILL, "edgecolor": INK, "linewidth": 0.7},
                medianprops={"color": INK, "linewidth": 1.6},
                whiskerprops={"color": INK, "linewidth": 0.7},
                capprops={"color": INK, "linewidth": 0.7},
            )

    return _drawn([_named(group) for group in shown], draw, name)


def flag_plot(flags: Sequence[str], groups: Sequence[GroupQuality], name: str) -> str:
    """A bar for each group: the shares of its works that have each flag, in %."""
    shown = [group for group in groups if group.flags]
    if not shown:
        return ""

    def draw(axes: Axes) -> None:
        left = [0.0] * len(shown)
        for number, flag in enumerate(flags):
            parts = [100 * group.flags.get(flag, 0) / sum(group.flags.values()) for group in shown]
            colour = _FLAGS[min(number, len(_FLAGS) - 1)]
            axes.barh(range(len(shown)), parts, left=left, height=0.62, color=colour)
            left = [a + b for a, b in zip(left, parts, strict=True)]
        axes.set_xlim(0, 100)

    return _drawn([_named(group) for group in shown], draw, name)


def _named(group: GroupQuality) -> str:
    return f"{_cut(group.label, _LABEL)} ({group.works:,})"


def _cut(text: str, columns: int) -> str:
    """The text without marks above letters beyond one, in so many columns of a terminal."""
    shown, used, marks = "", 0, 0
    for letter in text:
        marks = marks + 1 if unicodedata.combining(letter) else 0
        used += 0 if marks else 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        if used > columns:
            return f"{shown.rstrip()}…"
        if marks <= 1:
            shown += letter
    return shown


def _drawn(labels: Sequence[str], draw: Callable[[Axes], None], name: str) -> str:
    """The figure that ``draw`` makes over one row for each label, as an SVG element."""
    height = _TOP + _BOTTOM + _ROW * len(labels)
    with _settings():
        from matplotlib.figure import Figure

        figure = Figure(figsize=(_WIDTH / 72, height / 72), dpi=72)
        axes = figure.add_axes(
            (
                _LEFT / _WIDTH,
                _BOTTOM / height,
                (_WIDTH - _LEFT - _RIGHT) / _WIDTH,
                _ROW * len(labels) / height,
            )
        )
        draw(axes)
        figure.patch.set_visible(False)
        axes.patch.set_visible(False)
        axes.set_ylim(len(labels) - 0.5, -0.5)
        axes.set_yticks(range(len(labels)), labels=[str(n) for n in range(len(labels))])
        axes.tick_params(axis="y", length=0, labelcolor=INK, labelsize=10)
        axes.tick_params(axis="x", color=LINE, labelcolor=SOFT, labelsize=9.5)
        axes.grid(axis="x", color=LINE, linewidth=0.6)
        axes.set_axisbelow(True)
        axes.locator_params(axis="x", nbins=5)
        for side in ("top", "left", "right"):
            axes.spines[side].set_visible(False)
        axes.spines["bottom"].set_color(LINE)
        for number, label in enumerate(axes.get_yticklabels()):
            label.set_gid(f"{_NAME}{number}")
        return _inline(_svg(figure), labels, name)


@contextmanager
def _settings() -> Iterator[None]:
    # Without a home it says where it keeps its fonts, and at its first use that it looks for them.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    import matplotlib

    settings: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": "epa", "text.usetex": False}
    # Whatever style a user has set up for plots of their own is not this page's.
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(settings)
        yield


def _svg(figure: Figure) -> bytes:
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    sink = io.BytesIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    FigureCanvasSVG(figure).print_svg(sink, metadata=nothing)
    return sink.getvalue()


def _inline(svg: bytes, labels: Sequence[str], name: str) -> str:
    """The drawing as an element of the page: its names, its colours, ids of its own."""
    ElementTree.register_namespace("", _SVG)
    ElementTree.register_namespace("xlink", _XLINK)
    root = ElementTree.fromstring(svg)  # noqa: S314  # matplotlib's own, with numbers alone in it
    for attribute in ("width", "height", "version"):
        root.attrib.pop(attribute, None)
    root.set("aria-hidden", "true")  # the same numbers are in the table beside it
    names = {f"{_NAME}{number}": label for number, label in enumerate(labels)}
    for element in list(root.iter()):
        for child in list(element):
            if child.tag in (f"{{{_SVG}}}metadata", f"{{{_SVG}}}style"):
                element.remove(child)
        if element.get("id") in names:
            for text in element.iter(f"{{{_SVG}}}text"):
                text.text = names[element.attrib["id"]]
        element.attrib.update(_of_the_page(element.attrib, name))
        if element.tag == f"{{{_SVG}}}g":  # nothing refers to groups
            element.attrib.pop("id", None)
    return ElementTree.tostring(root, encoding="unicode")


def _of_the_page(attributes: Mapping[str, str], name: str) -> dict[str, str]:
    """Attributes with the page's colours and fonts, and ids that no other drawing has."""
    own = {}
    for attribute, value in attributes.items():
        if attribute == "id":
            own[attribute] = f"{name}-{value}"
        elif attribute == "style":
            value = re.sub(r"font-family: [^;]*; ?", "", value)
            own[attribute] = re.sub(r"#[0-9a-f]{6}\b", lambda c: _COLOURS.get(c[0], c[0]), value)
        else:
            own[attribute] = re.sub(r"^(url\()?#", lambda start: f"{start[0]}{name}-", value)
    return own
