"""What a module inside a pipeline is given, and what it answers."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from inspect import signature
from typing import Any

import torch


@dataclass
class Call:
    """One call of a module: its arguments by name, and its answer."""

    given: dict[str, Any]
    answer: Any


@contextmanager
def watching(module: torch.nn.Module) -> Iterator[list[Call]]:
    """The calls of ``module`` while the block runs."""
    calls: list[Call] = []
    bind = signature(module.forward).bind

    def note(_: Any, args: Any, kwargs: Any, answer: Any) -> None:
        calls.append(Call(dict(bind(*args, **kwargs).arguments), answer))

    handle = module.register_forward_hook(note, with_kwargs=True)
    try:
        yield calls
    finally:
        handle.remove()


def text_rows(calls: list[Call]) -> set[tuple[int, ...]]:
    """The token ids that the calls of a text encoder read."""
    return {tuple(row.tolist()) for call in calls for row in call.given["input_ids"]}
