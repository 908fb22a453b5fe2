"""What a pipeline's UNet is called with."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def unet_calls(pipeline: Any) -> Iterator[list[dict[str, Any]]]:
    """The arguments of each call while the block runs."""
    calls: list[dict[str, Any]] = []

    def note(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        calls.append({"sample": args[0], "timestep": args[1], **kwargs})

    hook = pipeline.unet.register_forward_pre_hook(note, with_kwargs=True)
    try:
        yield calls
    finally:
        hook.remove()
