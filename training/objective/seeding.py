"""Generators that depend on what is drawn for, never on who draws it.

Noise, sigma, task and dropped conditions of a sample follow from the seed of the run, the step and
the id of the clip. So the same step gives the same numbers on one device or on sixty-four, in one
micro-batch or in several, and after a restart.
"""

from __future__ import annotations

import hashlib

import torch


def generator_of(*parts: int | str) -> torch.Generator:
    """Return a CPU generator that is seeded by its parts.

    Args:
        *parts: for instance seed of the run, step, id of the clip, name of what is drawn; one
            purpose, one name, so that no two draws share their numbers.

    Returns:
        The generator; equal parts give equal generators on every machine.
    """
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    digest = hashlib.blake2b(text.encode("utf-8"), digest_size=8).digest()
    # manual_seed takes 64 bits; one is left out, for it reads the upper half as negative.
    return torch.Generator().manual_seed(int.from_bytes(digest, "big") >> 1)
