"""A trained model as a folder that generation opens: its spec and what was trained of it.

```
model.json               the spec; its paths are relative to the folder
transformer/             a whole transformer, or
adapter/                 the adapter alone, on a base that did not change
lora/                    the LoRA, where there is one
patch_codec.safetensors  the tiny model's codec
```

Not here: the state of training, which is the trainer's.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from training.errors import ModelError
from training.model.components import Components
from training.model.loading import save_adapter, save_transformer
from training.model.lora import save_lora
from training.model.patch_codec import PatchCodec
from training.model.spec import BaseFromNothing, ModelSpec

SPEC_FILE = "model.json"
_CODEC_FILE = "patch_codec.safetensors"


def save_components(
    components: Components,
    spec: ModelSpec,
    folder: Path,
    *,
    whole: bool | None = None,
    state: Mapping[str, torch.Tensor] | None = None,
) -> None:
    """Write what `load_spec` and `components.load_components` make the same model of.

    Args:
        components: the model.
        spec: what it was built from.
        folder: where; model.json is written last.
        whole: the whole transformer, or the adapter alone; ``None``: the adapter alone where the
            base can be had elsewhere.
        state: the transformer's weights gathered from several devices, or averaged.

    Raises:
        ModelError: only the adapter is to be written of a transformer that no base gives, or a
            whole one with a LoRA in it.
    """
    from_nothing = isinstance(spec.base, BaseFromNothing)
    whole = from_nothing if whole is None else whole
    has_lora = spec.lora is not None or spec.lora_checkpoint is not None
    if not whole and from_nothing:
        raise ModelError(f"{folder}: a transformer from nothing has no base: save it whole")
    if whole and has_lora:
        raise ModelError(
            f"{folder}: a LoRA is saved beside its base: save the adapter alone, or merge it first"
        )
    changes: dict[str, Any] = {"transformer_checkpoint": None, "adapter_checkpoint": None}
    model = components.transformer
    if whole:
        save_transformer(model, folder / "transformer", state)
        changes["transformer_checkpoint"] = Path("transformer")
    else:
        save_adapter(model, folder / "adapter", state)
        changes["adapter_checkpoint"] = Path("adapter")
        changes["transformer_checkpoint"] = spec.transformer_checkpoint
    if has_lora:
        save_lora(model, folder / "lora", state)
        changes["lora_checkpoint"] = Path("lora")
    if isinstance(components.codec, PatchCodec):
        components.codec.save(folder / _CODEC_FILE)
        changes["codec"] = spec.codec.model_copy(update={"file": Path(_CODEC_FILE)})
    text = spec.model_copy(update=changes).model_dump_json(indent=2)
    part = folder / (SPEC_FILE + ".part")
    part.write_text(text + "\n")
    part.replace(folder / SPEC_FILE)


def load_spec(folder: Path) -> ModelSpec:
    """Read the spec of a saved model, its paths made absolute.

    Args:
        folder: where `save_components` wrote.

    Returns:
        The spec.

    Raises:
        ModelError: there is none, or it is of another version.
    """
    file = folder / SPEC_FILE
    try:
        spec = ModelSpec.model_validate_json(file.read_text())
    except OSError as error:
        raise ModelError(
            f"{file}: cannot be read ({error}); name a folder that training wrote"
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise ModelError(f"{file}: {place}: {first['msg']}; it is of another version") from error
    names = ("transformer_checkpoint", "adapter_checkpoint", "lora_checkpoint")
    changes: dict[str, Any] = {
        name: folder / path for name in names if (path := getattr(spec, name)) is not None
    }
    if spec.codec.kind == "patch" and spec.codec.file is not None:
        changes["codec"] = spec.codec.model_copy(update={"file": folder / spec.codec.file})
    return spec.model_copy(update=changes)
