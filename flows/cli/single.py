"""Commands beside collections: awaken one painting, list the models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add this module's commands to the command line."""
    app.command()(awaken)
    app.command()(models)


def awaken(
    image: Annotated[Path, typer.Argument(help="the painting")],
    output: Annotated[Path, typer.Option("--output", "-o", help=".mp4, .webp or .mkv file")],
    prompt: Annotated[str, typer.Option(help="what moves, and how")],
    proxy: Annotated[Path | None, typer.Option(help="a proxy image; drawn if left out")] = None,
    model: Annotated[str, typer.Option(help="a model of `epa models`")] = "preview",
    weights: Annotated[str | None, typer.Option(help="its local folder or hub id")] = None,
    seed: Annotated[int, typer.Option(help="seed", min=0)] = 0,
    revision: Annotated[str | None, typer.Option(help="commit of the hub repository")] = None,
    frames: Annotated[int | None, typer.Option(help="number of frames", min=1, max=1000)] = None,
    steps: Annotated[int, typer.Option(help="sampler steps", min=1, max=1000)] = 25,
) -> None:
    """Animate one painting into one file."""
    from flows.single import awaken_file
    from tasks.config import ModelChoice

    choice = ModelChoice(name=model, source=weights, revision=revision, num_frames=frames)
    awaken_file(image, output, prompt, proxy, choice, seed, steps)
    typer.echo(f"wrote {output}")


def models(
    name: Annotated[str | None, typer.Argument(help="one model, in full")] = None,
) -> None:
    """List the models and proxies, with licence, memory and size."""
    from flows.single import print_models

    print_models(name)
