"""The `epa` command line. Commands import what they need when they run: help stays instant."""

from flows.cli.app import main

__all__ = ["main"]
