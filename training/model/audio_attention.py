"""Cross-attention from video tokens to audio tokens, with rotary positions in latent time.

Placed after the block's text and image attention and before its feed-forward network, as the
paper's framework figure draws it. Queries and keys are normalised per head; the output projection
starts as zero and has no bias, so that the adapted model starts as its base, and video outside of
every speaker's region hears nothing.

Two scopes share one set of weights: ``window``, where a latent frame hears the tokens of its own
window (MultiTalk), and ``clip``, where it hears those of the whole clip and rotary positions tell
it when they sound (FantasyTalking's first stage). Rotations depend on differences of positions
only, so in the window scope the queries of latent frame k need none: its keys are rotated by their
distance from k.

Shape letters beside those of `interfaces`: N video tokens, P video tokens of one latent frame,
G heads, E width of a head, R rotated pairs of a head.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from diffusers.models.normalization import FP32LayerNorm
from torch import nn

from training.errors import ModelError
from training.model.audio_windows import audio_positions

AudioScope = Literal["window", "clip"]

ROPE_THETA = 10_000.0
"""Base of the rotary frequencies, the video's own (diffusers, ``WanRotaryPosEmbed``)."""

Rotation = tuple[torch.Tensor, torch.Tensor]
"""Cosines and sines, one a rotated pair."""


@dataclass(frozen=True)
class AudioContext:
    """What every audio attention of one forward pass sees.

    Attributes:
        tokens_BAKMD: audio tokens, a speaker on A.
        region_BAN: share of each video token that belongs to a speaker; ``None``: all of it.
        scope: what a latent frame hears.
        query_rotation_KR: of the latent frames; ``None`` in the window scope.
        key_rotation_KMR: of the audio tokens.
    """

    tokens_BAKMD: torch.Tensor
    region_BAN: torch.Tensor | None
    scope: AudioScope
    query_rotation_KR: Rotation | None
    key_rotation_KMR: Rotation

    def part(self, rank: int, world_size: int) -> AudioContext:
        """Cut out what one of several devices needs when the video tokens are split over them.

        Args:
            rank: which part of the video tokens.
            world_size: number of parts, a divisor of the latent frames.

        Returns:
            The same context for that part of the video tokens.

        Raises:
            ModelError: the parts would cut through a latent frame.
        """
        num_latents = self.tokens_BAKMD.shape[2]
        if num_latents % world_size:
            raise ModelError(
                f"{num_latents} latent frames on {world_size} devices: audio attention takes whole "
                "latent frames; choose a length or a number of devices that divides"
            )
        own_K = slice(
            rank * num_latents // world_size,
            (rank + 1) * num_latents // world_size,
        )
        region = None
        if self.region_BAN is not None:
            region = self.region_BAN.chunk(world_size, dim=2)[rank]
        if self.query_rotation_KR is not None:
            cos, sin = self.query_rotation_KR
            return replace(self, region_BAN=region, query_rotation_KR=(cos[own_K], sin[own_K]))
        cos, sin = self.key_rotation_KMR
        return replace(
            self,
            tokens_BAKMD=self.tokens_BAKMD[:, :, own_K],
            region_BAN=region,
            key_rotation_KMR=(cos[own_K], sin[own_K]),
        )


def audio_context(
    tokens_BAKMD: torch.Tensor,
    region_BAN: torch.Tensor | None,
    scope: AudioScope,
    positions_K: torch.Tensor,
    head_width: int,
) -> AudioContext:
    """Place audio tokens in time for one forward pass.

    Args:
        tokens_BAKMD: audio tokens.
        region_BAN: share of each video token that belongs to a speaker, or ``None``.
        scope: what a latent frame hears.
        positions_K: position of each latent frame, 0 for the first of a window.
        head_width: E.

    Returns:
        The context that every block's audio attention is given.
    """
    key_KM = audio_positions(positions_K, tokens_BAKMD.shape[3])
    if scope == "window":
        distance_KM = key_KM - positions_K.float()[:, None]
        return AudioContext(
            tokens_BAKMD, region_BAN, scope, None, rotation(distance_KM, head_width)
        )
    return AudioContext(
        tokens_BAKMD,
        region_BAN,
        scope,
        rotation(positions_K.float(), head_width),
        rotation(key_KM, head_width),
    )


