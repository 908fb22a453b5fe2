"""Commands that make videos of a collection: demo, animate, run, plan, init."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from tasks.collection import Collection

Output = Annotated[
    str, typer.Option("--output", "-o", help="folder or object-store URL", metavar="OUTPUT")
]


def register(app: typer.Typer) -> None:
    """Add this module's commands to the command line."""
    for command in (demo, animate, run, plan, init):
        app.command()(command)


def demo(output: Output = "demo-output") -> None:
    """Animate six built-in sample works with the preview model: no weights, no server, no GPU."""
    from catalogs.errors import ConfigError
    from catalogs.sample import write_sample
    from catalogs.store import Store
    from flows.collection import prepare_run

    if "://" in output:
        raise ConfigError(f"--output {output}: the demo writes to a local folder")
    Store.open(output).check_writable()
    folder = write_sample(Path(output) / "paintings")
    execute(prepare_run(str(folder), output, {"title": "Sample works, awakened"}))


def animate(
    source: Annotated[
        str, typer.Argument(help="folder of pictures, or catalog (Parquet, CSV)", metavar="SOURCE")
    ],
    output: Output,
    preset: Annotated[
        str | None, typer.Option(help="settings to start from: paper", metavar="NAME")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="a model of `epa models`", metavar="NAME")
    ] = None,
    source_of_model: Annotated[
        str | None,
        typer.Option(
            "--weights", help="local folder or hub id of the model's weights", metavar="WEIGHTS"
        ),
    ] = None,
    revision: Annotated[
        str | None, typer.Option(help="commit of the hub repository", metavar="COMMIT")
    ] = None,
    proxy: Annotated[
        str | None, typer.Option(help="a proxy of `epa models`", metavar="NAME")
    ] = None,
    prompt: Annotated[
        str | None, typer.Option(help="one motion prompt for all works", metavar="TEXT")
    ] = None,
    where: Annotated[
        str | None, typer.Option(help="SQL condition on catalog columns", metavar="SQL")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(help="at most this many works", min=1, max=10**9, metavar="N")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="seed of the run", min=0, metavar="N")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="any other setting of a run file: encode.fps=12", metavar="NAME=VALUE"
        ),
    ] = None,
) -> None:
    """Animate SOURCE into OUTPUT. The same call again goes on where the last one stopped."""
    from flows.collection import prepare_run

    given: dict[str, Any] = {
        "preset": preset,
        "model.name": model,
        "model.source": source_of_model,
        "model.revision": revision,
        "proxy.name": proxy,
        "prompts.text": prompt,
        "where": where,
        "limit": limit,
        "seed": seed,
        **_parse_settings(settings or []),
    }
    execute(prepare_run(source, output, {k: v for k, v in given.items() if v is not None}))


def run(
    run_file: Annotated[str, typer.Argument(help="a run file, see `epa init`", metavar="RUN.yaml")],
) -> None:
    """Run a run file. The same call again goes on where the last one stopped."""
    from tasks.collection import Collection
    from tasks.runfile import load_run_file

    execute(Collection.open(load_run_file(run_file)))


def plan(
    run_file: Annotated[
        str, typer.Argument(help="a run file, or the folder of a collection", metavar="RUN.yaml")
    ],
    json: Annotated[bool, typer.Option("--json", help="for programs")] = False,
) -> None:
    """Show what a run would do, and why, without doing it."""
    from flows.report import print_plan
    from tasks.collection import Collection
    from tasks.models import check_call
    from tasks.runfile import load_run_file

    path = run_file if run_file.endswith((".yaml", ".yml")) else f"{run_file.rstrip('/')}/run.yaml"
    collection = Collection.open(load_run_file(path))
    for cell in collection.cells:
        check_call(cell.recipe.model)
    print_plan(collection.plan, as_json=json)


def init(
    run_file: Annotated[Path, typer.Argument(help="where to write it", metavar="RUN.yaml")] = Path(
        "RUN.yaml"
    ),
    preset: Annotated[
        str | None, typer.Option(help="its values, not the defaults: paper", metavar="NAME")
    ] = None,
) -> None:
    """Write a commented run file with every setting at its default, or at a preset's."""
    from catalogs.errors import ConfigError
    from flows.template import run_template

    text = run_template(preset)
    try:
        with run_file.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise ConfigError(f"{run_file} exists already; name another file") from None
    except OSError as error:
        raise ConfigError(f"{run_file} cannot be written: {error.strerror}") from error
    typer.echo(f"wrote {run_file}; set catalog and output in it, then: epa run {run_file}")


def execute(collection: Collection) -> None:
    """Run and report; exits with 1 when works failed."""
    from flows.collection import run_collection
    from flows.report import print_summary

    try:
        summary = run_collection(collection)
    except KeyboardInterrupt:
        stopped = "stopped; what is done stays done, run the same command again to go on"
        typer.echo(f"epa: {stopped}", err=True)
        raise typer.Exit(130) from None
    print_summary(summary, collection.run)
    if summary.failed:
        raise typer.Exit(1)


def _parse_settings(pairs: list[str]) -> dict[str, Any]:
    """Settings of a run file by dotted name, their values read as YAML."""
    import yaml

    from catalogs.errors import ConfigError
    from flows.cli.pairs import split_pairs

    settings = {}
    for name, value in split_pairs("--set", pairs, "encode.fps=12").items():
        try:
            settings[name] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise ConfigError(f"--set {name}: the value {value!r} is not valid YAML") from None
    return settings
