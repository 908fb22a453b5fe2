"""What a text encoder leaves out of a prompt, told in the prompt's own characters."""

from types import SimpleNamespace
from typing import Any

import pytest
from tiny_proxies import clip_tokenizer
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizer, PreTrainedTokenizerFast

from epa_core.families.inpainting import EasyAnimate
from epa_core.text import cut_off


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return clip_tokenizer(tmp_path_factory.mktemp("clip"))


class Letters(PreTrainedTokenizer):
    """A tokenizer in plain Python: one token a letter, one special one at each end, no offsets."""

    def __init__(self) -> None:
        super().__init__(model_max_length=8)

    @property
    def vocab_size(self) -> int:
        return 0x110000 + 2

    def get_vocab(self) -> dict[str, int]:
        return {}

    def _tokenize(self, text: str, **_: Any) -> list[str]:
        return list(text)

    def _convert_token_to_id(self, token: str) -> int:
        return ord(token)

    def _convert_id_to_token(self, index: int) -> str:
        return chr(index)

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        return "".join(tokens)

    def num_special_tokens_to_add(self, pair: bool = False) -> int:
        return 2


def words(limit: int) -> PreTrainedTokenizerFast:
    """A T5-like tokenizer: one token a word, one special one at the end."""
    vocabulary = {"</s>": 0, "<unk>": 1, **{f"▁word{i}": i + 2 for i in range(9)}}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    backend.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 0)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="</s>", unk_token="<unk>", model_max_length=limit
    )


def read_by(tokenizer: Any, prompt: str) -> str:
    """What an encoder gets to see of ``prompt``."""
    ids = tokenizer(prompt, truncation=True)["input_ids"]
    return tokenizer.decode(ids, skip_special_tokens=True)


def test_a_prompt_that_fits_loses_nothing(clip: Any) -> None:
    letters = "x " * 75  # a token each, and two special ones: 77
    for prompt in ("", "  ", "the boats sail", letters):
        assert cut_off(clip, prompt) == ""
    assert cut_off(clip, letters + "y") == "y"


def test_the_tail_is_what_the_encoder_does_not_see(clip: Any) -> None:
    prompt = " ".join(["boats"] * 70 + ["the", "sea", "boats", "the", "sea", "Waves", " Rise!"])
    tail = cut_off(clip, prompt)
    assert tail == "Waves  Rise!"  # the prompt's own letters and spaces
    assert prompt.endswith(tail)
    assert read_by(clip, prompt) == prompt.lower()[: -len(tail)].strip()


@pytest.mark.parametrize(
    ("prompt", "limit", "tail"),
    [
        ("É té à Noël", 7, "à Noël"),  # two tokens for a letter with its accent
        ("É té à Noël", 6, "é à Noël"),  # half a letter is read: it counts as cut
        ("E\u0301te\u0301 a\u0300", 4, "te\u0301 a\u0300"),  # accents of their own
        ("🌊🌊 waves", 6, "🌊 waves"),  # four bytes each
        ("🌊🌊 waves", 5, "🌊🌊 waves"),
        ("海の波", 5, "の波"),
        ("a\n\n  b\tc", 4, "c"),
        ("a \ud800 bird", 4, "bird"),  # no character at all
        ("<|endoftext|> the sea", 4, "sea"),
        ("the sea", 2, "the sea"),
        ("the sea", 0, "the sea"),
    ],
)
def test_any_characters_are_cut_where_the_tokens_end(
    clip: Any, prompt: str, limit: int, tail: str
) -> None:
    assert cut_off(clip, prompt, limit) == tail


def test_a_limit_of_the_model_comes_before_the_tokenizers(clip: Any) -> None:
    assert cut_off(clip, "the sea boats", 4) == "boats"
    assert cut_off(clip, "the " * 100, 200) == ""


def test_tokenizers_with_one_special_token_or_without_a_limit() -> None:
    assert cut_off(words(4), "word1 word2 word3 word4 word5") == "word4 word5"
    assert cut_off(words(4), "word1 word2 word3") == ""
    assert cut_off(words(10**30), "word1 " * 5000) == ""


def test_tokenizers_without_offsets_tell_the_decoded_tail() -> None:
    assert cut_off(Letters(), "boats sail") == "sail"
    assert cut_off(Letters(), "boats") == ""
    assert cut_off(Letters(), "海の波が立つ海", 5) == "が立つ海"


def test_long_prompts_are_cut_without_a_warning(
    clip: Any, caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    assert cut_off(clip, "boats " * 500)
    assert not caplog.records
    assert not recwarn.list


def test_a_chat_around_the_prompt_takes_room() -> None:
    tokenizer = words(10**30)
    tokenizer.chat_template = (
        "{% for message in messages %}word1 word2 {{ message.content[0].text }} word3{% endfor %}"
    )
    pipeline = SimpleNamespace(tokenizer=tokenizer)
    limit = EasyAnimate().prompt_tokens(pipeline)  # type: ignore[arg-type] # the part that is read
    assert limit == 256 - len(tokenizer("word1 word2 ", add_special_tokens=False)["input_ids"])
    said = EasyAnimate().unread(pipeline, "word4 " * 250 + "word5 " * 10)  # type: ignore[arg-type]
    assert said
    assert set(said.split()) == {"word5"}