def temporal_width(head_width: int) -> int:
    """How much of a head the video's rotary embedding gives to time.

    Args:
        head_width: E; of 128, time has 44 and height and width 42 each (diffusers).

    Returns:
        Channels, an even number.
    """
    return head_width - 2 * (2 * (head_width // 6))


def rotation(positions: torch.Tensor, head_width: int) -> Rotation:
    """Angles of rotary positions; channel pair r turns by position * theta ** (-r / R).

    Args:
        positions: in latent frames, fractions allowed.
        head_width: E.

    Returns:
        Cosines and sines [..., R], R = half a head's temporal part.
    """
    num_pairs = temporal_width(head_width) // 2
    pair_R = torch.arange(num_pairs, device=positions.device, dtype=torch.float32)
    angle = positions.float()[..., None] * ROPE_THETA ** (-pair_R / num_pairs)
    return angle.cos(), angle.sin()


def rotate(x: torch.Tensor, rotation_R: Rotation) -> torch.Tensor:
    """Rotate the first 2 R channels, channel i with channel i + R.

    Args:
        x: queries or keys.
        rotation_R: cosines and sines that broadcast against ``x[..., :R]``.

    Returns:
        ``x`` rotated, in its own dtype.
    """
    cos, sin = rotation_R
    num_pairs = cos.shape[-1]
    first, second, rest = x.split((num_pairs, num_pairs, x.shape[-1] - 2 * num_pairs), dim=-1)
    turned = (first * cos - second * sin, first * sin + second * cos)
    return torch.cat((turned[0].to(x.dtype), turned[1].to(x.dtype), rest), dim=-1)


class AudioCrossAttention(nn.Module):  # type: ignore[misc]
    """LayerNorm, queries of the video, keys and values of the audio, an output that starts as zero.

    Args:
        width: width of a video token.
        num_heads: G.
        audio_width: width of an audio token.
        eps: of the norms.
    """

    def __init__(self, width: int, num_heads: int, audio_width: int, eps: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.audio_norm = FP32LayerNorm(width, eps, elementwise_affine=True)
        self.q = nn.Linear(width, width)
        self.k = nn.Linear(audio_width, width)
        self.v = nn.Linear(audio_width, width)
        self.o = nn.Linear(width, width, bias=False)
        self.q_norm = nn.RMSNorm(width // num_heads, eps=eps)
        self.k_norm = nn.RMSNorm(width // num_heads, eps=eps)

    def forward(self, hidden_BND: torch.Tensor, audio: AudioContext) -> torch.Tensor:
        """Hear the audio.

        Args:
            hidden_BND: video tokens, latent frame by latent frame.
            audio: what they hear.

        Returns:
            What is added to the video tokens, [B, N, D].
        """
        tokens_BAKMD = audio.tokens_BAKMD.to(hidden_BND.dtype)
        num_speakers = tokens_BAKMD.shape[1]
        q_BNGE = self.q_norm(self._heads(self.q(self.audio_norm(hidden_BND))))
        k_BAKMGE = self.k_norm(self._heads(self.k(tokens_BAKMD)))
        v_BAKMGE = self._heads(self.v(tokens_BAKMD))
        cos, sin = audio.key_rotation_KMR
        k_BAKMGE = rotate(k_BAKMGE, (cos[:, :, None], sin[:, :, None]))
        if audio.query_rotation_KR is None:
            heard = _hear_window(q_BNGE, k_BAKMGE, v_BAKMGE)
        else:
            heard = _hear_clip(q_BNGE, k_BAKMGE, v_BAKMGE, audio.query_rotation_KR)
        heard_BAND = heard.reshape(-1, num_speakers, *hidden_BND.shape[1:])
        if audio.region_BAN is not None:
            heard_BAND = heard_BAND * audio.region_BAN[..., None].to(heard_BAND.dtype)
        heard_BND = heard_BAND[:, 0] if num_speakers == 1 else heard_BAND.sum(1)
        return self.o(heard_BND)

    def _heads(self, x: torch.Tensor) -> torch.Tensor:
        return x.unflatten(-1, (self.num_heads, -1))


def _hear_window(
    q_BNGE: torch.Tensor, k_BAKMGE: torch.Tensor, v_BAKMGE: torch.Tensor
) -> torch.Tensor:
    """Attend within each latent frame; latent frames and speakers are folded into the batch."""
    num_speakers, num_latents = k_BAKMGE.shape[1:3]
    q_BKPGE = q_BNGE.unflatten(1, (num_latents, -1))
    q_BAKPGE = q_BKPGE[:, None].expand(-1, num_speakers, -1, -1, -1, -1)
    return _attend(q_BAKPGE.flatten(0, 2), k_BAKMGE.flatten(0, 2), v_BAKMGE.flatten(0, 2))


def _hear_clip(
    q_BNGE: torch.Tensor,
    k_BAKMGE: torch.Tensor,
    v_BAKMGE: torch.Tensor,
    query_rotation_KR: Rotation,
) -> torch.Tensor:
    """Attend over the whole clip; speakers are folded into the batch."""
    num_speakers = k_BAKMGE.shape[1]
    cos, sin = query_rotation_KR
    q_BKPGE = q_BNGE.unflatten(1, (cos.shape[0], -1))
    q_BKPGE = rotate(q_BKPGE, (cos[:, None, None], sin[:, None, None]))
    q_BANGE = q_BKPGE.flatten(1, 2)[:, None].expand(-1, num_speakers, -1, -1, -1)
    k_BALGE, v_BALGE = k_BAKMGE.flatten(2, 3), v_BAKMGE.flatten(2, 3)
    return _attend(q_BANGE.flatten(0, 1), k_BALGE.flatten(0, 1), v_BALGE.flatten(0, 1))


def _attend(q_BLGE: torch.Tensor, k_BLGE: torch.Tensor, v_BLGE: torch.Tensor) -> torch.Tensor:
    heard_BGLE = F.scaled_dot_product_attention(
        q_BLGE.transpose(1, 2), k_BLGE.transpose(1, 2), v_BLGE.transpose(1, 2)
    )
    return heard_BGLE.transpose(1, 2).flatten(2)
