"""Commands on files of the paper's released code."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add this module's commands to the command line."""
    app.command("import-config")(import_config)


def import_config(
    paths: Annotated[
        list[Path],
        typer.Argument(help="released config.yaml files, or folders of them", metavar="CONFIG"),
    ],
    folder: Annotated[
        Path,
        typer.Option(
            "--output", "-o", help="folder for the catalog and the run files", metavar="OUTPUT"
        ),
    ],
    weights: Annotated[
        str | None,
        typer.Option(
            help="the model's folder, in place of pretrained_model_path", metavar="FOLDER"
        ),
    ] = None,
) -> None:
    """Turn config.yaml files of the paper's released code into a catalog and run files."""
    from flows.released_import import CATALOG, import_lines, import_released

    given = {}
    if weights is not None:
        folder_of_them = Path(weights).absolute()
        given["pretrained_model_path"] = str(folder_of_them) if folder_of_them.is_dir() else weights
    imported = import_released(paths, folder, given)
    if imported.ignored:
        typer.echo(f"epa: ignored: {', '.join(imported.ignored)}", err=True)
    for line in import_lines(imported):
        typer.echo(line)
    typer.echo(f"wrote {folder / CATALOG}")
