"""Commands on a collection: status, manifest, why, retry, gallery, report."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

Where = Annotated[str, typer.Argument(help="folder or URL of a collection", metavar="OUT")]


class Format(StrEnum):
    """How `epa manifest` writes its rows."""

    CSV = "csv"
    JSON = "json"
    PARQUET = "parquet"


def register(app: typer.Typer) -> None:
    """Add this module's commands to the command line."""
    for command in (status, manifest, why, retry, gallery, report):
        app.command()(command)


def status(
    out: Where, json: Annotated[bool, typer.Option("--json", help="for programs")] = False
) -> None:
    """Count the works of a collection by state and failure code."""
    from flows.inspection import print_status

    print_status(out, as_json=json)


def manifest(
    out: Where,
    format: Annotated[
        Format, typer.Option(help="csv for spreadsheets; json (lines) and parquet are exact")
    ] = Format.CSV,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="a file", metavar="FILE")
    ] = None,
) -> None:
    """Write the manifest of a collection: one row per work."""
    from flows.inspection import write_manifest

    write_manifest(out, format.value, output)


def why(
    out: Where,
    item: Annotated[
        str, typer.Argument(help="id, file name or title of a work, or part of one", metavar="WORK")
    ],
) -> None:
    """Say what happened to one work, what it is made from, and what a run would do with it."""
    from flows.why import print_why

    print_why(out, item)


def retry(
    out: Where,
    reason: Annotated[
        list[str] | None, typer.Option(help="only this failure code", metavar="CODE")
    ] = None,
    item: Annotated[list[str] | None, typer.Option(help="only this work", metavar="WORK")] = None,
    review: Annotated[
        str | None,
        typer.Option(
            "--from", help="a review.csv of the gallery: redo what it says", metavar="FILE"
        ),
    ] = None,
    run: Annotated[
        bool | None,
        typer.Option(
            help="run at once, or only mark", show_default="run at once; with --from, only mark"
        ),
    ] = None,
) -> None:
    """Try the failed works of a collection again, or take in what a curator decided."""
    from catalogs.errors import ConfigError
    from flows.cli.run import execute
    from flows.inspection import ask_retry, open_collection

    if review is None:
        count = ask_retry(out, reason or [], item or [])
        typer.echo(f"{count} works are to be tried again")
    elif reason or item:
        raise ConfigError("--from: a review names its works itself; leave out --reason and --item")
    else:
        from flows.review import take_review

        count = take_review(out, review)
    if count and (review is None if run is None else run):
        execute(open_collection(out))


def gallery(out: Where) -> None:
    """Write the gallery of a collection anew."""
    from flows.inspection import open_collection
    from flows.wrap_up import refresh_gallery

    collection = open_collection(out)
    typer.echo(collection.store.uri(refresh_gallery(collection)))


def report(
    out: Where,
    output: Annotated[
        str | None,
        typer.Option(
            "--output", "-o", help="another folder or URL to write it to", metavar="OUTPUT"
        ),
    ] = None,
) -> None:
    """Write the report of a collection anew: counts, failures, time, measures, versions."""
    from flows.inspection import open_collection
    from flows.run_report import write_report

    typer.echo(write_report(open_collection(out), output))
