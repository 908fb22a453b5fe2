"""Commands on the cards: list them, explain one, say what fits."""

from __future__ import annotations

from typing import Annotated

import typer
from typer.core import TyperGroup


class _OrName(TyperGroup):
    """`epa models NAME` is short for `epa models show NAME`."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override] # typer's own context
        """Put the command in front of a name."""
        if args and not args[0].startswith("-") and args[0] not in self.commands:
            args = ["show", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    help="List the models and proxies; explain one; say what fits a GPU and a licence.",
    cls=_OrName,
    invoke_without_command=True,
)


@app.callback()
def models(context: typer.Context) -> None:
    """List the models and proxies, with licence and size."""
    if context.invoked_subcommand is None:
        from flows.model_pages import print_models

        print_models()


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="a model or proxy", metavar="NAME")],
) -> None:
    """Explain one: size and frame rules, noise levels, memory, licence, what to know."""
    from flows.model_pages import print_model

    print_model(name)


@app.command()
def recommend(
    memory: Annotated[str, typer.Option(help="of the GPU, like 24GB", metavar="SIZE")],
    licence: Annotated[
        str,
        typer.Option(
            help="any, or commercial: free to use so, at least on conditions", metavar="LICENCE"
        ),
    ] = "any",
) -> None:
    """List the models that fit, each with the lightest lever that makes it fit."""
    from flows.model_pages import print_recommended

    print_recommended(memory, licence)
