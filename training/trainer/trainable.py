"""Which parameters a phase moves, by their names; the names are diffusers' and ours.

Not here: which phase moves what (`training.objective.curriculum.Trainable`), and how LoRA is put
into the base (`training.model.loading`).
"""

from __future__ import annotations

import re

from torch import nn

from training.errors import ModelError
from training.objective.curriculum import Trainable

_ADAPTER = re.compile(r"(^|\.)(audio_projector|audio_blocks)\.")
_LORA = re.compile(r"\.lora_[A-Za-z_]+\.")
_TEXT_ATTENTION = re.compile(
    r"(^|\.)blocks\.\d+\.attn2\.(?!add_k_proj|add_v_proj|norm_added_k)"
    r"|(^|\.)condition_embedder\.text_embedder\."
)
"""The image's own keys and values (``add_k_proj``, ``add_v_proj``) lie in the same module and are
not text; query and output are shared by both and count as text."""


def is_adapter(name: str) -> bool:
    """Return whether a parameter belongs to the audio adapter."""
    return bool(_ADAPTER.search(name))


def is_lora(name: str) -> bool:
    """Return whether a parameter is a low-rank addition to the base."""
    return bool(_LORA.search(name))


def is_text_attention(name: str) -> bool:
    """Return whether a parameter belongs to the text's cross-attention."""
    return bool(_TEXT_ATTENTION.search(name))


def is_trainable(name: str, trainable: Trainable) -> bool:
    """Return whether a phase moves a parameter.

    Args:
        name: its name in the transformer.
        trainable: what the phase moves.

    Returns:
        True if it does.
    """
    if trainable is Trainable.ADAPTER:
        return is_adapter(name)
    if trainable is Trainable.ADAPTER_AND_LORA:
        return is_adapter(name) or is_lora(name)
    if trainable is Trainable.ALL_BUT_TEXT_ATTENTION:
        return is_lora(name) or not is_text_attention(name)
    return True


def set_trainable(transformer: nn.Module, trainable: Trainable) -> dict[str, nn.Parameter]:
    """Let gradients flow to what a phase moves, and to nothing else.

    Args:
        transformer: the model; before it is sharded, for FSDP2 remembers what is frozen.
        trainable: what the phase moves.

    Returns:
        The parameters that move, by name.

    Raises:
        ModelError: nothing moves, or the phase wants LoRA and the model has none.
    """
    moving = {}
    for name, parameter in transformer.named_parameters():
        parameter.requires_grad_(is_trainable(name, trainable))
        if parameter.requires_grad:
            moving[name] = parameter
    if not moving:
        raise ModelError(f"trainable = {trainable.value!r}: the model has no such parameters")
    if trainable is Trainable.ADAPTER_AND_LORA and not any(map(is_lora, moving)):
        raise ModelError(
            f"trainable = {trainable.value!r}: the model has no LoRA; set model.lora_rank"
        )
    return moving
