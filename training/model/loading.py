"""Transformers from bases, adapters and checkpoints, safe by construction.

``from_pretrained`` of a subclass with more parameters than its base leaves them on the meta device
or in raw memory and says nothing, because diffusers replaces every initialiser while it loads. So
the model is built on the meta device, every key of the base is matched by name and shape before a
tensor is read, every adapter tensor is written explicitly, and nothing may be left on meta.

Folders: a whole transformer is diffusers' layout with our class in its config.json; an adapter is
``adapter.safetensors`` with the additive keys alone beside ``adapter.json``. Not here: LoRA
(`lora.py`), what new weights are (`initialise.py`), the training state (the trainer's checkpoints).
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers.models.transformers.transformer_wan import WanRotaryPosEmbed
from safetensors.torch import save_file

from training.errors import ModelError
from training.model.initialise import initial_value
from training.model.spec import AdapterSpec, BaseFromNothing
from training.model.transformer import AudioWanTransformer3DModel
from training.model.transformer_checks import BASE_CLASSES, INPUT_CHANNELS, check_base_config
from training.model.weight_files import (
    WeightFiles,
    check_keys,
    find_weights,
    read_config,
    read_weights,
)

ADAPTER_PREFIXES = ("audio_projector.", "audio_blocks.")
"""Keys that are ours; every other key is the base's."""

_ADAPTER_STEM = "adapter"
_ADAPTER_CONFIG = "adapter.json"
_ADAPTER_FIELDS = (
    "audio_num_layers",
    "audio_feature_width",
    "audio_tokens_per_latent",
    "audio_width",
    "audio_hidden_width",
    "audio_context_frames",
    "audio_layers",
)


