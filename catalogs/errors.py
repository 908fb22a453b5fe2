"""Errors of data in and out."""


class ConfigError(ValueError):
    """A wrong setting, catalog or path: one sentence naming the field, the value, what is allowed.

    Raised before any work is done; the command line prints it and exits with 2.
    """


class TooManyBytes(ValueError):
    """A file larger than its reader wants; nothing of it, or no more than that, was read."""


class StoreError(OSError):
    """The object store did not answer as it must; the work already committed stays committed.

    `kind` says what happened last: `store_5xx` (an answer of the server's own fault, throttling
    included), `store_timeout`, `dns`, or `store_error` for all else.
    """

    kind: str = "store_error"
    final: bool = False  # the same request again cannot help: no credentials, no such bucket

    def __str__(self) -> str:
        return self.strerror or super().__str__()  # without Python's "[Errno 2]"


class DamagedError(StoreError):
    """An object of a collection's state is not what was written; `epa rebuild` moves it aside."""
