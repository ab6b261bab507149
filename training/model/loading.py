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
from safetensors.torch import save_file

from training.errors import ModelError
from training.model.building import (
    fill,
    finished,
    initialise,
    is_adapter_key,
    on_meta,
    shapes_of,
)
from training.model.spec import AdapterSpec, BaseFromNothing
from training.model.transformer import AudioWanTransformer3DModel
from training.model.transformer_checks import BASE_CLASSES, INPUT_CHANNELS, check_base_config
from training.model.weight_files import (
    check_keys,
    find_weights,
    read_config,
    read_weights,
    write_weights,
)

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
    """Load a base and give it a new adapter; the velocity is the base's to the last bit.

    Args:
        folder: the base's transformer in diffusers layout, Wan's or SkyReels-V2's.
        adapter: sizes of the adapter.
        audio_num_layers: S of the audio encoder.
        audio_feature_width: D of the audio encoder.
        seed: of the adapter's weights.
        device: where the model goes.
        dtype: of the weights but for those that the base keeps in fp32.

    Returns:
        The adapted model.

    Raises:
        ModelError: the folder is incomplete, or no base of this model.
    """
    config = read_config(folder)
    check_base_config(config, str(folder / "config.json"))
    known = inspect.signature(AudioWanTransformer3DModel.__init__).parameters
    model = on_meta(
        {
            **{key: value for key, value in config.items() if key in known},
            **_adapter_config(adapter, audio_num_layers, audio_feature_width),
            "base_family": BASE_CLASSES[config["_class_name"]],
        },
        str(folder),
    )
    found = find_weights(folder)
    wanted = {key: shape for key, shape in shapes_of(model).items() if not is_adapter_key(key)}
    check_keys(found, wanted, ignored=tuple(model._keys_to_ignore_on_load_unexpected))
    fill(model, found, wanted, device, dtype)
    initialise(model, seed, device, dtype, adapter_only=True)
    return finished(model, device)


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
    """Make a small transformer with random weights, the same for the same seed.

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

    Returns:
        The model.
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
    model = on_meta(config, "a transformer from nothing")
    initialise(model, seed, device, dtype)
    return finished(model, device)


def save_transformer(
    model: AudioWanTransformer3DModel,
    folder: Path,
    state: Mapping[str, torch.Tensor] | None = None,
    max_shard_size: str = "5GB",
) -> None:
    """Write a whole transformer in diffusers layout, as safetensors.

    Args:
        model: whose configuration is written, and whose weights if `state` is ``None``.
        folder: where.
        state: weights gathered from several devices, or averaged.
        max_shard_size: of a file.

    Raises:
        ModelError: the weights are not this model's.
    """
    weights = model.state_dict() if state is None else state
    if weights.keys() != model.state_dict().keys():
        odd = sorted(weights.keys() ^ model.state_dict().keys())
        raise ModelError(f"{folder}: {len(odd)} weights too many or too few, first {odd[0]}")
    write_weights(folder, weights, max_shard_size)
    model.save_config(folder)


def load_transformer(
    folder: Path, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> AudioWanTransformer3DModel:
    """Read a whole transformer that `save_transformer` wrote.

    Args:
        folder: where.
        device: where the model goes.
        dtype: of the weights but for those that the base keeps in fp32.

    Returns:
        The model.

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
    model = on_meta({key: value for key, value in config.items() if key in known}, str(folder))
    found = find_weights(folder)
    wanted = shapes_of(model)
    check_keys(found, wanted)
    fill(model, found, wanted, device, dtype)
    return finished(model, device)


def save_adapter(
    model: AudioWanTransformer3DModel,
    folder: Path,
    state: Mapping[str, torch.Tensor] | None = None,
) -> None:
    """Write the additive keys alone, with the sizes they need.

    Args:
        model: whose adapter is written.
        folder: where.
        state: weights gathered from several devices, or averaged; only the adapter's are taken.
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
    wanted = {key: shape for key, shape in shapes_of(model).items() if is_adapter_key(key)}
    check_keys(found, wanted)
    own_state = model.state_dict()
    with torch.no_grad():
        for key, tensor in read_weights(found, wanted):
            own_state[key].copy_(tensor)


def _adapter_config(
    adapter: AdapterSpec, audio_num_layers: int, audio_feature_width: int
) -> dict[str, Any]:
    return {
        **adapter.model_dump(),
        "audio_num_layers": audio_num_layers,
        "audio_feature_width": audio_feature_width,
    }
