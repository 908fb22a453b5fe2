"""The commented run file that `epa init` writes, made from the settings themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from catalogs.errors import ConfigError
from tasks.config import RunConfig
from tasks.presets import PRESETS, Given, preset_settings

_HEAD = """\
# A run of epa: which works, what to make of them, where to put it, how to work.
# {values}; a line left out means the
# same. null: chosen by the model.
# Relative paths are relative to this file.
# Changing a setting later redoes only what depends on it; `epa plan` says what.
"""
_EXAMPLES = {"catalog": "paintings", "output": "animated"}
_EXAMPLES_OF = {
    "paper": {
        "model.source": "animate_anything_512_v1.02",
        "proxy.revision": "main",
    }
}
_FIRST = ("preset", "catalog", "output", "title", "where", "limit", "prompts", "seed", "variant")
_NEXT = ("matrix", "one_stream", "model")
_MATRIX = """
# Several settings side by side in one collection: every combination is made, what they share once.
# matrix: {variant: [baseline, V, S, V+U, V+S], distill.p: [0.4, 0.6]}
"""


def run_template(preset: str | None = None) -> str:
    """Text of a run file with every setting, its value and its meaning.

    Values are the defaults or, where it says so, a preset's, with where it has them from. Raises
    ConfigError for a preset that there is not.
    """
    try:
        given = preset_settings(preset) if preset is not None else {}
    except ValueError as error:
        raise ConfigError(str(error)) from None
    values = f"Values marked {preset!r} are that preset's, all others the defaults"
    examples = dict(_EXAMPLES)
    if preset is None:
        values = f"Every value below is the default (others: `--preset {'|'.join(PRESETS)}`)"
    else:
        examples |= {"preset": preset, **_EXAMPLES_OF[preset]}
    fields = RunConfig.model_fields
    order = [*_FIRST, *_NEXT, *(name for name in fields if name not in _FIRST + _NEXT)]
    writer = _Writer(preset, given, examples)
    return _HEAD.format(values=values) + "\n" + "".join(writer.lines(n, fields[n]) for n in order)


class _Writer:
    def __init__(self, preset: str | None, given: Mapping[str, Given], examples: Mapping[str, Any]):
        self.preset, self.given, self.examples = preset, given, examples

    def lines(self, name: str, field: FieldInfo, above: str = "") -> str:
        """Lines of one setting or of a group of them; ``above`` is the group's dotted name."""
        pad = "  " * above.count(".")
        dotted = above + name
        kind = field.annotation
        if dotted == "preset" and self.preset is None:
            return ""  # beneath values that are all given it would do nothing
        if dotted == "matrix":
            return _MATRIX
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            if not kind.model_fields:
                return ""  # nothing to set (the measures)
            below = kind.model_fields.items()
            inner = "".join(self.lines(n, f, f"{dotted}.") for n, f in below)
            doc = (kind.__doc__ or "").strip().splitlines()[0]
            return f"\n{pad}# {doc}\n{pad}{name}:\n{inner}"
        value, source = self.value(dotted, field)
        notes = [field.description] if field.description else []
        if get_origin(kind) is Literal:
            notes.append(f"one of {', '.join(get_args(kind))}")
        if source:
            notes.append(f"{self.preset!r}: {source}")
        note = f"  # {'; '.join(notes)}" if notes else ""
        return f"{pad}{name}: {_scalar(value)}{note}\n"

    def value(self, dotted: str, field: FieldInfo) -> tuple[Any, str]:
        """A setting's value in the file, and where the preset has it from."""
        if dotted in self.given:
            return self.given[dotted]
        inner = {n: given for n, given in self.given.items() if n.startswith(f"{dotted}.")}
        if inner:  # single entries of an open mapping
            entries = {n.removeprefix(f"{dotted}."): given.value for n, given in inner.items()}
            return entries, next(iter(inner.values())).source
        default = None if field.default is PydanticUndefined else field.default
        return self.examples.get(dotted, default), ""


def _scalar(value: object) -> str:
    plain = list(value) if isinstance(value, tuple) else value
    return yaml.safe_dump(plain, default_flow_style=True).removesuffix("\n...\n").strip()
