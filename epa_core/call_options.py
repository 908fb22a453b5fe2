"""Whether a model's call takes the options that a run gives it, before any weights are read.

The models of this project describe their options on their cards, and reading those imports nothing
heavy. For the others the signature of the pipeline's call says what there is, and its class has to
be imported for it, which imports diffusers.
"""

import inspect
import json
from collections.abc import Mapping
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError

from epa_core.errors import UnsupportedError
from epa_core.model_cards.card import ModelCard
from epa_core.model_cards.options import ELSEWHERE, check_names
from epa_core.weights import imported

# What the method gives every call, or only a program can give.
_OURS = frozenset(
    {
        *("self", "latents", "output_type", "return_dict", "callback", "callback_steps"),
        *("callback_on_step_end", "callback_on_step_end_tensor_inputs", "sigmas", "timesteps"),
        *ELSEWHERE,
    }
)
_WORDS = {
    int: "a whole number",
    float: "a number",
    str: "a text",
    bool: "true or false",
    NoneType: "null",
}


def check_described(card: ModelCard, options: Mapping[str, Any]) -> None:
    """UnsupportedError for options that the card, where it describes them, does not allow."""
    if card.options is not None:
        card.options.check_names(card.name, options)
        card.options.check(options)


def check_options(card: ModelCard, options: Mapping[str, Any]) -> None:
    """As ``check_described``, and by the signature of the pipeline's call where it does not."""
    if card.options is not None or not options:
        check_described(card, options)
        return
    call = imported(card.pipeline_class).__call__
    known = {
        name: parameter
        for name, parameter in inspect.signature(call).parameters.items()
        if name not in _OURS and not name.endswith(("_embeds", "_mask", "_kwargs"))
    }
    kinds = get_type_hints(call)
    check_names(card.name, options, known)
    for name, value in options.items():
        _check_value(name, value, kinds.get(name, Any), known[name].default)


def _check_value(name: str, value: Any, kind: Any, default: Any) -> None:
    if not _plain(kind) or (value is None and default is None):
        return
    try:
        TypeAdapter(kind).validate_json(json.dumps(value), strict=True)
    except ValidationError:
        raise UnsupportedError(f"{name} is {value!r:.80}; use {_words(kind)}.") from None


def _plain(kind: Any) -> bool:
    """Whether a run file can hold any value of this type."""
    if get_origin(kind) in (Union, UnionType, list, tuple):
        return all(part is Ellipsis or _plain(part) for part in get_args(kind))
    return kind in _WORDS


def _words(kind: Any) -> str:
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(map(_words, parts)))
    return "a list" if origin in (list, tuple) else _WORDS[kind]
