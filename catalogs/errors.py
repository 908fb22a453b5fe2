"""Errors of data in and out."""


class ConfigError(ValueError):
    """A wrong setting, catalog or path: one sentence naming the field, the value, what is allowed.

    Raised before any work is done; the command line prints it and exits with 2.
    """


class StoreError(OSError):
    """The object store did not answer as it must; the work already committed stays committed."""


class DamagedError(StoreError):
    """An object of a collection's state is not what was written; `epa rebuild` moves it aside."""
