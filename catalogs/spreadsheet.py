"""Text in CSV files that people open in a spreadsheet: never a formula."""

from __future__ import annotations

import re

# OWASP, "CSV Injection": what makes a spreadsheet take a cell for a formula, also after the
# characters it skips. A plain number is no formula and stays one.
_FORMULA = re.compile(r"[\t\r\n ]*[=+\-@\uff1d\uff0b\uff0d\uff20]|[\t\r\n]")
_NUMBER = re.compile(r"[+-]?\d+([.,]\d+)?")


def as_text(value: str) -> str:
    """The text as a spreadsheet shows it: one that would be a formula gets a quote in front."""
    if _FORMULA.match(value) and not _NUMBER.fullmatch(value):
        return "'" + value
    return value
