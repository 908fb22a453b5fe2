"""Reading and writing run files, and saying in one sentence what is wrong with one."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from catalogs.errors import ConfigError
from catalogs.store import Store
from catalogs.validation import printable
from tasks.base import sentence
from tasks.config import ModelChoice, RunConfig
from tasks.proxy import Params as ProxyParams


class UnreadableRunFile(ConfigError):
    """The file is no YAML tree of settings: cut off, damaged, or mistyped."""


def load_run_file(path: str) -> RunConfig:
    """The run described by a YAML file (local path or URL): one request. Raises ConfigError.

    Relative paths inside it are relative to the file's own folder.
    """
    name = path.rpartition("/")[2] if "://" in path else Path(path).name
    try:
        data = Store.open(_folder(path)).get(name)
    except ConfigError:
        raise
    except OSError as error:
        raise ConfigError(f"run file {path!r} cannot be read: {error}") from error
    except ValueError:  # a name that is none, like ".."
        data = None
    if data is None:
        raise ConfigError(f"there is no run file {path!r}")
    return parse_run_file(data, path)


def parse_run_file(data: bytes, path: str) -> RunConfig:
    """The run that the bytes of the file at ``path`` describe. Raises ConfigError."""
    try:
        tree = yaml.safe_load(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise UnreadableRunFile(f"run file {path!r} cannot be read: {error}") from error
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f", line {where.line + 1}" if where else ""
        raise UnreadableRunFile(f"run file {path!r}{line} is not valid YAML") from error
    except (ValueError, RecursionError) as error:  # a number or date that is none; too deep
        raise UnreadableRunFile(f"run file {path!r} is not valid YAML") from error
    if not isinstance(tree, dict):
        raise UnreadableRunFile(f"run file {path!r} must hold keys and values (see `epa init`)")
    return parse_run(tree, origin=f"run file {path!r}", base=_folder(path))


def parse_run(
    tree: Mapping[str, Any], *, origin: str = "the run", base: str | None = None
) -> RunConfig:
    """Validate a tree of settings; relative paths are taken from ``base``. Raises ConfigError."""
    _check_size(tree, origin)
    try:
        run = RunConfig.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(f"{origin}: {printable(explain(error), 1000)}") from None
    except RecursionError as error:
        raise ConfigError(f"{origin} is nested too deeply") from error
    if base is None:
        return run
    prompts = run.prompts
    if prompts.overrides:
        prompts = prompts.model_copy(update={"overrides": _resolve(base, prompts.overrides)})
    update = {
        "catalog": _resolve(base, run.catalog),
        "output": _resolve(base, run.output),
        "prompts": prompts,
        "model": _with_weights(run.model, base),
        "proxy": _with_weights(run.proxy, base),
    }
    return run.model_copy(update=update)


_MOST_VALUES = 20_000


def _check_size(tree: Any, origin: str) -> None:
    """ConfigError for a tree whose aliases make it endless, or much larger than its file."""
    left, values = [tree], 0
    while left:
        node = left.pop()
        values += 1
        if values > _MOST_VALUES:
            raise ConfigError(f"{origin} holds more than {_MOST_VALUES} values")
        if isinstance(node, Mapping):
            left += [*node.keys(), *node.values()]
        elif isinstance(node, list | tuple | set):
            left += node


def dump_run(run: RunConfig) -> str:
    """The run as YAML, only what differs from the defaults, in the order of the tree."""
    head = {"catalog": run.catalog, "output": run.output, "preset": run.preset}
    plain = RunConfig.model_validate(head)  # a preset has other defaults
    tree = _differing(run.model_dump(mode="json"), plain.model_dump(mode="json"))
    given = {name: value for name, value in head.items() if value is not None}
    return yaml.safe_dump({**given, **tree}, sort_keys=False, allow_unicode=True)


def _differing(tree: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    found = {}
    for name, value in tree.items():
        old = other.get(name)
        if isinstance(value, dict) and isinstance(old, dict):
            value = _differing(value, old)
            if value:
                found[name] = value
        elif name not in other or value != old:
            found[name] = value
    return found


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
    return sentence(error)


def _fields_at(model: type[BaseModel], loc: list[str]) -> list[str]:
    for part in loc:
        kind = model.model_fields[part].annotation
        if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
            return []
        model = kind
    return list(model.model_fields)


AnyParams = TypeVar("AnyParams", ModelChoice, ProxyParams)


def _with_weights(choice: AnyParams, base: str) -> AnyParams:
    """The choice with its source resolved where that is a folder beside the file, no hub id."""
    if choice.source and "://" not in base and (Path(base) / choice.source).is_dir():
        return choice.model_copy(update={"source": _resolve(base, choice.source)})
    return choice


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
