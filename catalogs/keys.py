"""Names that carry identity: stage keys, seeds, digests and safe path components.

A key is a function of the catalog and the configuration alone, never of intermediate bytes, so
the whole plan is known before any work starts. Keys chain: a stage's inputs are the keys of the
stages before it.

Canonical JSON, the text that is hashed: UTF-8 in Unicode form NFC, object names sorted by code
point, no spaces, floats by their shortest exact decimal. Numbers of equal value are equal: `8.0`
is written `8` and `-0.0` is written `0`, so turning a setting from int to float renames nothing.
`true` is not `1`.
"""

import hashlib
import json
import math
import re
import unicodedata
from collections.abc import Mapping
from functools import lru_cache
from json.encoder import encode_basestring as _quote
from typing import Any, NewType

from catalogs.errors import ConfigError

ItemId = NewType("ItemId", str)
StageKey = NewType("StageKey", str)
Digest = NewType("Digest", str)

KEY_BYTES = 16
_EXACT_INTEGERS = 2.0**53  # above it a float no longer stands for one integer
_SLUG_LENGTH = 60
_encode = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":")
).encode


def canonical_json(value: Any) -> str:
    """Write plain data as canonical JSON; ConfigError for NaN, infinities and anything else."""
    return _encode(_canonical(value, "value"))


def _canonical(value: Any, where: str) -> Any:
    """Bring `value` to plain normalised data; `where` names it in errors."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _text(value, where)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return _number(value, where)
    if isinstance(value, list | tuple):
        return [_canonical(entry, f"{where}[{i}]") for i, entry in enumerate(value)]
    if isinstance(value, Mapping):
        return _object(value, where)
    raise ConfigError(
        f"{where} is a {type(value).__name__}; a key is made of text, numbers, true/false, null, "
        "lists and objects only."
    )


def _object(value: Mapping[Any, Any], where: str) -> dict[str, Any]:
    """Normalise a mapping; two names that differ only in Unicode form would be one."""
    result: dict[str, Any] = {}
    for name, entry in value.items():
        if not isinstance(name, str):
            raise ConfigError(f"{where} has the name {name!r}; names must be text.")
        text = _text(name, where)
        if text in result:
            raise ConfigError(f"{where} has the name {text!r} twice, in two Unicode forms.")
        result[text] = _canonical(entry, f"{where}.{text}")
    return result


def _number(value: float, where: str) -> int | float:
    """Write integral floats as integers; refuse NaN and infinities."""
    if not math.isfinite(value):
        raise ConfigError(f"{where} is {value}; only finite numbers are allowed.")
    if value.is_integer() and abs(value) < _EXACT_INTEGERS:
        return int(value)
    return float(value)


def _text(value: str, where: str) -> str:
    """Normalise to NFC; refuse lone surrogates, which UTF-8 cannot write."""
    if value.isascii():
        return str(value)
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ConfigError(f"{where} is {value!r}, which is not valid Unicode text.") from None
    return unicodedata.normalize("NFC", value)


class StageKeyer:
    """Makes the keys of one stage under one setting; the constant part is hashed once.

    Equal to `stage_key` with the same arguments, several times faster per work.
    """

    def __init__(
        self,
        stage: str,
        version: int,
        *,
        params: Mapping[str, Any],
        model: str | None = None,
    ) -> None:
        if "\0" in stage:
            raise ConfigError(f"stage is {stage!r}; a stage's name holds no NUL.")
        self.stage = stage
        constant = canonical_json({"params": params, "model": model})
        self._state = hashlib.blake2b(
            f"epa1/{stage}\0{int(version)}\0{constant}\0".encode(), digest_size=KEY_BYTES
        )

    def key(self, inputs: Mapping[str, str], *, seed: int | None = None) -> StageKey:
        """Key of one work: `inputs` are upstream keys and the work's own texts (its prompt)."""
        members = [
            f"{quoted}:{_quote(text if (text := inputs[name]).isascii() else _text(text, name))}"
            for name, quoted in _names(tuple(inputs))
        ]
        state = self._state.copy()
        state.update(f"{{{','.join(members)}}}\0{'' if seed is None else int(seed)}".encode())
        return StageKey(state.hexdigest())


@lru_cache(maxsize=1024)
def _names(names: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """Each name with its spelling as canonical JSON, in the order it has there.

    The encoder would say the same of all inputs of a key, in three times as long.
    """
    plain = {_text(name, "inputs"): name for name in names}
    if len(plain) != len(names):
        raise ConfigError("inputs has one name twice, in two Unicode forms.")
    return tuple((plain[text], _quote(text)) for text in sorted(plain))


def stage_key(
    stage: str,
    version: int,
    *,
    params: Mapping[str, Any],
    inputs: Mapping[str, str],
    model: str | None = None,
    seed: int | None = None,
) -> StageKey:
    """Name of a stage's result: blake2b-128 in hex (32 characters).

    Hashed is "epa1/" stage NUL version NUL {model, params} NUL {inputs} NUL seed, the objects as
    canonical JSON. ConfigError for what canonical JSON refuses.
    """
    return StageKeyer(stage, version, params=params, model=model).key(inputs, seed=seed)


def derive_seed(run_seed: int, item_id: ItemId | str, stage: str, take: int = 0) -> int:
    """Seed of one stage of one work, 0 <= seed < 2**63: independent of shard, batch and worker.

    Every further `take` of a work has other seeds.
    """
    domain = f"epa1/seed/{take}" if take else "epa1/seed"
    text = f"{domain}\0{int(run_seed)}\0{stage}\0{item_id}"
    digest = hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def digest_bytes(data: bytes | memoryview) -> Digest:
    """SHA-256 of the bytes in hex."""
    return Digest(hashlib.sha256(data).hexdigest())


def item_slug(item_id: ItemId | str, label: str = "") -> str:
    """Readable path component for any id: `[a-z0-9.-]`, no leading dot, at most 69 characters.

    It reads like `label` where one is given, else like the id.

    The readable part may coincide for several ids; the eight hex digits of the id's own hash that
    end it keep them apart, also on file systems that ignore case.
    """
    folded = unicodedata.normalize("NFKD", label or item_id).encode("ascii", "ignore").decode()
    text = re.sub(r"[^a-z0-9.]+", "-", folded.lower())
    text = re.sub(r"\.{2,}", ".", text).strip("-.")[:_SLUG_LENGTH].strip("-.") or "item"
    raw = item_id.encode(errors="surrogatepass")
    return f"{text}-{hashlib.blake2b(raw, digest_size=4).hexdigest()}"
