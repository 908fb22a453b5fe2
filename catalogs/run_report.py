"""The report of a run: one page and the same as Markdown, made from the manifest and rewritable.

The page needs no script, no network and no other file: style and plots are in it. All texts of the
catalog are text in both: Jinja2 escapes them for HTML, `as_markdown` whatever enters the other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from catalogs import paths
from catalogs.gallery_rows import relative_url
from catalogs.run_report_columns import Columns
from catalogs.run_report_figures import PENDING, Figures, RunFigures, figures_of
from catalogs.run_report_plots import flag_plot, measure_plot
from catalogs.run_report_quality import FLAGS, MEASURES, PLOTTED, Quality, quality_of
from catalogs.run_report_text import FILTERS, as_markdown
from catalogs.safe_text import controls_shown, on_one_line

if TYPE_CHECKING:
    from jinja2 import Environment

    from catalogs.store import Store

TEMPLATES = Path(__file__).parent / "templates"
_HTML, _MARKDOWN = "text/html; charset=utf-8", "text/markdown; charset=utf-8"
STAGES = {
    "t_fetch": "fetch",
    "t_prepare": "prepare",
    "t_proxy": "proxy",
    "t_distill": "distil",
    "t_animate": "animate",
    "t_encode": "encode, measure",
    "t_upload": "upload",
}


@dataclass(frozen=True)
class About:
    """What the manifest does not tell. ``planned``: the plan's works by cell of the matrix."""

    title: str
    planned: Mapping[str | None, int]
    items: int
    configuration: str  # YAML
    seed: int
    written_at: str
    price_per_hour: float | None = None
    currency: str = ""
    versions: Sequence[tuple[str, str]] = ()
    manifest: Sequence[str] = ()  # its files
    unsealed: int = 0  # records not yet in one of them
    run: RunFigures | None = None
    earlier: Sequence[RunFigures] = ()  # the last first


@dataclass(frozen=True)
class Group:
    """A way to group the videos: its plots, (what it shows, SVG), and the numbers in them."""

    name: str
    plots: Sequence[tuple[str, str, str]]
    flags: str
    rows: Sequence[Any]


@dataclass
class RunReport:
    """A report before it is written; ``videos`` gives the paths of some works' videos by key."""

    table: Any
    about: About
    videos: Callable[[Sequence[str]], Mapping[str, str]] = field(default=lambda keys: {})

    @cached_property
    def columns(self) -> Columns:
        """The manifest's columns that are counted."""
        return Columns(self.table)

    @cached_property
    def figures(self) -> Figures:
        """States, failures, time, origins."""
        return figures_of(self.columns, self.about.planned)

    @cached_property
    def quality(self) -> Quality:
        """Measures and flags."""
        cells = [label for label in self.about.planned if label is not None]
        return quality_of(self.columns, cells=cells)

    @cached_property
    def _groups(self) -> list[Group]:
        """Plots of all groupings. Names in the page: the grouping's and the measure's number."""
        whole = self.quality.whole.spreads
        found = []
        for i, (name, groups) in enumerate(self.quality.groups.items()):
            plots = [
                (m.title, m.meaning, measure_plot(m, groups, whole[m.name].median, f"p{i}{j}"))
                for j, m in enumerate(PLOTTED)
            ]
            flags = flag_plot(self.quality.flags, groups, f"p{i}f")
            found.append(Group(name, [plot for plot in plots if plot[2]], flags, groups))
        return found

    @cached_property
    def _context(self) -> dict[str, Any]:
        figures, about = self.figures, self.about
        examples = [
            *figures.slowest,
            *(one for works in figures.flagged.values() for one in works),
        ]
        return {
            "about": about,
            "title": on_one_line(about.title) or "Collection",
            "figures": figures,
            "quality": self.quality,
            "groups": self._groups,
            "measures": MEASURES,
            "plotted": PLOTTED,
            "flags": FLAGS,
            "stages": STAGES,
            "states": _state_names(figures),
            "configuration": [controls_shown(line) for line in about.configuration.splitlines()],
            "videos": self.videos([example.key for example in examples]),
            "price": about.price_per_hour,
            "currency": on_one_line(about.currency),
        }

    def html(self, base: str | None = "") -> str:
        """The page; ``base`` leads from it to the collection's root, None where nothing does."""
        from markupsafe import Markup

        environment = _environment(autoescape=True)
        style = Markup((TEMPLATES / "report.css").read_text("utf-8"))  # noqa: S704  # our own
        page = environment.get_template("report.html.j2")
        return page.render(**self._context, link=_links(base), style=style)

    def markdown(self, base: str | None = "") -> str:
        """The same as Markdown (CommonMark with tables), with numbers in place of plots."""
        environment = _environment(autoescape=False, finalize=as_markdown)
        page = environment.get_template("report.md.j2")
        return page.render(**self._context, link=_links(base))

    def write(
        self, store: Store, path_of: Callable[[str], str] = str, base: str | None = ""
    ) -> str:
        """Put both forms where ``path_of`` says for each name; the path of the page.

        Raises StoreError.
        """
        text = self.markdown(base).encode("utf-8", "replace")
        store.put(path_of(paths.REPORT_TEXT), text, _MARKDOWN)
        page = path_of(paths.REPORT)
        store.put(page, self.html(base).encode("utf-8", "replace"), _HTML)
        return page


def _links(base: str | None) -> Callable[[str | None], str | None]:
    def link(path: str | None) -> str | None:
        url = relative_url(path) if path else None
        return None if base is None or url is None else base + url

    return link


def _state_names(figures: Figures) -> list[tuple[str, str, int]]:
    """State, what people call it, works."""
    names = {"skipped": "set aside: skipped", "quarantined": "set aside: killed its workers"}
    names[PENDING] = "not made yet"
    return [(state, names.get(state, state), n) for state, n in figures.states.items()]


def _environment(**options: Any) -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(  # noqa: S701  # the page escapes HTML, the text form Markdown
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        **options,
    )
    environment.filters.update(FILTERS)
    return environment
