"""Prompts through a CLIP text encoder, one text at a time."""

from collections.abc import Sequence

import torch
from torch import Tensor


class CLIPTexts:
    """Mixin of pipelines with a ``tokenizer`` and a ``text_encoder``."""

    @property
    def prompt_tokens(self) -> int:
        """Tokens of a text that are read, the special ones included."""
        positions = self.text_encoder.config.max_position_embeddings  # type: ignore[attr-defined] # a pipeline's
        return int(min(positions, self.tokenizer.model_max_length))  # type: ignore[attr-defined] # a pipeline's

    @torch.no_grad()
    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Embeddings [B, tokens, D] of texts, each distinct one encoded once and on its own."""
        device = self._execution_device  # type: ignore[attr-defined] # a pipeline's
        known: dict[str, Tensor] = {}
        for text in dict.fromkeys(texts):
            tokens = self.tokenizer(  # type: ignore[attr-defined] # a pipeline's
                text,
                padding="max_length",
                max_length=self.prompt_tokens,
                truncation=True,
                return_tensors="pt",
            )
            known[text] = self.text_encoder(tokens.input_ids.to(device))[0]  # type: ignore[attr-defined] # a pipeline's
        return torch.cat([known[text] for text in texts])
