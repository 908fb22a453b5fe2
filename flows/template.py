"""The commented run file that `epa init` writes, made from the settings themselves."""

from __future__ import annotations

from typing import Literal, get_args, get_origin

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from tasks.config import RunConfig

_HEAD = """\
# A run of epa: which works, what to make of them, where to put it, how to work.
# Every value below is the default; a line left out means the same. null: chosen by the model.
# Relative paths are relative to this file.
# Changing a setting later redoes only what depends on it; `epa plan` says what.
"""
_EXAMPLES = {"catalog": "paintings", "output": "animated"}
_FIRST = ("catalog", "output", "title", "where", "limit", "prompts", "seed", "variant", "model")


def run_template() -> str:
    """Text of a run file with every setting, its default and its meaning."""
    fields = RunConfig.model_fields
    order = [*_FIRST, *(name for name in fields if name not in _FIRST)]
    return _HEAD + "\n" + "".join(_lines(name, fields[name], 0) for name in order)


def _lines(name: str, field: FieldInfo, depth: int) -> str:
    pad = "  " * depth
    kind = field.annotation
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        if not kind.model_fields:
            return ""  # nothing to set (the measures)
        inner = "".join(_lines(n, f, depth + 1) for n, f in kind.model_fields.items())
        doc = (kind.__doc__ or "").strip().splitlines()[0]
        return f"\n{pad}# {doc}\n{pad}{name}:\n{inner}"
    notes = [field.description] if field.description else []
    if get_origin(kind) is Literal:
        notes.append(f"one of {', '.join(get_args(kind))}")
    note = f"  # {'; '.join(notes)}" if notes else ""
    default = None if field.default is PydanticUndefined else field.default
    value = _EXAMPLES.get(name, default) if depth == 0 else default
    return f"{pad}{name}: {_scalar(value)}{note}\n"


def _scalar(value: object) -> str:
    plain = list(value) if isinstance(value, tuple) else value
    return yaml.safe_dump(plain, default_flow_style=True).removesuffix("\n...\n").strip()
