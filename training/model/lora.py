"""Low-rank updates of the base's blocks, through peft and diffusers.

The audio adapter gets none: it is trained itself. Files are diffusers' own, so that they load into
a bare Wan pipeline too. Not here: which parameters a phase trains.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from diffusers.loaders.lora_base import LORA_ADAPTER_METADATA_KEY
from safetensors import SafetensorError
from safetensors.torch import save_file

from training.errors import ModelError
from training.model.spec import LoraSpec
from training.model.transformer import AudioWanTransformer3DModel

LORA_FILE = "pytorch_lora_weights.safetensors"
"""diffusers' name."""

_NAME = "default"


def add_lora(model: AudioWanTransformer3DModel, lora: LoraSpec, seed: int) -> None:
    """Add updates that start as zero; peft freezes the base's own weights, and ours stay as set.

    Args:
        model: that gets them.
        lora: rank, weight and targets.
        seed: of their random half.

    Raises:
        ModelError: a target is no linear layer of the base's blocks.
    """
    from peft import LoraConfig

    layers = {
        name for name, module in model.blocks.named_modules() if isinstance(module, torch.nn.Linear)
    }
    for target in lora.targets:
        if not any(layer.endswith(f".{target}") for layer in layers):
            some = sorted({layer.split(".", 1)[1] for layer in layers})
            raise ModelError(
                f"LoRA target {target} is no linear layer of the base's blocks; they have "
                + ", ".join(some)
            )
    trainable = {name: p.requires_grad for name, p in model.named_parameters()}
    names = "|".join(target.replace(".", r"\.") for target in lora.targets)
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        target_modules=rf"blocks\.\d+\.(?:.*\.)?(?:{names})",
        init_lora_weights=True,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model.add_adapter(config, adapter_name=_NAME)
    for name, parameter in model.named_parameters():
        if name.startswith("audio_"):
            parameter.requires_grad_(trainable[name])


def save_lora(
    model: AudioWanTransformer3DModel,
    folder: Path,
    state: Mapping[str, torch.Tensor] | None = None,
) -> None:
    """Write the updates alone.

    Args:
        model: that has them.
        folder: where.
        state: weights gathered from several devices, or averaged.
    """
    from peft.utils import get_peft_model_state_dict

    updates = get_peft_model_state_dict(
        model, state_dict=None if state is None else dict(state), adapter_name=_NAME
    )
    config = {
        key: sorted(value) if isinstance(value, set) else value
        for key, value in model.peft_config[_NAME].to_dict().items()
    }
    folder.mkdir(parents=True, exist_ok=True)
    save_file(
        {key: tensor.detach().cpu().contiguous() for key, tensor in updates.items()},
        folder / LORA_FILE,
        metadata={"format": "pt", LORA_ADAPTER_METADATA_KEY: json.dumps(config, sort_keys=True)},
    )


def load_lora(model: AudioWanTransformer3DModel, folder: Path) -> None:
    """Add saved updates to a model that has none.

    Args:
        model: of the same base.
        folder: where `save_lora` wrote.

    Raises:
        ModelError: they are missing, damaged, or another model's.
    """
    try:
        model.load_lora_adapter(
            folder, prefix=None, weight_name=LORA_FILE, adapter_name=_NAME, use_safetensors=True
        )
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelError(
            f"{folder / LORA_FILE}: no LoRA of this model can be read ({first}); name a folder "
            "written by save_lora, for the same base"
        ) from error
