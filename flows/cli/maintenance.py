"""Commands that look after a collection: verify, gc, rebuild."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.cli.collection import Where

Json = Annotated[bool, typer.Option("--json", help="for programs")]


def register(app: typer.Typer) -> None:
    """Add this module's commands to the command line."""
    for command in (verify, gc, rebuild):
        app.command()(command)


def verify(
    out: Where,
    deep: Annotated[bool, typer.Option("--deep", help="read every file, compare SHA-256")] = False,
    all: Annotated[bool, typer.Option("--all", help="results of earlier settings, too")] = False,
    redo: Annotated[
        bool, typer.Option("--redo", help="let the next run make again what is lost")
    ] = False,
    json: Json = False,
) -> None:
    """See that every recorded file is there and whole. Exit code 1 when one is not."""
    from flows.maintenance import print_verification

    if not print_verification(out, everything=all, deep=deep, redo=redo, as_json=json):
        raise typer.Exit(1)


def gc(
    out: Where,
    delete: Annotated[bool, typer.Option("--delete", help="remove it, not only say so")] = False,
    older_than: Annotated[
        float, typer.Option("--older-than", help="days since it was written", metavar="DAYS")
    ] = 7.0,
    json: Json = False,
) -> None:
    """Find what no record, no present work and no running worker needs; --delete removes it."""
    from flows.maintenance import print_garbage

    print_garbage(out, delete=delete, days=older_than, as_json=json)


def rebuild(out: Where, json: Json = False) -> None:
    """Make a lost or damaged manifest anew from the videos; nothing is deleted."""
    from flows.maintenance import print_rebuilt

    print_rebuilt(out, as_json=json)
