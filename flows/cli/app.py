"""Assembles the commands and turns errors into one sentence and an exit code.

Exit codes: 0 all works done, 1 some works failed (or the one of `epa awaken`), 2 usage or
configuration, 75 a work hung, 130 interrupted.
"""

from __future__ import annotations

import os
import sys
from shlex import quote

import typer

from flows.cli import (
    catalog,
    collection,
    deploy,
    export,
    maintenance,
    models,
    released,
    run,
    single,
)

app = typer.Typer(
    name="epa",
    help="Bring whole art collections to life: catalog -> proxy -> distil -> fuse -> animate -> "
    "video, manifest and gallery. Every command resumes where it stopped.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: colours would cost half of the start-up time
)
run.register(app)
single.register(app)
released.register(app)
collection.register(app)
export.register(app)
maintenance.register(app)
deploy.register(app)
app.add_typer(catalog.app, name="catalog")
app.add_typer(models.app, name="models")


def main() -> None:
    """Entry point of the console script."""
    from catalogs.errors import ConfigError, DamagedError, StoreError
    from epa_core.errors import ItemError, UnsupportedError
    from tasks.failures import RunStopped

    _quiet_defaults()
    try:
        app()
    except (ConfigError, UnsupportedError) as error:
        _say(str(error))
        sys.exit(2)
    except ItemError as error:
        _say(f"{error.message} [{error.code}]")
        sys.exit(1)
    except RunStopped as error:
        _say(str(error))
        sys.exit(1)
    except DamagedError as error:
        from catalogs.addresses import own

        place = quote(own() or "OUT")
        _say(f"{str(error).rstrip('.')}; mend the collection with: epa rebuild {place}")
        sys.exit(1)
    except StoreError as error:
        _say(str(error) if error.final else f"{error} ({_AGAIN})")
        sys.exit(1)
    except BrokenPipeError:  # `epa manifest OUT | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _say(sentence: str) -> None:
    from catalogs.validation import printable

    # Errors quote catalogs and addresses, which may hold commands to the terminal.
    typer.echo(f"epa: {printable(sentence, _LONGEST)}", err=True)


_LONGEST = 20_000  # characters
_AGAIN = "what was recorded stays recorded; run the same command again"


def _quiet_defaults() -> None:
    """Settings of Prefect that suit a command line; the user's own environment wins."""
    defaults = {
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
        "PREFECT_LOGGING_EXTRA_LOGGERS": "epa",
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",  # our lines before and after a flow
    }
    if "PREFECT_API_URL" not in os.environ:
        # Without a server nobody reads Prefect's own lines; with one they are its pages' log.
        defaults["PREFECT_LOGGING_LEVEL"] = "CRITICAL"
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
