"""What a text encoder leaves out of a prompt that is longer than it reads."""

from typing import Any


def cut_off(tokenizer: Any, prompt: str, limit: int | None = None) -> str:
    """Return the tail of ``prompt`` that ``tokenizer`` drops, as readable text; "" if it keeps all.

    ``limit`` counts tokens with the special ones; None means the tokenizer's own
    ``model_max_length``. The tail starts at the first character of which a token is dropped. A
    tokenizer that knows no offsets gives the decoded tokens instead. Any string is taken.
    """
    limit = tokenizer.model_max_length if limit is None else limit
    room = max(limit - tokenizer.num_special_tokens_to_add(), 0)
    # Tokenizers refuse lone surrogates; "?" stands for each of them, so that offsets still hold.
    text = prompt.encode("utf-8", "replace").decode("utf-8")
    offsets = {"return_offsets_mapping": True} if tokenizer.is_fast else {}
    encoded = tokenizer(text, add_special_tokens=False, verbose=False, **offsets)
    dropped = encoded["input_ids"][room:]
    if not dropped:
        return ""
    if offsets:
        return text[encoded["offset_mapping"][room][0] :].strip()
    return str(tokenizer.decode(dropped)).strip()
