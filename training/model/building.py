"""Building a transformer on the meta device and writing every weight of it, one by one.

Not here: where the weights come from (`loading.py`, `weight_files.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from diffusers.models.transformers.transformer_wan import WanRotaryPosEmbed

from training.errors import ModelError
from training.model.initialise import initial_value
from training.model.transformer import AudioWanTransformer3DModel
from training.model.weight_files import WeightFiles, read_weights

ADAPTER_PREFIXES = ("audio_projector.", "audio_blocks.")
"""Keys that are ours; every other key is the base's."""


def is_adapter_key(key: str) -> bool:
    """Whether a parameter is the adapter's and not the base's.

    Args:
        key: name of the parameter.

    Returns:
        True for ``audio_projector.*`` and ``audio_blocks.*``.
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
    for key, shape in shapes_of(model).items():
        if is_adapter_key(key) or not adapter_only:
            place(model, key, initial_value(key, shape, seed), device, dtype)


def on_meta(config: dict[str, Any], place: str) -> AudioWanTransformer3DModel:
    """Build a model without memory.

    Args:
        config: arguments of `AudioWanTransformer3DModel`.
        place: where they come from, for the message.

    Returns:
        The model, every parameter and buffer on the meta device.

    Raises:
        ModelError: audio is to be heard in blocks that there are not.
    """
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


def shapes_of(model: AudioWanTransformer3DModel) -> dict[str, tuple[int, ...]]:
    """List a model's weights.

    Args:
        model: on the meta device or not.

    Returns:
        Shape by key.
    """
    return {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}


def fill(
    model: AudioWanTransformer3DModel,
    found: WeightFiles,
    wanted: Mapping[str, tuple[int, ...]],
    device: torch.device | str,
    dtype: torch.dtype,
) -> None:
    """Read weights from checked files into a model.

    Args:
        model: that gets them.
        found: checked files.
        wanted: which keys.
        device: where they go.
        dtype: of the weights but for those that the base keeps in fp32.
    """
    for key, tensor in read_weights(found, wanted):
        place(model, key, tensor, device, dtype)


def place(
    model: AudioWanTransformer3DModel,
    key: str,
    tensor: torch.Tensor,
    device: torch.device | str,
    dtype: torch.dtype,
) -> None:
    """Put a weight into the model, in fp32 where the base wants it (a part of its key says so).

    Args:
        model: that gets it.
        key: its name.
        tensor: its value.
        device: where it goes.
        dtype: of the weight otherwise.
    """
    in_fp32 = not set(key.split(".")).isdisjoint(model._keep_in_fp32_modules)
    owner, _, name = key.rpartition(".")
    # A copy: a tensor that a file still backs is rarely aligned, and then other kernels run, whose
    # last bits differ.
    placed = tensor.to(device, torch.float32 if in_fp32 else dtype, copy=True)
    setattr(model.get_submodule(owner), name, torch.nn.Parameter(placed))


def finished(
    model: AudioWanTransformer3DModel, device: torch.device | str
) -> AudioWanTransformer3DModel:
    """Make the position tables, which no file holds, and assert that nothing is left on meta.

    Args:
        model: every parameter of which was written.
        device: where it is.

    Returns:
        The same model, ready.

    Raises:
        ModelError: a weight was never written.
    """
    config = model.config
    model.rope = WanRotaryPosEmbed(
        config.attention_head_dim, config.patch_size, config.rope_max_seq_len
    ).to(device)
    tensors = [*model.named_parameters(), *model.named_buffers()]
    left = [name for name, tensor in tensors if tensor.is_meta]
    if left:
        raise ModelError(f"{len(left)} weights were never written, first {left[0]}")
    return model.eval()
