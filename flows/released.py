"""The `config.yaml` of the code released with the paper, read as it stands.

Of its keys an evaluation takes `pretrained_model_path`, `output_dir`, `seed` and `validation_data`;
the others, some sixty, are settings of a training.
"""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from catalogs.addresses import absolute
from catalogs.errors import ConfigError
from catalogs.validation import printable
from tasks.base import sentence
from tasks.config import Prompts

MODEL = "animate-anything"
_EVALUATION = "validation_data"
_NEAR = 0.8  # an unknown key as like a known one as this is a slip
_NAME_BYTES = 100  # of the painting's part of a file name, and of the prompt's


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="allow", allow_inf_nan=False)


class _Evaluation(_Strict):
    """One painting; the defaults are the released file's values."""

    prompt: str
    prompt_image: str
    proxy_image: str | None = None
    mask: str | None = None
    num_frames: int = Field(16, ge=1, le=1000)
    width: int = Field(512, ge=16, le=8192)
    height: int = Field(512, ge=16, le=8192)
    num_inference_steps: int = Field(25, ge=1, le=1000)
    guidance_scale: float = Field(9.0, ge=0)
    strength: float = Field(8.0, ge=0, le=100)
    fps: int = Field(8, ge=1, le=240)


class _File(_Strict):
    pretrained_model_path: str
    output_dir: str = "./output"
    seed: int = Field(42, ge=0, lt=2**63)
    validation_data: _Evaluation


@dataclass(frozen=True)
class ReleasedConfig:
    """One painting as such a file describes it, its files found; ``area`` is in pixels."""

    model: str
    output: Path
    painting: Path
    proxy: Path | None
    mask: Path | None
    prompt: str
    seed: int
    num_frames: int
    area: int
    num_inference_steps: int
    guidance_scale: float
    strength: float
    fps: int
    ignored: tuple[str, ...]


@dataclass(frozen=True)
class Entry:
    """One painting's settings as its file has them; ``origin`` is what errors call it."""

    origin: str
    file: Path
    tree: Mapping[str, Any]


def read_released(file: Path, given: Mapping[str, Any]) -> ReleasedConfig:
    """The one painting of ``file``; ``given`` overrides its keys by dotted name.

    Relative paths are from the working directory, as the released script takes them, or else from
    the file's own folder; ``output_dir`` is from the working directory. Raises ConfigError.
    """
    entries = released_entries(file)
    if len(entries) > 1:
        raise ConfigError(
            f"{file} holds {len(entries)} paintings; convert it with `epa import-config {file} "
            "-o FOLDER` and run what that writes"
        )
    return parse_released(entries[0], given)


def released_entries(file: Path) -> list[Entry]:
    """Every painting in ``file``: one, or a list of them. Raises ConfigError.

    ``validation_data`` may be a list too; its members share all other keys.
    """
    content = _yaml(file)
    listed = content if isinstance(content, list) else [content]
    found: list[tuple[str, Any]] = []
    for number, tree in enumerate(listed, 1):
        origin = f"{file}, entry {number}" if len(listed) > 1 else str(file)
        if not isinstance(tree, dict):
            raise ConfigError(f"{origin} must hold keys and values, like {_EVALUATION}: ...")
        works = tree.get(_EVALUATION)
        if isinstance(works, list):
            many = enumerate(works, 1)
            found += [(f"{origin}, painting {n}", {**tree, _EVALUATION: w}) for n, w in many]
        else:
            found.append((origin, tree))
    if not found:
        raise ConfigError(f"{file} holds no painting")
    return [Entry(origin, file, _by_text(tree)) for origin, tree in found]


def parse_released(entry: Entry, given: Mapping[str, Any]) -> ReleasedConfig:
    """What one painting's settings say, overridden by ``given``. Raises ConfigError."""
    tree = _overridden(entry.tree, given)
    _refuse_slips(tree, entry.origin)
    try:
        parsed = _File.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(f"{entry.origin}: {sentence(error)}") from None
    work = parsed.validation_data
    _check_prompt(work.prompt, entry.origin)
    model = parsed.pretrained_model_path
    if "pretrained_model_path" not in given:
        model = str(_found(entry, "pretrained_model_path", model, folder=True))
    unknown = [*(parsed.model_extra or {}), *(f"{_EVALUATION}.{k}" for k in work.model_extra or {})]
    return ReleasedConfig(
        model=model,
        output=_at_home(parsed.output_dir),
        painting=_found(entry, f"{_EVALUATION}.prompt_image", work.prompt_image),
        proxy=_found_if_named(entry, f"{_EVALUATION}.proxy_image", work.proxy_image),
        mask=_found_if_named(entry, f"{_EVALUATION}.mask", work.mask),
        prompt=work.prompt.strip(),
        seed=parsed.seed,
        area=work.width * work.height,
        ignored=tuple(printable(name) for name in unknown),
        **work.model_dump(include=_TAKEN_OVER),
    )


