"""What a model is made of, as settings: base, encoders, codec, adapter, LoRA, seed.

Not here: building it (`components.py`) and what is trained when (the recipe's phases).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class _Spec(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PretrainedBase(_Spec):
    """A base in diffusers layout.

    Attributes:
        repo: Hub id or local folder.
        revision: of the Hub repository; ``None``: its newest.
        transformer: subfolder, like all that follow.
    """

    kind: Literal["pretrained"] = "pretrained"
    repo: str = "Skywork/SkyReels-V2-I2V-1.3B-540P-Diffusers"
    revision: str | None = None
    transformer: str = "transformer"
    vae: str = "vae"
    text_encoder: str = "text_encoder"
    tokenizer: str = "tokenizer"
    image_encoder: str = "image_encoder"
    image_processor: str = "image_processor"


class BaseFromNothing(_Spec):
    """A small transformer of the same kind with random weights: the tiny model. Sizes are ours."""

    kind: Literal["from_nothing"] = "from_nothing"
    family: Literal["wan", "skyreels_v2"] = "wan"
    num_heads: int = Field(default=4, ge=1)
    head_width: int = Field(default=24, ge=6, multiple_of=2)
    num_layers: int = Field(default=4, ge=1)
    ffn_width: int = Field(default=256, ge=1)
    freq_width: int = Field(default=64, ge=2, multiple_of=2)


class UMT5Text(_Spec):
    """UMT5 of the base, or of another place with the same subfolders."""

    kind: Literal["umt5"] = "umt5"
    repo: str | None = None


class HashedText(_Spec):
    """Hashed words, for the tiny model."""

    kind: Literal["hashed"] = "hashed"
    width: int = Field(default=32, ge=1)


class ClipVisionImage(_Spec):
    """CLIP vision of the base, or of another place with the same subfolders."""

    kind: Literal["clip_vision"] = "clip_vision"
    repo: str | None = None


class ThumbnailImage(_Spec):
    """Thumbnails, for the tiny model."""

    kind: Literal["thumbnail"] = "thumbnail"
    side_px: int = Field(default=32, ge=1)
    patch_px: int = Field(default=8, ge=1)


class WhisperAudio(_Spec):
    """Whisper's encoder, from tiny to large-v3.

    Attributes:
        repo: Hub id or local folder.
        layer_groups: hidden states that are averaged, as [first, beyond last); ``None``: the last
            alone and the rest in four groups, as LongCat-Avatar 1.5 groups the 33 of large-v3.
        overlap_s: overlap of chunks (ours).
        fade_s: length of the fade within an overlap (ours).
    """

    kind: Literal["whisper"] = "whisper"
    repo: str = "openai/whisper-large-v3"
    layer_groups: tuple[tuple[int, int], ...] | None = None
    overlap_s: float = Field(default=2.0, gt=0)
    fade_s: float = Field(default=0.5, ge=0)


class Wav2Vec2Audio(_Spec):
    """wav2vec2, as MultiTalk and SkyReels-V3 use it.

    Attributes:
        repo: Hub id or local folder.
        layer_groups: as for Whisper; ``None``: every layer alone, without the input of the first.
        chunk_s: length of a chunk (ours).
        overlap_s: overlap of chunks (ours).
        fade_s: length of the fade within an overlap (ours).
    """

    kind: Literal["wav2vec2"] = "wav2vec2"
    repo: str = "TencentGameMate/chinese-wav2vec2-base"
    layer_groups: tuple[tuple[int, int], ...] | None = None
    chunk_s: float = Field(default=30.0, gt=0)
    overlap_s: float = Field(default=2.0, gt=0)
    fade_s: float = Field(default=0.5, ge=0)


class LogMelAudio(_Spec):
    """Log-mel features, for the tiny model."""

    kind: Literal["log_mel"] = "log_mel"
    num_mels: int = Field(default=40, ge=1)
    moments_per_frame: int = Field(default=2, ge=1)


class WanVaeCodec(_Spec):
    """The base's VAE, or that of another place with the same subfolder."""

    kind: Literal["wan"] = "wan"
    repo: str | None = None


