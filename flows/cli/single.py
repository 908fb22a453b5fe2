"""The command beside collections: awaken one painting."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer


class DType(StrEnum):
    """Precision of a model's weights."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"


def register(app: typer.Typer) -> None:
    """Add this module's commands to the command line."""
    app.command()(awaken)


def awaken(
    image: Annotated[Path | None, typer.Argument(help="the painting", metavar="IMAGE")] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help=".mp4, .gif, .webp or .mkv file; with --config a folder",
            metavar="OUTPUT",
        ),
    ] = None,
    prompt: Annotated[str | None, typer.Option(help="what moves, and how", metavar="TEXT")] = None,
    proxy: Annotated[Path | None, typer.Option(help="the proxy image", metavar="FILE")] = None,
    proxy_maker: Annotated[
        str | None,
        typer.Option(
            help="or who draws it: a proxy of `epa models`; preview for that model", metavar="NAME"
        ),
    ] = None,
    proxy_weights: Annotated[
        str | None, typer.Option(help="the maker's local folder or hub id", metavar="WEIGHTS")
    ] = None,
    proxy_revision: Annotated[
        str | None, typer.Option(help="commit of the maker's hub repository", metavar="COMMIT")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="a model of `epa models`; preview if left out", metavar="NAME"),
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="its local folder or hub id", metavar="WEIGHTS")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="seed; 0 if left out", min=0, metavar="N")
    ] = None,
    revision: Annotated[
        str | None, typer.Option(help="commit of the hub repository", metavar="COMMIT")
    ] = None,
    frames: Annotated[
        int | None, typer.Option(help="number of frames", min=1, max=1000, metavar="N")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="sampler steps; 25 if left out", min=1, max=1000, metavar="N")
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            help="config.yaml of the paper's released code; other options override it",
            metavar="FILE",
        ),
    ] = None,
    mask: Annotated[
        Path | None,
        typer.Option(help="picture of where it may move: white may, black stays", metavar="FILE"),
    ] = None,
    motion: Annotated[
        float | None, typer.Option(help="motion strength", min=0, max=100, metavar="NUMBER")
    ] = None,
    dtype: Annotated[DType | None, typer.Option(help="precision; model's own if left out")] = None,
    half_slerp: Annotated[
        bool, typer.Option("--half-slerp", help="fuse in half precision, as the released code")
    ] = False,
    one_stream: Annotated[
        bool, typer.Option("--one-stream", help="all noise from one stream, as the released code")
    ] = False,
) -> None:
    """Animate one painting into one file, or as the released config.yaml of the paper says."""
    from catalogs.errors import ConfigError
    from flows.released import MODEL, read_released
    from flows.single import Single, awaken_file, maker_of, readable, single_of, target, targets_of
    from tasks.config import ModelChoice

    maker = maker_of(proxy_maker, proxy_weights, proxy_revision, dtype and dtype.value)
    if proxy is not None and maker is not None:
        raise ConfigError("--proxy and --proxy-maker exclude each other: one picture is enough")
    choice: dict[str, Any] = {
        "source": weights,
        "revision": revision,
        "dtype": dtype and dtype.value,
    }
    switches = {"half_slerp": half_slerp, "one_stream": one_stream}
    if config is not None:
        given = {
            "pretrained_model_path": weights,
            "output_dir": output and str(output),
            "seed": seed,
            "validation_data.prompt_image": image and str(image.absolute()),
            "validation_data.proxy_image": proxy and str(proxy.absolute()),
            "validation_data.mask": mask and str(mask.absolute()),
            "validation_data.prompt": prompt,
            "validation_data.num_frames": frames,
            "validation_data.num_inference_steps": steps,
            "validation_data.strength": motion,
        }
        read = read_released(config, {k: v for k, v in given.items() if v is not None})
        if read.ignored:
            typer.echo(f"epa: ignored in {config}: {', '.join(read.ignored)}", err=True)
        work = single_of(read, ModelChoice(name=model or MODEL, **choice), maker, **switches)
        targets = targets_of(read)
    else:
        targets = [target(_needed(output, "--output"))]
        work = Single(
            image=readable(_needed(image, "IMAGE")),
            prompt=_needed(prompt, "--prompt"),
            model=ModelChoice(name=model or "preview", num_frames=frames, **choice),
            proxy=proxy or maker,
            mask=mask,
            motion=motion,
            seed=seed or 0,
            steps=steps or 25,
            **switches,
        )
    awaken_file(work, targets, typer.echo)
    for path in targets:
        typer.echo(f"wrote {path}")


Value = TypeVar("Value")


def _needed(value: Value | None, name: str) -> Value:
    from catalogs.errors import ConfigError

    if value is None:
        raise ConfigError(
            f"{name} is missing; without --config, IMAGE, --output and --prompt are needed"
        )
    return value
