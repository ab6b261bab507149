"""Weights into memory, without running what is in them.

A pickle may execute anything. What is loaded here is safetensors, or a PyTorch file read with
``weights_only=True``, which builds tensors and plain containers and nothing else (safe since
torch 2.6, CVE-2025-32434). Archives of NumPy are read with ``allow_pickle=False`` where they are
used; ONNX holds no pickles.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stages.errors import StageError


def load_state_dict(path: Path, device: str = "cpu") -> dict[str, Any]:
    """Load tensors by name.

    Args:
        path: a ``.safetensors`` file, or a state dict as ``torch.save`` writes it, old or new.
        device: where the tensors go.

    Returns:
        Tensors by name.

    Raises:
        StageError: the file is damaged, is not a state dict, or would have to run code.
    """
    import torch

    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return dict(load_file(path, device=device))
        except SafetensorError as error:
            raise StageError(f"{path}: not a whole safetensors file: {error}") from error
    try:
        state = torch.load(path, map_location=device, weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        cause = str(error).partition("\n")[0] or type(error).__name__
        raise StageError(
            f"{path}: refused, it is damaged or holds more than tensors, and that would have to "
            f"be executed ({cause}). Use the file that the registry names (`curate weights list`)"
        ) from error
    if not isinstance(state, Mapping) or not all(map(torch.is_tensor, state.values())):
        raise StageError(f"{path}: refused, it holds {type(state).__name__} and not a state dict")
    return dict(state)
