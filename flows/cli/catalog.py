"""Commands on catalogs: build one from any source, fetch its pictures, look at it, check it."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

app = typer.Typer(help="Build, download, show and check catalogs.", no_args_is_help=True)


class Kind(StrEnum):
    """What a source is."""

    AUTO = "auto"
    FOLDER = "folder"
    WIKIART = "wikiart"
    HUGGINGFACE = "huggingface"
    TABLE = "table"


@app.command()
def build(
    source: Annotated[
        str,
        typer.Argument(help="folder, table, WikiArt lists, Parquet of images", metavar="SOURCE"),
    ],
    output: Annotated[
        str, typer.Option("--output", "-o", help="the Parquet file to write", metavar="FILE")
    ],
    kind: Annotated[Kind, typer.Option(help="what SOURCE is")] = Kind.AUTO,
    images: Annotated[
        str | None, typer.Option(help="root of the WikiArt pictures", metavar="FOLDER")
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(
            help="catalog column = column of the table, repeatable", metavar="COLUMN=NAME"
        ),
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
def download(
    source: Annotated[
        str, typer.Argument(help="a catalog, or anything one is built from", metavar="SOURCE")
    ],
    output: Annotated[
        str, typer.Option("--output", "-o", help="folder or object-store URL", metavar="OUTPUT")
    ],
    kind: Annotated[Kind, typer.Option(help="what SOURCE is")] = Kind.AUTO,
    images: Annotated[
        str | None, typer.Option(help="root of the WikiArt pictures", metavar="FOLDER")
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(
            help="catalog column = column of the table, repeatable", metavar="COLUMN=NAME"
        ),
    ] = None,
    where: Annotated[
        str | None, typer.Option(help="SQL condition on catalog columns", metavar="SQL")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(help="at most this many works", min=1, metavar="N")
    ] = None,
    workers: Annotated[
        int, typer.Option(help="pictures at a time", min=1, max=64, metavar="N")
    ] = 4,
    per_host: Annotated[
        int, typer.Option(help="connections to one host", min=1, max=64, metavar="N")
    ] = 2,
    retries: Annotated[
        int, typer.Option(help="further tries of a picture", min=0, metavar="N")
    ] = 4,
    max_bytes: Annotated[
        int, typer.Option(help="of one picture", min=1, metavar="BYTES")
    ] = 200_000_000,
    timeout: Annotated[
        float, typer.Option(help="seconds for one picture", min=0.1, metavar="SECONDS")
    ] = 600,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            help="HOST:PORT of your own network that may be asked too, repeatable",
            metavar="HOST:PORT",
        ),
    ] = None,
    contact: Annotated[
        str,
        typer.Option(help="mail or page that servers are told, as some ask for it", metavar="TEXT"),
    ] = "",
) -> None:
    """Fetch the pictures SOURCE names on the web; write OUTPUT/catalog.parquet of the copies.

    The same call again fetches what is missing. Exits with 1 when works had to be left out.
    """
    from catalogs.download_fetch import FetchLimits
    from flows.cli.pairs import split_pairs
    from flows.downloads import Request, download_pictures

    options: dict[str, Any] = {"images": images} if images else {}
    columns = split_pairs("--column", column or [], "title=Name")
    limits = FetchLimits(max_bytes=max_bytes, total=timeout, retries=retries, per_host=per_host)
    request = Request(source, output, kind.value, columns, options, where, limit)
    complete = download_pictures(
        request, limits, workers=workers, allowed=allow_host or [], contact=contact
    )
    raise typer.Exit(0 if complete else 1)


@app.command()
def show(
    catalog: Annotated[
        str, typer.Argument(help="a catalog, or anything one is built from", metavar="CATALOG")
    ],
    where: Annotated[
        str | None, typer.Option(help="SQL condition on catalog columns", metavar="SQL")
    ] = None,
    limit: Annotated[int, typer.Option(help="rows to show", min=1, metavar="N")] = 20,
) -> None:
    """Show works of a catalog with the motion prompts they would get."""
    from flows.catalogs_cli import print_works

    print_works(catalog, where, limit)


@app.command()
def check(
    catalog: Annotated[
        str, typer.Argument(help="a catalog, or anything one is built from", metavar="CATALOG")
    ],
) -> None:
    """Check a catalog: counts, gaps, doubles; exits with 2 when it cannot be used."""
    from flows.catalogs_cli import check_catalog

    for line in check_catalog(catalog).lines():
        typer.echo(line)
