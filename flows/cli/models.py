"""Commands on the cards: list them, explain one, say what fits."""

from __future__ import annotations

from typing import Annotated

import typer
from typer.core import TyperGroup


class _OrName(TyperGroup):
    """`epa models` is short for `epa models list`, `epa models NAME` for `epa models show NAME`."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override] # typer's own context
        """Put the command in front of a name, or of nothing but options."""
        first = args[0] if args else "--json"
        if not first.startswith("-") and first not in self.commands:
            args = ["show", *args]
        elif first == "--json":
            args = ["list", *args]
        return super().parse_args(ctx, args)


Json = Annotated[bool, typer.Option("--json", help="for programs")]

app = typer.Typer(
    help="List the models and proxies; explain one; say what fits a GPU and a licence.",
    cls=_OrName,
)


@app.command("list")
def list_(json: Json = False) -> None:
    """List the models and proxies, with size and terms; the same as no command."""
    from flows.model_pages import print_models

    print_models(as_json=json)


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="a model or proxy", metavar="NAME")],
    json: Json = False,
) -> None:
    """Explain one: size and frame rules, noise levels, memory, licence, what to know."""
    from flows.model_pages import print_model

    print_model(name, as_json=json)


@app.command()
def recommend(
    memory: Annotated[str, typer.Option(help="of the GPU, like 24GB", metavar="SIZE")],
    licence: Annotated[
        str,
        typer.Option(
            help="any, or commercial: free to use so, at least on conditions", metavar="LICENCE"
        ),
    ] = "any",
    json: Json = False,
) -> None:
    """List the models that fit, each with the lightest lever that makes it fit."""
    from flows.model_pages import print_recommended

    print_recommended(memory, licence, as_json=json)