def adapt_base(
    folder: Path,
    adapter: AdapterSpec,
    *,
    audio_num_layers: int,
    audio_feature_width: int,
    seed: int,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> AudioWanTransformer3DModel:
    """Return a base with a new adapter, whose velocity is the base's to the last bit.

    Args:
        folder: the base's transformer in diffusers layout, Wan's or SkyReels-V2's.
        adapter: sizes of the adapter.
        audio_num_layers: S of the audio encoder.
        audio_feature_width: D of the audio encoder.
        seed: of the adapter's weights.
        device: where the model goes.
        dtype: of the weights but for those that the base keeps in fp32.

    Raises:
        ModelError: the folder is incomplete, or no base of this model.
    """
    config = read_config(folder)
    check_base_config(config, str(folder / "config.json"))
    known = inspect.signature(AudioWanTransformer3DModel.__init__).parameters
    model = _on_meta(
        {
            **{key: value for key, value in config.items() if key in known},
            **_adapter_config(adapter, audio_num_layers, audio_feature_width),
            "base_family": BASE_CLASSES[config["_class_name"]],
        },
        str(folder),
    )
    found = find_weights(folder)
    wanted = {key: shape for key, shape in _shapes(model).items() if not is_adapter_key(key)}
    check_keys(found, wanted, ignored=tuple(model._keys_to_ignore_on_load_unexpected))
    _fill(model, found, wanted, device, dtype)
    initialise(model, seed, device, dtype, adapter_only=True)
    return _finished(model, device)


def transformer_from_nothing(
    sizes: BaseFromNothing,
    adapter: AdapterSpec,
    *,
    text_width: int,
    image_width: int,
    audio_num_layers: int,
    audio_feature_width: int,
    seed: int,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> AudioWanTransformer3DModel:
    """Return a small transformer with random weights, the same for the same seed.

    Args:
        sizes: of the base.
        adapter: sizes of the adapter.
        text_width: D of the text encoder.
        image_width: D of the image encoder.
        audio_num_layers: S of the audio encoder.
        audio_feature_width: D of the audio encoder.
        seed: of all weights.
        device: where the model goes.
        dtype: of the weights.
    """
    width = sizes.num_heads * sizes.head_width
    config = {
        "num_attention_heads": sizes.num_heads,
        "attention_head_dim": sizes.head_width,
        "in_channels": INPUT_CHANNELS,
        "text_dim": text_width,
        "freq_dim": sizes.freq_width,
        "ffn_dim": sizes.ffn_width,
        "num_layers": sizes.num_layers,
        "image_dim": image_width,
        "added_kv_proj_dim": width,
        "base_family": sizes.family,
        **_adapter_config(adapter, audio_num_layers, audio_feature_width),
    }
    model = _on_meta(config, "a transformer from nothing")
    initialise(model, seed, device, dtype)
    return _finished(model, device)


def save_transformer(
    model: AudioWanTransformer3DModel,
    folder: Path,
    state: Mapping[str, torch.Tensor] | None = None,
) -> None:
    """Write a whole transformer in diffusers layout, as safetensors.

    Args:
        model: whose configuration is written, and whose weights if `state` is ``None``.
        folder: where.
        state: weights gathered from several devices.
    """
    model.save_pretrained(folder, state_dict=dict(state) if state else None)


def load_transformer(
    folder: Path, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> AudioWanTransformer3DModel:
    """Read a whole transformer that `save_transformer` wrote.

    Args:
        folder: where.
        device: where the model goes.
        dtype: of the weights but for those that the base keeps in fp32.

    Raises:
        ModelError: the folder is incomplete, or no whole checkpoint of this model.
    """
    config = read_config(folder)
    if config.get("_class_name") != AudioWanTransformer3DModel.__name__:
        raise ModelError(
            f"{folder}: holds a {config.get('_class_name')}, no whole checkpoint of the adapted "
            "model; a base is loaded with adapt_base, an adapter with load_adapter"
        )
    known = inspect.signature(AudioWanTransformer3DModel.__init__).parameters
    model = _on_meta({key: value for key, value in config.items() if key in known}, str(folder))
    found = find_weights(folder)
    wanted = _shapes(model)
    check_keys(found, wanted)
    _fill(model, found, wanted, device, dtype)
    return _finished(model, device)


def save_adapter(
    model: AudioWanTransformer3DModel,
    folder: Path,
    state: Mapping[str, torch.Tensor] | None = None,
) -> None:
    """Write the additive keys alone, with the sizes they need.

    Args:
        model: whose adapter is written.
        folder: where.
        state: weights gathered from several devices; others than the adapter's are left out.
    """
    folder.mkdir(parents=True, exist_ok=True)
    source = model.state_dict() if state is None else state
    weights = {
        key: tensor.detach().cpu().contiguous()
        for key, tensor in source.items()
        if is_adapter_key(key)
    }
    save_file(weights, folder / f"{_ADAPTER_STEM}.safetensors", metadata={"format": "pt"})
    config = {name: model.config[name] for name in _ADAPTER_FIELDS}
    (folder / _ADAPTER_CONFIG).write_text(json.dumps(config, indent=2) + "\n")


def load_adapter(model: AudioWanTransformer3DModel, folder: Path) -> None:
    """Replace a model's adapter by a saved one.

    Args:
        model: of the same sizes.
        folder: where `save_adapter` wrote.

    Raises:
        ModelError: the folder is incomplete or its sizes are not the model's.
    """
    file = folder / _ADAPTER_CONFIG
    try:
        config = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise ModelError(f"{file}: cannot be read ({error}); name a saved adapter") from error
    for name in _ADAPTER_FIELDS:
        own, saved = model.config[name], config.get(name)
        own = list(own) if isinstance(own, tuple) else own
        if saved != own:
            raise ModelError(
                f"{file}: {name} is {saved}, the model's {own}; give the model the adapter's sizes "
                "and the audio encoder it was trained with"
            )
    found = find_weights(folder, _ADAPTER_STEM)
    wanted = {key: shape for key, shape in _shapes(model).items() if is_adapter_key(key)}
    check_keys(found, wanted)
    own_state = model.state_dict()
    with torch.no_grad():
        for key, tensor in read_weights(found, wanted):
            own_state[key].copy_(tensor)


def is_adapter_key(key: str) -> bool:
    """Say whether a parameter is the adapter's and not the base's.

    Args:
        key: name of the parameter.
    """
    return key.startswith(ADAPTER_PREFIXES)


def initialise(
    model: AudioWanTransformer3DModel,
    seed: int,
    device: torch.device | str,
    dtype: torch.dtype,
    *,
    adapter_only: bool = False,
) -> None:
    """Write new weights over a model's, on the meta device or not; each depends on seed and key.

    Args:
        model: whose weights.
        seed: of the weights.
        device: where they go.
        dtype: of the weights but for those that the base keeps in fp32.
        adapter_only: whether the base keeps its own.
    """
    for key, shape in _shapes(model).items():
        if is_adapter_key(key) or not adapter_only:
            _place(model, key, initial_value(key, shape, seed), device, dtype)


def _adapter_config(
    adapter: AdapterSpec, audio_num_layers: int, audio_feature_width: int
) -> dict[str, Any]:
    return {
        **adapter.model_dump(),
        "audio_num_layers": audio_num_layers,
        "audio_feature_width": audio_feature_width,
    }


def _on_meta(config: dict[str, Any], place: str) -> AudioWanTransformer3DModel:
    layers, num_layers = config.get("audio_layers"), config.get("num_layers", 40)
    if layers is not None:
        outside = [layer for layer in layers if not 0 <= layer < num_layers]
        if outside or len(set(layers)) != len(layers) or not layers:
            raise ModelError(
                f"{place}: audio_layers {list(layers)} for a model of {num_layers} blocks; name "
                f"blocks from 0 to {num_layers - 1}, each once, or leave it out for all of them"
            )
    with torch.device("meta"):
        return AudioWanTransformer3DModel(**config)


def _shapes(model: AudioWanTransformer3DModel) -> dict[str, tuple[int, ...]]:
    return {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}


def _fill(
    model: AudioWanTransformer3DModel,
    found: WeightFiles,
    wanted: Mapping[str, tuple[int, ...]],
    device: torch.device | str,
    dtype: torch.dtype,
) -> None:
    for key, tensor in read_weights(found, wanted):
        _place(model, key, tensor, device, dtype)


def _place(
    model: AudioWanTransformer3DModel,
    key: str,
    tensor: torch.Tensor,
    device: torch.device | str,
    dtype: torch.dtype,
) -> None:
    """Put a weight into the model, in fp32 where the base wants it (a part of its key says so)."""
    in_fp32 = not set(key.split(".")).isdisjoint(model._keep_in_fp32_modules)
    owner, _, name = key.rpartition(".")
    placed = tensor.to(device, torch.float32 if in_fp32 else dtype)
    setattr(model.get_submodule(owner), name, torch.nn.Parameter(placed))


def _finished(
    model: AudioWanTransformer3DModel, device: torch.device | str
) -> AudioWanTransformer3DModel:
    """Make the position tables, which no file holds, and assert that nothing is left on meta."""
    config = model.config
    model.rope = WanRotaryPosEmbed(
        config.attention_head_dim, config.patch_size, config.rope_max_seq_len
    ).to(device)
    tensors = [*model.named_parameters(), *model.named_buffers()]
    left = [name for name, tensor in tensors if tensor.is_meta]
    if left:
        raise ModelError(f"{len(left)} weights were never written, first {left[0]}")
    return model.eval()
