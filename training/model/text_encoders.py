"""Captions to 512 token states: UMT5 as the base was trained with, or hashed words.

Both pad with zeros beyond a text's own tokens, as Wan does (diffusers, ``WanPipeline``). Not here:
dropping a text for guidance, which is an empty text through the same encoder.
"""

from __future__ import annotations

import logging
import re
from hashlib import blake2b
from typing import Any

import torch

from training.model.transformer_checks import TEXT_TOKENS

_log = logging.getLogger(__name__)


class UMT5Encoder:
    """States of UMT5's encoder, zero beyond a text's own tokens.

    Args:
        model: ``transformers.UMT5EncoderModel``.
        tokenizer: its tokenizer.
        device: where it runs.
    """

    num_tokens = TEXT_TOKENS

    def __init__(self, model: Any, tokenizer: Any, device: torch.device | str = "cpu") -> None:
        self._model = model.eval().requires_grad_(False).to(device)
        self._tokenizer = tokenizer
        self.device = torch.device(device)
        self.width = int(model.config.d_model)

    @torch.no_grad()
    def encode(self, texts: list[str]) -> torch.Tensor:
        """Encode captions. Tokens beyond 512 are dropped, with a warning.

        Args:
            texts: captions; whitespace is collapsed as Wan does.

        Returns:
            States [B, 512, D].
        """
        cleaned = [" ".join(text.split()) for text in texts]
        for text in cleaned:
            length = len(self._tokenizer(text).input_ids)
            if length > self.num_tokens:
                _log.warning(
                    "caption of %d tokens is cut to %d: %.60s...", length, self.num_tokens, text
                )
        tokens = self._tokenizer(
            cleaned,
            padding="max_length",
            max_length=self.num_tokens,
            truncation=True,
            add_special_tokens=True,
            return_attention_mask=True,
            return_tensors="pt",
        ).to(self.device)
        states_BLD = self._model(tokens.input_ids, tokens.attention_mask).last_hidden_state
        return states_BLD * tokens.attention_mask[..., None].to(states_BLD.dtype)


class HashedTextEncoder:
    """Each word as a fixed random vector of its own, for the tiny model.

    The same word has the same state everywhere and nothing is learned: texts can be told apart and
    no more.

    Args:
        width: D.
        device: where states go.
    """

    num_tokens = TEXT_TOKENS

    def __init__(self, width: int = 32, device: torch.device | str = "cpu") -> None:
        self.width = width
        self.device = torch.device(device)

    def encode(self, texts: list[str]) -> torch.Tensor:
        """Hash the words of captions.

        Args:
            texts: captions.

        Returns:
            States [B, 512, D] of unit variance, zero beyond each text's own words.
        """
        states_BLD = torch.zeros(len(texts), self.num_tokens, self.width)
        for state_LD, text in zip(states_BLD, texts, strict=True):
            for token, word in enumerate(re.findall(r"\w+", text.lower())[: self.num_tokens]):
                digest = blake2b(word.encode(), digest_size=7).digest()
                generator = torch.Generator().manual_seed(int.from_bytes(digest))
                state_LD[token] = torch.randn(self.width, generator=generator)
        return states_BLD.to(self.device)
