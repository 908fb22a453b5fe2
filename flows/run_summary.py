"""The first thing to read of a run on Prefect's pages: what it came to, and where to look."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from shlex import quote

from catalogs import paths
from catalogs.codes import CODES
from catalogs.validation import printable
from catalogs.web_address import web_address
from flows.artifacts import publish
from flows.report import of_paintings
from flows.wrap_up import Summary
from tasks.collection import Collection

log = logging.getLogger("epa")
KEY = "epa-summary"
REPORT = "report.html"


def publish_start(collection: Collection) -> None:
    """What is to be done, and where results of before lie."""
    plan = collection.plan
    rows = [(reason, count) for reason, count in plan.counts.most_common()]
    works = f"{plan.total}{of_paintings(plan.total, plan.items)}"
    _publish(collection, [("works", works), *rows], "what is to be done")


def publish_summary(collection: Collection, summary: Summary) -> None:
    """What came out, failures with what to do about them, and where gallery and report are."""
    works = f"{summary.works}{of_paintings(summary.works, summary.items)}"
    rows = [("works", works), *sorted(summary.counts.items())]
    if summary.nothing_to_do:
        rows.append(("to do", "nothing"))
    said = _failures(summary.codes) if summary.codes else ""
    _publish(collection, rows, "what the run came to", said)


def _publish(
    collection: Collection, rows: Iterable[tuple[str, object]], what: str, more: str = ""
) -> None:
    try:
        head, *body = [f"| {_plain(name)} | {_plain(str(value))} |" for name, value in rows]
        table = "\n".join([head, "|---|---|", *body])
        text = f"{table}\n\n{more}{_links(collection)}"
    except Exception as error:  # noqa: BLE001  # a page that cannot be written stops no work
        log.debug("no summary on Prefect's pages: %s", error)
        return
    publish(KEY, "markdown", text, what)


def _failures(codes: dict[str, int]) -> str:
    lines = ["Works that failed, and what to do:", ""]
    for code, count in sorted(codes.items(), key=lambda entry: (-entry[1], entry[0])):
        known = CODES.get(code)
        told = f"{known.meaning} {known.advice}" if known else ""
        lines.append(f"- {count} {_code(code)} {_plain(told)}".rstrip())
    return "\n".join([*lines, "\n"])


def _links(collection: Collection) -> str:
    store = collection.store
    lines = []
    for name, path in (("Gallery", paths.INDEX), ("Report", REPORT)):
        if store.head(path) is not None:
            lines.append(f"- {name}: {_link(store.uri(path))}")
    place = quote(collection.run.output)
    lines.append(f"- Manifest: {_link(store.uri(paths.MANIFEST))}, or as a table: ")
    lines[-1] += _code(f"epa manifest {place}")
    lines.append(f"- Works by state and code: {_code(f'epa status {place}')}")
    return "\n".join(lines) + "\n"


def _link(uri: str) -> str:
    """The object's address as a link where a browser can follow it, and as text."""
    address = web_address(uri)
    return _code(uri) if address is None else f"[{_plain(uri)}](<{address}>)"


def _code(text: str) -> str:
    return f"`{printable(text, 1000).replace('`', chr(39))}`"


def _plain(text: str) -> str:
    """Text that is no markup of a Markdown table, and no HTML."""
    shown = printable(text, 1000)
    return "".join(f"\\{c}" if c in "\\`*_{}[]<>#|~" else c for c in shown)
