"""The table of all faults provoked in one session, and what became of the works."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from promise import Outcome

COLUMNS = ("scenario", "works", "faults", "done", "failed", "lost", "duplicates", "damaged")
COLUMNS += ("redone", "redone/fault")


@dataclass
class FaultTable:
    """One row for every scenario that ran, kept or not."""

    rows: list[tuple[str, ...]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, scenario: str, outcomes: Outcome | Sequence[Outcome], faults: int) -> None:
        """Note what one or several runs of a scenario came to."""
        several = [outcomes] if isinstance(outcomes, Outcome) else list(outcomes)

        def total(name: str) -> int:
            return sum(int(getattr(outcome, name)) for outcome in several)

        def ended(*states: str) -> int:
            return sum(outcome.states.get(state, 0) for outcome in several for state in states)

        redone = total("redone")
        counts = [total("works"), faults, ended("done"), ended("failed", "skipped", "quarantined")]
        counts += [total("lost"), total("duplicates"), total("damaged"), redone]
        share = f"{redone / faults:.2f}" if faults else "-"
        self.rows.append((scenario, *map(str, counts), share))

    def keep(
        self,
        scenario: str,
        outcomes: Outcome | Sequence[Outcome],
        faults: int,
        *,
        redone: float | None = None,
        states: Mapping[str, int] | None = None,
    ) -> None:
        """Note a scenario, and fail where the promise was not kept.

        ``redone`` is how many works may be done again per fault, ``states`` what a single outcome
        must come to (all done unless given).
        """
        self.add(scenario, outcomes, faults)
        several = [outcomes] if isinstance(outcomes, Outcome) else list(outcomes)
        assert several, "nothing was run, so nothing was proven"
        for outcome in several:
            assert outcome.faults() == {}, outcome
            wanted = {"done": outcome.works} if states is None else states
            assert dict(outcome.states) == wanted, outcome
            assert outcome.works > 0, "nothing was planned, so nothing was proven"
            if redone is not None:
                assert outcome.redone <= redone * faults / len(several), outcome

    def count(self, scenario: str, works: int, states: Mapping[str, int]) -> None:
        """Note a scenario of which only the works' states are known."""
        done, ended = states.get("done", 0), sum(states.values())
        counts = (works, works - done, done, ended - done, works - ended, 0, 0, 0)
        self.rows.append((scenario, *map(str, counts), "-"))

    def text(self) -> str:
        """The table as aligned text."""
        rows = [COLUMNS, *self.rows]
        widths = [max(len(row[i]) for row in rows) for i in range(len(COLUMNS))]
        lines = []
        for row in rows:
            cells = [row[0].ljust(widths[0])]
            cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
            lines.append("  ".join(cells))
        return "\n".join([*lines, *self.notes])

    def write(self, path: Path) -> None:
        """Leave the table in a file."""
        path.write_text(self.text() + "\n")


def report(terminal: Any, table: FaultTable) -> None:
    """Print the table where pytest ends."""
    if table.rows:
        terminal.section("faults")
        terminal.write_line(table.text())
