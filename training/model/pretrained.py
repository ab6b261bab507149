"""Pretrained encoders and the VAE, read through transformers and diffusers and checked.

Both libraries replace weights that a folder lacks by random ones and only warn; here that is an
error. Not here: the transformer (`loading.py`).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from training.errors import ModelError
from training.model.audio_encoders import Wav2Vec2Encoder, WhisperEncoder
from training.model.codecs import WanCodec
from training.model.image_encoders import ClipVisionEncoder
from training.model.spec import (
    ClipVisionImage,
    PretrainedBase,
    UMT5Text,
    WanVaeCodec,
    Wav2Vec2Audio,
    WhisperAudio,
)
from training.model.text_encoders import UMT5Encoder
from training.model.weight_files import FETCH_AGAIN, local_folder

_UNUSED = ("masked_spec_embed",)
"""Only used in wav2vec2's own training; some of its checkpoints lack it."""


def umt5_encoder(
    text: UMT5Text, base: PretrainedBase, device: torch.device | str, dtype: torch.dtype
) -> UMT5Encoder:
    """Load the text encoder of a base.

    Args:
        text: where it lies, if not with the base.
        base: the base.
        device: where it runs.
        dtype: of its weights.

    Returns:
        The encoder.
    """
    from transformers import AutoTokenizer, UMT5EncoderModel

    folder = local_folder(
        text.repo or base.repo, base.revision, [base.text_encoder, base.tokenizer]
    )
    model = _loaded(UMT5EncoderModel, folder / base.text_encoder, dtype)
    tokenizer = _read(AutoTokenizer, folder / base.tokenizer)
    return UMT5Encoder(model, tokenizer, device)


def clip_vision_encoder(
    image: ClipVisionImage, base: PretrainedBase, device: torch.device | str, dtype: torch.dtype
) -> ClipVisionEncoder:
    """Load the image encoder of a base.

    Args:
        image: where it lies, if not with the base.
        base: the base.
        device: where it runs.
        dtype: of its weights.

    Returns:
        The encoder.

    Raises:
        ModelError: the folder is incomplete.
    """
    from transformers import CLIPVisionModel

    folder = local_folder(
        image.repo or base.repo, base.revision, [base.image_encoder, base.image_processor]
    )
    model = _loaded(CLIPVisionModel, folder / base.image_encoder, dtype)
    file = folder / base.image_processor / "preprocessor_config.json"
    try:
        config = json.loads(file.read_text())
        mean, std = tuple(config["image_mean"]), tuple(config["image_std"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{file}: no image_mean and image_std ({error}); {FETCH_AGAIN}") from error
    return ClipVisionEncoder(model, mean, std, device)


def wan_codec(codec: WanVaeCodec, base: PretrainedBase, device: torch.device | str) -> WanCodec:
    """Load the VAE of a base, in fp32.

    Args:
        codec: where it lies, if not with the base.
        base: the base.
        device: where it runs.

    Returns:
        The codec.
    """
    from diffusers import AutoencoderKLWan

    folder = local_folder(codec.repo or base.repo, base.revision, [base.vae])
    return WanCodec(_loaded(AutoencoderKLWan, folder / base.vae, torch.float32), device)


def whisper_encoder(
    audio: WhisperAudio, device: torch.device | str, dtype: torch.dtype
) -> WhisperEncoder:
    """Load Whisper's encoder; its decoder is dropped.

    Args:
        audio: which, and how it listens.
        device: where it runs.
        dtype: of its weights.

    Returns:
        The encoder.
    """
    from transformers import WhisperFeatureExtractor, WhisperModel

    model = _loaded(WhisperModel, audio.repo, dtype)
    return WhisperEncoder(
        model.encoder,
        _read(WhisperFeatureExtractor, audio.repo),
        audio.layer_groups,
        audio.overlap_s,
        audio.fade_s,
        device,
    )


def wav2vec2_encoder(
    audio: Wav2Vec2Audio, device: torch.device | str, dtype: torch.dtype
) -> Wav2Vec2Encoder:
    """Load a wav2vec2 encoder.

    Args:
        audio: which, and how it listens.
        device: where it runs.
        dtype: of its weights.

    Returns:
        The encoder.
    """
    from transformers import Wav2Vec2FeatureExtractor, Wav2Vec2Model

    return Wav2Vec2Encoder(
        _loaded(Wav2Vec2Model, audio.repo, dtype),
        _read(Wav2Vec2FeatureExtractor, audio.repo),
        audio.layer_groups,
        audio.chunk_s,
        audio.overlap_s,
        audio.fade_s,
        device,
    )


def _read(kind: Any, place: Path | str) -> Any:
    """Return a tokenizer or feature extractor."""
    try:
        return kind.from_pretrained(place)
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{place}: no {kind.__name__} can be read ({_first_line(error)}); {FETCH_AGAIN}"
        ) from error


def _loaded(kind: Any, place: Path | str, dtype: torch.dtype) -> Any:
    """Return a model with every weight from the folder, or say which is not."""
    try:
        model, info = kind.from_pretrained(place, torch_dtype=dtype, output_loading_info=True)
    except (OSError, ValueError, RuntimeError) as error:
        raise ModelError(
            f"{place}: no {kind.__name__} can be read ({_first_line(error)}); {FETCH_AGAIN}"
        ) from error
    wrong = [
        key
        for what in ("missing_keys", "mismatched_keys", "error_msgs")
        for key in info.get(what, ())
        if not str(key).endswith(_UNUSED)
    ]
    if wrong:
        raise ModelError(
            f"{place}: {len(wrong)} weights of {kind.__name__} are missing or misshapen, first "
            f"{sorted(map(str, wrong))[0]}; {FETCH_AGAIN}"
        )
    return model


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
