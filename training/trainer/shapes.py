"""Sizes of a transformer and of the clips it sees, and how many parameters that makes.

Closed forms, so that nothing has to be built or downloaded; tests hold them against the model
itself on the meta device. Not here: memory and time (`cost.py`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.errors import SettingError
from training.model.spec import BaseFromNothing, LogMelAudio, ModelSpec

NUM_TEXT_TOKENS = 512
NUM_IMAGE_TOKENS = 257

_SIZES_1_3B = {"num_attention_heads": 12, "num_layers": 30, "ffn_dim": 8960}
_SIZES_14B = {"num_attention_heads": 40, "num_layers": 40, "ffn_dim": 13824}
_KNOWN_BASES = {"1.3B": _SIZES_1_3B, "14B": _SIZES_14B}
"""Of Wan2.1 and SkyReels-V2, by the part of the repository's name that tells the size (diffusers,
``scripts/convert_wan_to_diffusers.py`` and ``convert_skyreelsv2_to_diffusers.py``)."""

_KNOWN_AUDIO = {"whisper-tiny": (5, 384), "whisper-small": (5, 768), "whisper-large": (5, 1280)}
"""Layer groups and width of Whisper's encoder, by a part of the repository's name."""


@dataclass(frozen=True)
class TransformerShape:
    """Sizes of the base and the adapter; names are diffusers' config keys.

    Attributes:
        num_attention_heads: heads.
        num_layers: blocks.
        ffn_dim: inner width of the feed-forward network.
        attention_head_dim: width of a head.
        text_dim: width of a text state.
        image_dim: width of an image state.
        freq_dim: width of the timestep's sinusoids.
        in_channels: noisy latent, keep mask, condition.
        out_channels: velocity.
        patch_cells: latent cells of a token.
        audio_num_layers: layer groups of the audio encoder.
        audio_feature_width: width of an audio feature.
        audio_tokens_per_latent: audio tokens of a latent frame.
        audio_width: width of an audio token.
        audio_hidden_width: width inside the projector.
        audio_window_frames: frames that a latent frame hears.
        num_audio_layers: blocks with audio attention.
    """

    num_attention_heads: int
    num_layers: int
    ffn_dim: int
    attention_head_dim: int = 128
    text_dim: int = 4096
    image_dim: int = 1280
    freq_dim: int = 256
    in_channels: int = 36
    out_channels: int = 16
    patch_cells: int = 4
    audio_num_layers: int = 5
    audio_feature_width: int = 1280
    audio_tokens_per_latent: int = 32
    audio_width: int = 768
    audio_hidden_width: int = 512
    audio_window_frames: int = 8
    num_audio_layers: int = 40

    @property
    def width(self) -> int:
        """Width of a token."""
        return self.num_attention_heads * self.attention_head_dim


@dataclass(frozen=True)
class ClipShape:
    """Size of a clip in pixels and frames."""

    width_px: int
    height_px: int
    num_frames: int

    @property
    def num_latents(self) -> int:
        """Latent frames: the first frame, then one for every four."""
        return (self.num_frames - 1) // 4 + 1

    @property
    def num_tokens(self) -> int:
        """Video tokens: 8 pixels a latent cell, 2 x 2 cells a token."""
        return self.num_latents * (self.height_px // 16) * (self.width_px // 16)


def shape_of(spec: ModelSpec) -> TransformerShape:
    """Return the sizes that a model of a spec has, without loading it.

    Args:
        spec: the model.

    Returns:
        Its sizes.

    Raises:
        SettingError: the base is neither known nor a local folder, or the audio encoder unknown.
    """
    layers, width = _audio_of(spec)
    adapter = spec.adapter
    sizes: dict[str, Any]
    if isinstance(spec.base, BaseFromNothing):
        sizes = {
            "num_attention_heads": spec.base.num_heads,
            "attention_head_dim": spec.base.head_width,
            "num_layers": spec.base.num_layers,
            "ffn_dim": spec.base.ffn_width,
            "freq_dim": spec.base.freq_width,
            "text_dim": getattr(spec.text, "width", 4096),
            "image_dim": getattr(spec.image, "width", 1280),
        }
    else:
        sizes = _base_sizes(spec.base.repo, spec.base.transformer)
    num_audio_layers = (
        sizes["num_layers"] if adapter.audio_layers is None else len(adapter.audio_layers)
    )
    return TransformerShape(
        **sizes,
        audio_num_layers=layers,
        audio_feature_width=width,
        audio_tokens_per_latent=adapter.audio_tokens_per_latent,
        audio_width=adapter.audio_width,
        audio_hidden_width=adapter.audio_hidden_width,
        audio_window_frames=4 + 2 * adapter.audio_context_frames,
        num_audio_layers=num_audio_layers,
    )


def shape_of_config(config: Any) -> TransformerShape:
    """Return the sizes of a transformer from its diffusers config."""
    patch_k, patch_h, patch_w = config["patch_size"]
    layers = config["audio_layers"]
    return TransformerShape(
        num_attention_heads=config["num_attention_heads"],
        num_layers=config["num_layers"],
        ffn_dim=config["ffn_dim"],
        attention_head_dim=config["attention_head_dim"],
        text_dim=config["text_dim"],
        image_dim=config["image_dim"],
        freq_dim=config["freq_dim"],
        in_channels=config["in_channels"],
        out_channels=config["out_channels"],
        patch_cells=patch_k * patch_h * patch_w,
        audio_num_layers=config["audio_num_layers"],
        audio_feature_width=config["audio_feature_width"],
        audio_tokens_per_latent=config["audio_tokens_per_latent"],
        audio_width=config["audio_width"],
        audio_hidden_width=config["audio_hidden_width"],
        audio_window_frames=4 + 2 * config["audio_context_frames"],
        num_audio_layers=config["num_layers"] if layers is None else len(layers),
    )


def block_parameters(shape: TransformerShape) -> int:
    """Parameters of one of the base's blocks (diffusers, ``WanTransformerBlock``).

    Two attentions with ``to_q, to_k, to_v, to_out`` and their biases and RMS norms of q and k, the
    image's keys and values with a norm, one affine norm, the feed-forward network, six rows of
    modulation.
    """
    d, f = shape.width, shape.ffn_dim
    attention = 4 * (d * d + d) + 2 * d
    image = 2 * (d * d + d) + d
    feed_forward = d * f + f + f * d + d
    return 2 * attention + image + 2 * d + feed_forward + 6 * d


def text_attention_parameters(shape: TransformerShape) -> int:
    """Parameters that the phases call text cross-attention: see `trainable.py`."""
    d = shape.width
    embedder = shape.text_dim * d + d + d * d + d
    return shape.num_layers * (4 * (d * d + d) + 2 * d) + embedder


def base_parameters(shape: TransformerShape) -> int:
    """Parameters of the base, an image-to-video ``WanTransformer3DModel``."""
    d, i = shape.width, shape.image_dim
    patch = shape.in_channels * shape.patch_cells * d + d
    time = shape.freq_dim * d + d + d * d + d + d * 6 * d + 6 * d
    text = shape.text_dim * d + d + d * d + d
    image = 2 * i + i * i + i + i * d + d + 2 * d
    out = d * shape.out_channels * shape.patch_cells + shape.out_channels * shape.patch_cells
    return patch + time + text + image + shape.num_layers * block_parameters(shape) + out + 2 * d


def adapter_parameters(shape: TransformerShape) -> int:
    """Parameters of the audio projector and of all audio attentions."""
    d, a, h = shape.width, shape.audio_width, shape.audio_hidden_width
    window = shape.audio_window_frames * shape.audio_num_layers * shape.audio_feature_width
    tokens = shape.audio_tokens_per_latent * a
    projector = window * h + h + h * h + h + h * tokens + tokens + 2 * a
    attention = 2 * d + (d * d + d) + 2 * (a * d + d) + d * d + 2 * shape.attention_head_dim
    return projector + shape.num_audio_layers * attention


def lora_parameters(shape: TransformerShape, rank: int, targets: tuple[str, ...]) -> int:
    """Parameters of low-rank updates: ``rank * (inputs + outputs)`` a linear layer.

    Args:
        shape: of the base.
        rank: of each update.
        targets: ends of the names of the layers; attention layers are in both attentions.

    Returns:
        Their number.
    """
    d, f = shape.width, shape.ffn_dim
    each = sum((d + f) if "ffn" in target else 2 * (d + d) for target in targets)
    return shape.num_layers * rank * each


def _base_sizes(repo: str, subfolder: str) -> dict[str, Any]:
    config_file = Path(repo) / subfolder / "config.json"
    if config_file.is_file():
        config = json.loads(config_file.read_text("utf-8"))
        names = ("num_attention_heads", "num_layers", "ffn_dim", "attention_head_dim", "text_dim")
        more = ("image_dim", "freq_dim", "in_channels", "out_channels")
        return {name: config[name] for name in (*names, *more) if config.get(name) is not None}
    for part, sizes in _KNOWN_BASES.items():
        if f"-{part}-" in repo:
            return dict(sizes)
    raise SettingError(
        f"base {repo!r}: neither a local folder with {subfolder}/config.json nor a name that tells "
        f"its size ({', '.join(_KNOWN_BASES)}); give the folder of a base"
    )


def _audio_of(spec: ModelSpec) -> tuple[int, int]:
    """Layer groups and width of the audio encoder."""
    audio = spec.audio
    if isinstance(audio, LogMelAudio):
        return 1, audio.num_mels * audio.moments_per_frame
    groups = None if audio.layer_groups is None else len(audio.layer_groups)
    if audio.kind == "wav2vec2":
        return groups or 12, 768
    for part, (layers, width) in _KNOWN_AUDIO.items():
        if part in audio.repo:
            return groups or layers, width
    raise SettingError(
        f"audio encoder {audio.repo!r}: its size is not known here; known are "
        f"{', '.join(_KNOWN_AUDIO)}"
    )
