"""Context parallelism: several devices share the tokens of one clip; the model knows nothing of it.

Hooks cut the tokens before the first block and put them together after the last projection.
Self-attention takes its own queries against the keys and values of all devices, which are gathered
(the way of Llama 3's training, Dubey et al. 2024, arXiv 2407.21783, section 3.3.2); all else works
token by token, or hears text, image and audio that every device has. Gathering sends gradients back
summed, at the end too, where every device has the same loss: so each gradient is the clip's, times
the number of devices, as if each had taken the clip alone, and a step's mean over ranks holds.

Not here: who shares a clip (`world.py`).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.distributed._functional_collectives import all_gather_tensor_autograd

from training.errors import SettingError
from training.objective.curriculum import Phase
from training.trainer.world import World


def check_phase(phase: Phase, num_devices: int) -> None:
    """Refuse a phase whose latent frames do not divide: audio attention takes whole ones.

    Args:
        phase: of the curriculum.
        num_devices: that share a clip.

    Raises:
        SettingError: they do not.
    """
    for num_frames in phase.num_frames:
        num_latents = (num_frames - 1) // 4 + 1
        if num_latents % num_devices:
            more = -(-num_latents // num_devices) * num_devices
            raise SettingError(
                f"phase {phase.name}: {num_frames} frames are {num_latents} latent frames, which "
                f"{num_devices} devices cannot share; {4 * (more - 1) + 1} frames can be"
            )
    if phase.picture_ratio > 0:
        raise SettingError(
            f"phase {phase.name}: a picture is one latent frame, which {num_devices} devices "
            "cannot share; set picture_ratio to 0"
        )


def share_tokens(transformer: Any, world: World) -> None:
    """Let the devices of a context group share each clip's tokens.

    Args:
        transformer: before it is sharded.
        world: the ranks; nothing happens where each takes its own clips.
    """
    if world.clip_ranks == 1:
        return
    part, parts, group = world.context_rank, world.clip_ranks, world.context_group

    def own(x: torch.Tensor) -> torch.Tensor:
        return x.chunk(parts, dim=1)[part].contiguous()

    def cut_positions(module: nn.Module, given: Any, positions: Any) -> Any:
        return tuple(own(of_axis) for of_axis in positions)

    def cut_tokens(module: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
        return (own(given[0]), *given[1:])

    def put_together(module: nn.Module, given: Any, tokens: torch.Tensor) -> torch.Tensor:
        return _gathered(tokens, group)

    transformer.rope.register_forward_hook(cut_positions)
    transformer.blocks[0].register_forward_pre_hook(cut_tokens)
    transformer.proj_out.register_forward_hook(put_together)
    transformer.sequence_part = (part, parts)
    for block in transformer.blocks:
        block.attn1.set_processor(SharedSelfAttention(group))


class SharedSelfAttention:
    """Self-attention of Wan with own queries and everybody's keys and values.

    The computation is that of diffusers' ``WanAttnProcessor`` for self-attention.

    Args:
        group: the devices that share a clip.
    """

    _attention_backend = None
    _parallel_config = None

    def __init__(self, group: Any) -> None:
        self.group = group

    def __call__(
        self,
        attn: Any,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        rotary_emb: tuple[torch.Tensor, torch.Tensor] | None = None,
    ) -> torch.Tensor:
        """Attend with own queries to everybody's keys.

        Args:
            attn: Wan's attention.
            hidden_states: own tokens [B, N / devices, D].
            encoder_hidden_states: ``None``, for it is self-attention.
            attention_mask: ``None``.
            rotary_emb: cosines and sines of the own tokens' positions.

        Returns:
            What is heard, for the own tokens.
        """
        q = attn.norm_q(attn.to_q(hidden_states)).unflatten(2, (attn.heads, -1))
        k = attn.norm_k(attn.to_k(hidden_states)).unflatten(2, (attn.heads, -1))
        v = attn.to_v(hidden_states).unflatten(2, (attn.heads, -1))
        if rotary_emb is not None:
            q, k = _rotated(q, *rotary_emb), _rotated(k, *rotary_emb)
        k, v = _gathered(k, self.group), _gathered(v, self.group)
        heard = F.scaled_dot_product_attention(*(x.transpose(1, 2) for x in (q, k, v)))
        return attn.to_out[1](attn.to_out[0](heard.transpose(1, 2).flatten(2, 3).type_as(q)))


def _rotated(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotate neighbouring channels, as diffusers' Wan does."""
    even, odd = x.unflatten(-1, (-1, 2)).unbind(-1)
    cos, sin = cos[..., 0::2], sin[..., 1::2]
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), -1).flatten(-2).type_as(x)


def _gathered(x: torch.Tensor, group: Any) -> torch.Tensor:
    """Return the tokens of all devices, dimension 1; gradients come back summed."""
    return torch.ops._c10d_functional.wait_tensor(
        all_gather_tensor_autograd(x.contiguous(), 1, group)
    )
