"""The parts of the model together, built from a spec.

Not here: the parts themselves, each in a file of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from training.errors import ModelError
from training.model.image_encoders import ThumbnailEncoder
from training.model.interfaces import AudioEncoder, ImageEncoder, TextEncoder, VideoCodec
from training.model.loading import (
    adapt_base,
    load_adapter,
    load_transformer,
    transformer_from_nothing,
)
from training.model.log_mel import LogMelEncoder
from training.model.lora import add_lora, load_lora
from training.model.patch_codec import PatchCodec
from training.model.pretrained import (
    clip_vision_encoder,
    umt5_encoder,
    wan_codec,
    wav2vec2_encoder,
    whisper_encoder,
)
from training.model.spec import (
    BaseFromNothing,
    HashedText,
    LogMelAudio,
    ModelSpec,
    PatchPcaCodec,
    PretrainedBase,
    ThumbnailImage,
    WhisperAudio,
)
from training.model.text_encoders import HashedTextEncoder
from training.model.transformer import AudioWanTransformer3DModel
from training.model.weight_files import local_folder


@dataclass
class Components:
    """Everything between captions, pictures, sound, pixels and a velocity.

    Attributes:
        transformer: the only part that is trained.
        codec: pixels to latents and back.
        text_encoder: captions to states.
        image_encoder: a picture to states.
        audio_encoder: a recording to features.
    """

    transformer: AudioWanTransformer3DModel
    codec: VideoCodec
    text_encoder: TextEncoder
    image_encoder: ImageEncoder
    audio_encoder: AudioEncoder


@dataclass(frozen=True)
class Encoders:
    """Everything but the transformer: what turns a clip into tensors; as in `Components`."""

    codec: VideoCodec
    text_encoder: TextEncoder
    image_encoder: ImageEncoder
    audio_encoder: AudioEncoder


def load_encoders(
    spec: ModelSpec, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> Encoders:
    """Build codec and encoders alone, as precomputing needs them.

    Args:
        spec: what to build.
        device: where all of it goes.
        dtype: of pretrained encoders; the VAE stays in fp32.

    Returns:
        The parts, on one device.

    Raises:
        ModelError: a part is missing, incomplete, or does not fit the others.
    """
    return Encoders(
        text_encoder=_text_encoder(spec, device, dtype),
        image_encoder=_image_encoder(spec, device, dtype),
        audio_encoder=_audio_encoder(spec, device, dtype),
        codec=_codec(spec, device),
    )


def load_components(
    spec: ModelSpec, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> Components:
    """Build everything that a spec names.

    Args:
        spec: what to build.
        device: where all of it goes.
        dtype: of the transformer and of pretrained encoders; the VAE stays in fp32.

    Returns:
        The parts, on one device.

    Raises:
        ModelError: a part is missing, incomplete, or does not fit the others.
    """
    encoders = load_encoders(spec, device, dtype)
    transformer = load_transformer_of(
        spec,
        text_width=encoders.text_encoder.width,
        image_width=encoders.image_encoder.width,
        audio_num_layers=encoders.audio_encoder.num_layers,
        audio_feature_width=encoders.audio_encoder.width,
        device=device,
        dtype=dtype,
    )
    return Components(transformer, **vars(encoders))


def load_transformer_of(
    spec: ModelSpec,
    *,
    text_width: int,
    image_width: int,
    audio_num_layers: int,
    audio_feature_width: int,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> AudioWanTransformer3DModel:
    """Build the transformer of a spec alone, as training from precomputed latents needs it.

    Args:
        spec: what to build.
        text_width: D of the text encoder.
        image_width: D of the image encoder.
        audio_num_layers: S of the audio encoder.
        audio_feature_width: D of the audio encoder.
        device: where it goes.
        dtype: of its weights but for those that the base keeps in fp32.

    Returns:
        The transformer, with its adapter and LoRA.

    Raises:
        ModelError: the base, the adapter or the checkpoint does not fit.
    """
    if spec.transformer_checkpoint is not None:
        transformer = load_transformer(spec.transformer_checkpoint, device, dtype)
    elif isinstance(spec.base, BaseFromNothing):
        transformer = transformer_from_nothing(
            spec.base,
            spec.adapter,
            text_width=text_width,
            image_width=image_width,
            audio_num_layers=audio_num_layers,
            audio_feature_width=audio_feature_width,
            seed=spec.seed,
            device=device,
            dtype=dtype,
        )
    else:
        base = spec.base
        folder = local_folder(base.repo, base.revision, [base.transformer]) / base.transformer
        transformer = adapt_base(
            folder,
            spec.adapter,
            audio_num_layers=audio_num_layers,
            audio_feature_width=audio_feature_width,
            seed=spec.seed,
            device=device,
            dtype=dtype,
        )
    widths = {
        "text_dim": text_width,
        "image_dim": image_width,
        "audio_num_layers": audio_num_layers,
        "audio_feature_width": audio_feature_width,
    }
    for name, width in widths.items():
        if transformer.config[name] != width:
            raise ModelError(
                f"{name} of the transformer is {transformer.config[name]}, of the encoder {width}; "
                "give the spec the encoders that the transformer was made with"
            )
    if spec.adapter_checkpoint is not None:
        load_adapter(transformer, spec.adapter_checkpoint)
    if spec.lora_checkpoint is not None:
        load_lora(transformer, spec.lora_checkpoint)
    elif spec.lora is not None:
        add_lora(transformer, spec.lora, spec.seed)
    return transformer


def _pretrained_base(spec: ModelSpec, part: str) -> PretrainedBase:
    if isinstance(spec.base, PretrainedBase):
        return spec.base
    raise ModelError(
        f"a transformer from nothing with a pretrained {part}: there is no base to take it from; "
        "use tiny_spec's parts, or a pretrained base"
    )


def _text_encoder(spec: ModelSpec, device: torch.device | str, dtype: torch.dtype) -> TextEncoder:
    if isinstance(spec.text, HashedText):
        return HashedTextEncoder(spec.text.width, device)
    return umt5_encoder(spec.text, _pretrained_base(spec, "text encoder"), device, dtype)


def _image_encoder(spec: ModelSpec, device: torch.device | str, dtype: torch.dtype) -> ImageEncoder:
    if isinstance(spec.image, ThumbnailImage):
        return ThumbnailEncoder(spec.image.side_px, spec.image.patch_px, device)
    return clip_vision_encoder(spec.image, _pretrained_base(spec, "image encoder"), device, dtype)


def _audio_encoder(spec: ModelSpec, device: torch.device | str, dtype: torch.dtype) -> AudioEncoder:
    if isinstance(spec.audio, LogMelAudio):
        return LogMelEncoder(spec.audio.num_mels, spec.audio.moments_per_frame, device)
    if isinstance(spec.audio, WhisperAudio):
        return whisper_encoder(spec.audio, device, dtype)
    return wav2vec2_encoder(spec.audio, device, dtype)


def _codec(spec: ModelSpec, device: torch.device | str) -> VideoCodec:
    if isinstance(spec.codec, PatchPcaCodec):
        if spec.codec.file is None:
            return PatchCodec.of_smooth_video()
        return PatchCodec.load(spec.codec.file)
    return wan_codec(spec.codec, _pretrained_base(spec, "codec"), device)
