"""Commands on catalogs: build one from any source, look at it, check it."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

app = typer.Typer(help="Build, show and check catalogs.", no_args_is_help=True)


class Kind(StrEnum):
    """What a source is."""

    AUTO = "auto"
    FOLDER = "folder"
    WIKIART = "wikiart"
    HUGGINGFACE = "huggingface"
    TABLE = "table"


@app.command()
def build(
    source: Annotated[str, typer.Argument(help="folder, table, WikiArt lists, Parquet of images")],
    output: Annotated[str, typer.Option("--output", "-o", help="the Parquet file to write")],
    kind: Annotated[Kind, typer.Option(help="what SOURCE is")] = Kind.AUTO,
    images: Annotated[str | None, typer.Option(help="root of the WikiArt pictures")] = None,
    column: Annotated[
        list[str] | None, typer.Option(help="catalog column = column of the table, repeatable")
    ] = None,
) -> None:
    """Build a catalog and report what went in, what came out, and what was left out and why."""
    from catalogs.catalog import write_catalog
    from flows.catalogs_cli import build_catalog, check_target
    from flows.cli.pairs import split_pairs

    options: dict[str, Any] = {"images": images} if images else {}
    check_target(output)
    columns = split_pairs("--column", column or [], "title=Name")
    result = build_catalog(source, kind.value, columns, options)
    write_catalog(result, output)
    for line in result.report.lines():
        typer.echo(line)
    typer.echo(f"wrote {output}")


@app.command()
def show(
    catalog: Annotated[str, typer.Argument(help="a catalog, or anything one is built from")],
    where: Annotated[str | None, typer.Option(help="SQL condition on catalog columns")] = None,
    limit: Annotated[int, typer.Option(help="rows to show", min=1)] = 20,
) -> None:
    """Show works of a catalog with the motion prompts they would get."""
    from flows.catalogs_cli import print_works

    print_works(catalog, where, limit)


@app.command()
def check(
    catalog: Annotated[str, typer.Argument(help="a catalog, or anything one is built from")],
) -> None:
    """Check a catalog: counts, gaps, doubles; exits with 2 when it cannot be used."""
    from flows.catalogs_cli import check_catalog

    for line in check_catalog(catalog).lines():
        typer.echo(line)
