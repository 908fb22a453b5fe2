"""Errors of the method: what can go wrong with one painting, or with a pipeline as such."""

from typing import Any


class ItemError(Exception):
    """One painting cannot be finished; every other painting can.

    ``code`` is stable (it is stored in the manifest and filtered on), ``message`` is one sentence
    for a person, ``stage`` where it happened ("": whoever catches it knows).
    """

    def __init__(self, code: str, message: str, *, stage: str = ""):
        super().__init__(message)
        self.code = code
        self.message = message
        self.stage = stage

    def __reduce__(self) -> tuple[Any, ...]:
        """It travels between processes."""
        return type(self), (self.code, self.message), {"stage": self.stage}


class UnsupportedError(ValueError):
    """A pipeline, scheduler or setting that the method cannot work with; stops before any work."""
