"""Reading and writing run files, and saying in one sentence what is wrong with one."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from catalogs.errors import ConfigError
from tasks.config import RunConfig


def load_run_file(path: str) -> RunConfig:
    """The run described by a YAML file (local path or fsspec URL). Raises ConfigError.

    Relative paths inside it are relative to the file's own folder.
    """
    import fsspec

    try:
        with fsspec.open(path, "r", encoding="utf-8") as file:
            tree = yaml.safe_load(file)
    except FileNotFoundError:
        raise ConfigError(f"there is no run file {path!r}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"run file {path!r} cannot be read: {error}") from error
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f", line {where.line + 1}" if where else ""
        raise ConfigError(f"run file {path!r}{line} is not valid YAML") from error
    if not isinstance(tree, dict):
        raise ConfigError(f"run file {path!r} must hold keys and values (see `epa init`)")
    return parse_run(tree, origin=f"run file {path!r}", base=_folder(path))


def parse_run(
    tree: Mapping[str, Any], *, origin: str = "the run", base: str | None = None
) -> RunConfig:
    """Validate a tree of settings; relative paths are taken from ``base``. Raises ConfigError."""
    try:
        run = RunConfig.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(f"{origin}: {explain(error)}") from None
    if base is None:
        return run
    prompts = run.prompts
    if prompts.overrides:
        prompts = prompts.model_copy(update={"overrides": _resolve(base, prompts.overrides)})
    model, source = run.model, run.model.source
    if source and "://" not in base and (Path(base) / source).is_dir():  # else a hub id
        model = model.model_copy(update={"source": _resolve(base, source)})
    update = {
        "catalog": _resolve(base, run.catalog),
        "output": _resolve(base, run.output),
        "prompts": prompts,
        "model": model,
    }
    return run.model_copy(update=update)


def dump_run(run: RunConfig) -> str:
    """The run as YAML, only what differs from the defaults, in the order of the tree."""
    tree = run.model_dump(mode="json", exclude_defaults=True)
    head = {"catalog": run.catalog, "output": run.output}
    return yaml.safe_dump({**head, **tree}, sort_keys=False, allow_unicode=True)


def explain(error: ValidationError) -> str:
    """The first thing wrong, as one sentence: the field, its value, what is allowed."""
    first = error.errors(include_url=False)[0]
    loc = [str(part) for part in first["loc"]]
    field = ".".join(loc)
    if first["type"] == "extra_forbidden":
        names = _fields_at(RunConfig, loc[:-1])
        near = get_close_matches(loc[-1], names, 1, 0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"Allowed: {', '.join(names)}."
        return f"unknown key {field!r}; {hint}"
    if first["type"] == "missing":
        return f"{field!r} is missing"
    message = first["msg"].removeprefix("Value error, ")
    if not field:
        return message
    value = repr(first["input"])
    return f"{field} = {value if len(value) < 80 else value[:77] + '...'}: {message}"


def _fields_at(model: type[BaseModel], loc: list[str]) -> list[str]:
    for part in loc:
        kind = model.model_fields[part].annotation
        if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
            return []
        model = kind
    return list(model.model_fields)


def _folder(path: str) -> str:
    if "://" in path:
        return path.rsplit("/", 1)[0]
    return str(Path(path).resolve().parent)


def _resolve(base: str, path: str) -> str:
    if "://" in path or Path(path).is_absolute():
        return path
    path = path.removeprefix("./")
    if "://" in base:
        return base if path in ("", ".") else f"{base}/{path}"
    return str((Path(base) / path).resolve())
