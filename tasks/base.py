"""What every settings object of a run has in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, ValidationError

from catalogs.credentials import CREDENTIAL, redact


class Settings(BaseModel):
    """A frozen node of the run file: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Params(Settings):
    """Settings of one stage: every field enters the stage's key."""


def sentence(error: ValidationError) -> str:
    """The first thing wrong with some settings: the field, its value, what is allowed."""
    first = error.errors(include_url=False)[0]
    field = ".".join(map(str, first["loc"]))
    message = first["msg"].removeprefix("Value error, ")
    if not field:
        return message
    if first["type"] == "missing":
        return f"{field!r} is missing"
    if first["type"] == CREDENTIAL:
        return f"{field}: {message}"
    value = redact(repr(first["input"]))
    return f"{field} = {value if len(value) < 80 else value[:77] + '...'}: {message}"
