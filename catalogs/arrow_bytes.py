"""Bytes for Arrow to read with threads of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa


def arrow_reader(data: bytes) -> pa.BufferReader:
    """A stream over a copy of ``data`` in Arrow's own memory.

    Arrow's threads let go of what they read some time after a read has returned. Were it a Python
    object they would ask for the interpreter then, and where that is ending they end the process:
    "terminate called without an active exception", exit code 134, after all work was done.
    """
    import pyarrow as pa

    buffer = pa.allocate_buffer(len(data))
    memoryview(buffer).cast("B")[:] = data
    return pa.BufferReader(buffer)
