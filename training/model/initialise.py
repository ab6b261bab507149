"""What a weight is before it is trained: a function of seed, key and shape.

Each weight has a generator of its own, so that it does not depend on which others there are, on
the device, or on how the model is built. Linear layers are Xavier-uniform with zero biases and the
heads are zero, as Wan initialises its own (Wan-Video/Wan2.1, ``wan/modules/model.py``).
"""

from __future__ import annotations

import math
from hashlib import blake2b

import torch

_ZERO_AT_START = (".o.weight", "proj_out.weight", ".bias")
"""Audio output projections, so that the adapted model starts as its base; its head, biases."""

_NARROW = ("condition_embedder.text_embedder.", "condition_embedder.time_embedder.")
"""Embedders that Wan draws from a normal distribution of deviation 0.02."""


def initial_value(key: str, shape: tuple[int, ...], seed: int) -> torch.Tensor:
    """A weight before training.

    Args:
        key: its name in the model.
        shape: of the weight.
        seed: of the model.

    Returns:
        The weight in fp32 on the CPU.
    """
    if key.endswith(_ZERO_AT_START):
        return torch.zeros(shape)
    if key.endswith(".weight") and "norm" in key.split(".")[-2]:
        return torch.ones(shape)
    digest = blake2b(f"{seed}/{key}".encode(), digest_size=7).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest))
    if key.endswith("scale_shift_table"):
        return torch.randn(shape, generator=generator) / math.sqrt(shape[-1])
    if key.startswith(_NARROW):
        return torch.randn(shape, generator=generator) * 0.02
    fan_out, fan_in = shape[0], math.prod(shape[1:])
    bound = math.sqrt(6 / (fan_in + fan_out))
    return torch.empty(shape).uniform_(-bound, bound, generator=generator)
