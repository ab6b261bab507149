"""A tiny Whisper in CTranslate2's format that says the same words whatever it hears.

Its layers pass everything on; the embedding of each position points at the token that comes next.
So the code under test runs the real network, and the truth is known.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ctranslate2.specs.whisper_spec import WhisperSpec
from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as ByteDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel

LANGUAGES = ("en", "de", "fr")
_SPECIAL = (
    "<|endoftext|>",
    "<|startoftranscript|>",
    *(f"<|{language}|>" for language in LANGUAGES),
    "<|translate|>",
    "<|transcribe|>",
    "<|startoflm|>",
    "<|startofprev|>",
    "<|nospeech|>",
    "<|notimestamps|>",
    *(f"<|{step * 0.02:.2f}|>" for step in range(1501)),
)
_WIDTH, _HEADS, _FRAMES, _POSITIONS, _MELS = 64, 2, 1500, 448, 80
_NUM_PROMPT = 4  # start, language, task, no timestamps
_MULTILINGUAL = ""  # the token by which CTranslate2 tells a multilingual vocabulary


def write_whisper(folder: Path, words: Sequence[str], language: str = "de") -> Path:
    """Write the model; every word becomes one token with a space before it."""
    folder.mkdir(parents=True)
    letters = sorted(ByteLevel.alphabet())
    texts = [*letters, *(f"Ġ{word}" for word in dict.fromkeys(words)), _MULTILINGUAL]
    tokens = [*texts, *_SPECIAL]
    ids = {token: number for number, token in enumerate(tokens)}
    tokenizer = Tokenizer(BPE({text: ids[text] for text in texts}, []))
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    tokenizer.decoder = ByteDecoder()
    tokenizer.add_special_tokens(list(_SPECIAL))
    tokenizer.save(str(folder / "tokenizer.json"))

    spoken = [ids[f"Ġ{word}"] for word in words]
    following = {0: ids[f"<|{language}|>"], 1: ids["<|transcribe|>"], 2: ids["<|notimestamps|>"]}
    following |= {_NUM_PROMPT - 1 + place: token for place, token in enumerate(spoken)}
    last = ids["<|endoftext|>"]
    spec = _spec(len(tokens), [following.get(place, last) for place in range(_POSITIONS)])
    spec.register_vocabulary(tokens)
    spec.config.lang_ids = [ids[f"<|{name}|>"] for name in LANGUAGES]
    spec.config.alignment_heads = [(0, 0), (0, 1)]
    spec.config.suppress_ids = []
    spec.config.suppress_ids_begin = []
    spec.validate()
    spec.optimize(quantization="int8")
    spec.save(str(folder))
    assert json.loads((folder / "config.json").read_text())["lang_ids"]
    return folder


def _spec(num_tokens: int, following: Sequence[int]) -> WhisperSpec:
    rng = np.random.default_rng(0)
    spec = WhisperSpec(1, _HEADS, 1, _HEADS)

    def normal(*shape: int) -> np.ndarray:
        return (rng.standard_normal(shape) / np.sqrt(shape[-1])).astype(np.float32)

    def linear(layer, num_out: int, num_in: int, *, is_silent: bool = False) -> None:  # type: ignore[no-untyped-def]
        layer.weight = normal(num_out, num_in) * (0.0 if is_silent else 1.0)
        layer.weight = layer.weight.astype(np.float32)
        layer.bias = np.zeros(num_out, np.float32)

    def norm(layer) -> None:  # type: ignore[no-untyped-def]
        layer.gamma, layer.beta = np.ones(_WIDTH, np.float32), np.zeros(_WIDTH, np.float32)

    encoder, decoder = spec.encoder, spec.decoder
    for conv, num_in in ((encoder.conv1, _MELS), (encoder.conv2, _WIDTH)):
        conv.weight = normal(_WIDTH, num_in, 3) * 0.1
        conv.bias = np.zeros(_WIDTH, np.float32)
    encoder.position_encodings.encodings = normal(_FRAMES, _WIDTH)
    embeddings = normal(num_tokens, _WIDTH)
    decoder.embeddings.weight = embeddings
    decoder.projection.weight = 3 * embeddings
    decoder.position_encodings.encodings = 8 * embeddings[list(following)]
    for half in (encoder, decoder):
        norm(half.layer_norm)
        (layer,) = half.layer
        attentions = [layer.self_attention] + ([layer.attention] if half is decoder else [])
        for attention in attentions:
            norm(attention.layer_norm)
            shares = (3,) if attention is layer.self_attention else (1, 2)
            for place, share in enumerate(shares):
                linear(attention.linear[place], share * _WIDTH, _WIDTH)
            linear(attention.linear[-1], _WIDTH, _WIDTH, is_silent=True)
        norm(layer.ffn.layer_norm)
        linear(layer.ffn.linear_0, 4 * _WIDTH, _WIDTH)
        linear(layer.ffn.linear_1, _WIDTH, 4 * _WIDTH, is_silent=True)
    return spec