class PatchPcaCodec(_Spec):
    """The linear patch codec of the tiny model.

    Attributes:
        file: a fitted codec; ``None``: the one for smooth video, fitted on nothing.
    """

    kind: Literal["patch"] = "patch"
    file: Path | None = None


class AdapterSpec(_Spec):
    """Sizes of the audio adapter; see `transformer.AudioWanTransformer3DModel`.

    Attributes:
        audio_tokens_per_latent: M.
        audio_width: width of an audio token.
        audio_hidden_width: width inside the projector.
        audio_context_frames: frames on either side of a latent frame that it hears.
        audio_scope: ``window`` or ``clip``.
        audio_layers: blocks with audio attention; ``None``: all.
    """

    audio_tokens_per_latent: int = Field(default=32, ge=1)
    audio_width: int = Field(default=768, ge=1)
    audio_hidden_width: int = Field(default=512, ge=1)
    audio_context_frames: int = Field(default=2, ge=0)
    audio_scope: Literal["window", "clip"] = "window"
    audio_layers: tuple[int, ...] | None = None


class LoraSpec(_Spec):
    """Low-rank updates of the base.

    Attributes:
        rank: of each update.
        alpha: their weight is alpha / rank.
        targets: linear layers of the base's blocks that get one.
    """

    rank: int = Field(default=64, ge=1)
    alpha: float = Field(default=64.0, gt=0)
    targets: tuple[str, ...] = ("to_q", "to_k", "to_v", "to_out.0", "ffn.net.0.proj", "ffn.net.2")


class TrainedWith(_Spec):
    """What a model saw last in training: what generation makes where nothing else is asked for.

    Attributes:
        area_px: pixels of a frame.
        num_latents: latent frames of a clip.
    """

    area_px: int = Field(ge=1)
    num_latents: int = Field(ge=1)


class ModelSpec(_Spec):
    """The whole model.

    Attributes:
        trained_with: sizes of the last phase of training; ``None``: as its base was trained.
        adapter_checkpoint: folder of a saved adapter to start from.
        lora_checkpoint: folder of a saved LoRA to start from, in place of a new one.
        transformer_checkpoint: folder of a saved whole transformer, in place of the base's.
        seed: of everything that is random at the start.
    """

    base: Annotated[PretrainedBase | BaseFromNothing, Field(discriminator="kind")] = (
        PretrainedBase()
    )
    text: Annotated[UMT5Text | HashedText, Field(discriminator="kind")] = UMT5Text()
    image: Annotated[ClipVisionImage | ThumbnailImage, Field(discriminator="kind")] = (
        ClipVisionImage()
    )
    audio: Annotated[WhisperAudio | Wav2Vec2Audio | LogMelAudio, Field(discriminator="kind")] = (
        WhisperAudio()
    )
    codec: Annotated[WanVaeCodec | PatchPcaCodec, Field(discriminator="kind")] = WanVaeCodec()
    adapter: AdapterSpec = AdapterSpec()
    lora: LoraSpec | None = None
    adapter_checkpoint: Path | None = None
    lora_checkpoint: Path | None = None
    transformer_checkpoint: Path | None = None
    trained_with: TrainedWith | None = None
    seed: int = 0


def tiny_spec(
    *,
    base: BaseFromNothing | None = None,
    adapter: AdapterSpec | None = None,
    codec_file: Path | None = None,
    seed: int = 0,
) -> ModelSpec:
    """A model that is built without any download and runs on a CPU. Sizes are ours.

    Args:
        base: sizes of the transformer.
        adapter: sizes of the adapter.
        codec_file: a fitted patch codec.
        seed: of the weights.

    Returns:
        The spec.
    """
    return ModelSpec(
        base=base or BaseFromNothing(),
        text=HashedText(),
        image=ThumbnailImage(),
        audio=LogMelAudio(),
        codec=PatchPcaCodec(file=codec_file),
        adapter=adapter
        or AdapterSpec(audio_tokens_per_latent=8, audio_width=64, audio_hidden_width=128),
        seed=seed,
    )
