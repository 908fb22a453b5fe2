"""The command that takes finished videos out of a collection: export."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.cli.collection import Where


def register(app: typer.Typer) -> None:
    """Add this module's command to the command line."""
    app.command()(export)


def export(
    collection: Where,
    format: Annotated[
        str,
        typer.Option(
            help="videofolder (Hugging Face datasets), webdataset (tars) or folder",
            metavar="FORMAT",
        ),
    ],
    output: Annotated[
        str, typer.Option("--output", "-o", help="folder or object-store URL", metavar="OUTPUT")
    ],
    where: Annotated[
        str | None,
        typer.Option(help="SQL condition on columns of manifest and catalog", metavar="SQL"),
    ] = None,
    status: Annotated[
        list[str] | None,
        typer.Option(help="only works of this state; done if left out", metavar="STATE"),
    ] = None,
    flag: Annotated[
        list[str] | None,
        typer.Option(help="only works flagged so (good, static, ...), repeatable", metavar="FLAG"),
    ] = None,
    cell: Annotated[
        list[str] | None,
        typer.Option(help="only this cell of the run's matrix, repeatable", metavar="CELL"),
    ] = None,
    posters: Annotated[bool, typer.Option("--posters", help="poster.jpg, too")] = False,
    previews: Annotated[bool, typer.Option("--previews", help="preview.webp, too")] = False,
    shard_bytes: Annotated[
        int | None,
        typer.Option(help="of one tar, at most; 268435456 if left out", min=1, metavar="BYTES"),
    ] = None,
    shard_works: Annotated[
        int | None, typer.Option(help="works in one tar, at most", min=1, metavar="N")
    ] = None,
    link: Annotated[
        bool, typer.Option("--link", help="hard links instead of copies, where the disk can")
    ] = False,
    into_existing: Annotated[
        bool, typer.Option("--into-existing", help="also where other files, or exports, lie")
    ] = False,
) -> None:
    """Export finished videos as a dataset or under human names. Every file's digest is checked.

    The same call again writes only what is missing or changed, and removes what is no longer meant.
    Exits with 1 when works had to be left out.
    """
    from catalogs.exports.selection import Selection
    from flows.exporting import Export, export_collection

    wish = Export(
        format=format,
        output=output,
        selection=Selection(where, status or ("done",), flag or (), cell or ()),
        posters=posters,
        previews=previews,
        link=link,
        adopt=into_existing,
        shard_bytes=shard_bytes,
        shard_works=shard_works,
    )
    if not export_collection(collection, wish):
        raise typer.Exit(1)
