"""What the command line says about a plan and about a finished run."""

from __future__ import annotations

import json
from shlex import quote

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from catalogs.plan import Plan
from catalogs.rows import REJECTED
from catalogs.validation import printable
from flows.wrap_up import Summary
from tasks.config import RunConfig


def print_plan(plan: Plan, *, as_json: bool = False) -> None:
    """Counts by reason with first examples, and the hours ahead."""
    console = Console(soft_wrap=True)
    summary = plan.summary()
    if as_json:
        console.print_json(json.dumps(summary, ensure_ascii=False))
        return
    table = Table("reason", "works", "for example", box=None, pad_edge=False)
    for reason, count in plan.counts.most_common():
        table.add_row(escaped(reason), str(count), escaped(", ".join(plan.examples[reason][:3])))
    console.print(table)
    console.print(
        f"{summary['pending']} of {plan.total} works{of_paintings(plan.total, plan.items)} to do, "
        f"in shards: {len(plan.shards)}{_ahead(plan.seconds_estimate)}."
    )


def print_summary(summary: Summary, run: RunConfig) -> None:
    """One line of figures, failures by code, and where to look."""
    console = Console(soft_wrap=True, highlight=False)
    if summary.nothing_to_do:
        console.print("Nothing to do: every work is done, or has failed for good.")
    done = summary.counts.get("done", 0)
    works = f"{summary.works} works{of_paintings(summary.works, summary.items)}"
    console.print(f"{done} of {works} done in {summary.seconds:.1f} s.")
    for code, count in sorted(summary.codes.items()):
        console.print(f"  {count} {'set aside' if code == REJECTED else 'failed'}: {code}")
    if summary.failed:
        place = quote(run.output)
        console.print(f"See why with: epa status {place}; epa why {place} ITEM")
        console.print(f"Try them again with: epa retry {place}")
    if run.model.name == "preview":
        console.print("These are previews, not the quality of a neural model (see `epa models`).")
    console.print(f"Gallery: {summary.gallery}")
    if summary.report:
        console.print(f"Report: {summary.report}")


def of_paintings(works: int, items: int) -> str:
    """Under a matrix works are not paintings: say how many of these there are."""
    return "" if works == items else f" ({items} paintings)"


def _ahead(seconds: float | None) -> str:
    if seconds is None:
        return "; no timings are recorded yet"
    if seconds < 90:
        return f", about {seconds:.0f} s"
    return (
        f", about {seconds / 3600:.1f} h" if seconds > 3600 else f", about {seconds / 60:.0f} min"
    )


def escaped(text: str) -> str:
    """Catalog text is neither markup nor a command to the terminal."""
    return escape(printable(text))
