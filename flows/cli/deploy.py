"""The command that puts a run on a schedule: deploy."""

from __future__ import annotations

from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add this module's command to the command line."""
    app.command()(deploy)


def deploy(
    run_file: Annotated[str, typer.Argument(help="a run file, see `epa init`", metavar="RUN.yaml")],
    cron: Annotated[
        str | None,
        typer.Option(help="when to run it: '0 3 * * *', or 'off' for no schedule", metavar="CRON"),
    ] = None,
    timezone: Annotated[
        str | None, typer.Option(help="of the schedules: Europe/Berlin", metavar="ZONE")
    ] = None,
    pool: Annotated[
        str | None,
        typer.Option(help="work pool of all but the shards (epa, if not given)", metavar="NAME"),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            help="of the deployments, where a server has several collections", metavar="NAME"
        ),
    ] = None,
    webhook: Annotated[
        str | None,
        typer.Option(
            envvar="EPA_WEBHOOK",
            help="address that is told of failed and crashed runs",
            show_default=False,
            metavar="URL",
        ),
    ] = None,
) -> None:
    """Put a run file on the Prefect server: work pools, deployments, schedule, automations."""
    from pydantic import SecretStr

    from flows.deploying import Wishes
    from flows.deploying import deploy as apply

    secret = SecretStr(webhook) if webhook else None
    apply(run_file, Wishes(name, cron, timezone, pool, secret))
