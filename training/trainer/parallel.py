"""How a model is spread and sped up, from outside: it knows nothing of any of it.

FSDP2 shards parameters over the ranks, block by block; recompute drops activations; compile fuses
each block. Not here: context parallelism (`context_parallel.py`).
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

from training.trainer.world import World

Precision = Literal["fp32", "bf16"]


def shard(transformer: nn.Module, world: World, precision: Precision) -> None:
    """Shard parameters, gradients and moments over all ranks (FSDP2); one rank: nothing to do.

    Each rank holds its share of every parameter in the parameter's own type, float32 for what
    moves, and gathers one block at a time. With ``bf16`` blocks that move are gathered in bfloat16
    and their gradients summed in float32; frozen blocks, whose type is settled (`set_types`), and
    what lies outside of blocks (embeddings of time, text and image, the audio projector, the last
    projection), which is small, are gathered as they are. What a block is given keeps its type:
    FSDP2 would else round rotary positions and the modulation, which Wan computes in float32.

    Args:
        transformer: after `set_trainable`, on its device.
        world: the ranks.
        precision: of the computation.
    """
    if world.size == 1:
        return
    mesh = init_device_mesh(world.device.type, (world.size,), mesh_dim_names=("shard",))
    as_it_is = MixedPrecisionPolicy()
    lower = MixedPrecisionPolicy(
        param_dtype=torch.bfloat16, reduce_dtype=torch.float32, cast_forward_inputs=False
    )
    for block in _blocks(transformer):
        moves = any(parameter.requires_grad for parameter in block.parameters())
        policy = lower if moves and precision == "bf16" else as_it_is
        fully_shard(block, mesh=mesh, mp_policy=policy)
    fully_shard(transformer, mesh=mesh)


def recompute(transformer: Any) -> None:
    """Keep only the input of each block, and compute the rest again on the way back."""
    transformer.enable_gradient_checkpointing()


def compile_blocks(transformer: nn.Module) -> None:
    """Compile each block by itself, in place: equal blocks share one compilation."""
    for block in _blocks(transformer):
        block.compile()


def autocast(world: World, precision: Precision) -> torch.autocast:
    """Return the context of a forward pass: matrix products in bfloat16, norms and sums in fp32."""
    return torch.autocast(world.device.type, torch.bfloat16, enabled=precision == "bf16")


def _blocks(transformer: nn.Module) -> list[nn.Module]:
    """The transformer's blocks and the adapter's, in the order of the forward pass."""
    lists = [getattr(transformer, name, None) for name in ("blocks", "audio_blocks")]
    return [block for blocks in lists if blocks is not None for block in blocks.children()]
