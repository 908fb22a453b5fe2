"""The one console of a run: progress bar and log lines share it, so neither tears the other."""

from rich.console import Console

CONSOLE = Console(stderr=True)