_TAKEN_OVER = {"num_frames", "num_inference_steps", "guidance_scale", "strength", "fps"}


def result_name(painting: Path, prompt: str) -> str:
    """Name of a result without its ending: the painting's, and a safe form of the prompt.

    What does not fit is cut and replaced by a digest, so that long prompts stay apart.
    """
    words = re.sub(r"[\W_]+", "-", unicodedata.normalize("NFC", prompt)).strip("-")
    return "_".join(part for part in (_short(painting.stem), _short(words)) if part)


def _short(text: str) -> str:
    raw = os.fsencode(text)
    if len(raw) <= _NAME_BYTES:
        return text
    digest = hashlib.sha256(raw).hexdigest()[:8]
    return f"{raw[: _NAME_BYTES - 9].decode('utf-8', 'ignore')}-{digest}"


def _by_text(tree: Mapping[Any, Any]) -> dict[str, Any]:
    """YAML takes any scalar for a key; ours are texts."""
    return {str(key): value for key, value in tree.items()}


def _overridden(tree: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(tree)
    inner = result.get(_EVALUATION)
    if isinstance(inner, Mapping):
        result[_EVALUATION] = inner = _by_text(inner)
    for name, value in given.items():
        key = name.removeprefix(f"{_EVALUATION}.")
        if key == name:
            result[name] = value
        elif isinstance(inner, dict):
            inner[key] = value
    return result


def _refuse_slips(tree: Mapping[str, Any], origin: str) -> None:
    """ConfigError for a key that is nearly one of those that count."""
    # The training's keys are many: one of them is a slip only where the right key is not there.
    absent = [name for name in _File.model_fields if name not in tree]
    known, inner = list(_Evaluation.model_fields), tree.get(_EVALUATION)
    keys = [(name, name, absent) for name in tree if name not in _File.model_fields]
    if isinstance(inner, Mapping):
        keys += [(f"{_EVALUATION}.{key}", key, known) for key in inner if key not in known]
    for name, key, names in keys:
        if near := get_close_matches(key, names, 1, _NEAR):
            raise ConfigError(f"{origin}: unknown key {name!r}; did you mean {near[0]!r}?")
    if inner is not None and not isinstance(inner, Mapping):
        raise ConfigError(f"{origin}: {_EVALUATION} must hold keys and values, like prompt: ...")


def _check_prompt(prompt: str, origin: str) -> None:
    name, most = f"{_EVALUATION}.prompt", Prompts().max_length
    if not prompt.strip():
        raise ConfigError(f"{origin}: {name} is empty; say what moves")
    if len(prompt) > most:
        raise ConfigError(
            f"{origin}: {name} has {len(prompt)} characters; at most {most} are allowed"
        )


def _yaml(file: Path) -> Any:
    try:
        return yaml.safe_load(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise ConfigError(f"{file}{line} is not valid YAML") from error
    except (ValueError, RecursionError) as error:  # no text, no such date, nested without end
        raise ConfigError(f"{file} is not valid YAML: {error}") from error


def _found(entry: Entry, key: str, text: str, *, folder: bool = False) -> Path:
    """The absolute path of a file (or folder) that is there. Raises ConfigError."""
    path = _at_home(text)
    places = list(dict.fromkeys(absolute(base / path) for base in (Path.cwd(), entry.file.parent)))
    for place in places:
        try:
            if place.is_dir() if folder else place.is_file():
                return place
        except (OSError, ValueError):  # a name too long, or with a zero byte
            continue
    kind, looked = "folder" if folder else "file", " nor ".join(map(str, places))
    where = f"{'neither ' if len(places) > 1 else ''}{printable(looked, 2000)}"
    raise ConfigError(f"{entry.origin}: {key} = {text!r}: there is no such {kind}: {where}")


def _at_home(text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError:  # ~nobody
        return Path(text)


def _found_if_named(entry: Entry, key: str, text: str | None) -> Path | None:
    return None if text is None else _found(entry, key, text)
