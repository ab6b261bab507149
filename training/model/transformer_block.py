"""One block of the transformer: the base's, with the audio attention in its place.

Written out because the base's block has no place between its text and image attention and its
feed-forward network (diffusers 0.42, ``WanTransformerBlock``). Not here: the audio attention.
"""

from __future__ import annotations

import torch
from diffusers.models.transformers.transformer_wan import WanTransformerBlock

from training.model.audio_attention import AudioContext, AudioCrossAttention


class AudioWanTransformerBlock(WanTransformerBlock):  # type: ignore[misc]
    """The base's block with the audio attention between text and image attention and FFN.

    It owns no parameter of its own: the audio attention is handed in.
    """

    def forward(
        self,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        temb: torch.Tensor,
        rotary_emb: tuple[torch.Tensor, torch.Tensor],
        audio_attention: AudioCrossAttention | None = None,
        audio: AudioContext | None = None,
    ) -> torch.Tensor:
        """Run one block.

        Args:
            hidden_states: video tokens [B, N, D].
            encoder_hidden_states: image and text tokens.
            temb: modulation [B, 6, D].
            rotary_emb: cosines and sines of the video's positions.
            audio_attention: this block's audio attention, or ``None``.
            audio: what it hears, or ``None``.

        Returns:
            Video tokens [B, N, D].
        """
        shift_sa, scale_sa, gate_sa, shift_ff, scale_ff, gate_ff = (
            self.scale_shift_table + temb.float()
        ).chunk(6, dim=1)

        x = (self.norm1(hidden_states.float()) * (1 + scale_sa) + shift_sa).type_as(hidden_states)
        x = self.attn1(x, None, None, rotary_emb)
        hidden_states = (hidden_states.float() + x * gate_sa).type_as(hidden_states)

        x = self.norm2(hidden_states.float()).type_as(hidden_states)
        hidden_states = hidden_states + self.attn2(x, encoder_hidden_states, None, None)

        if audio_attention is not None and audio is not None:
            hidden_states = hidden_states + audio_attention(hidden_states, audio)

        x = (self.norm3(hidden_states.float()) * (1 + scale_ff) + shift_ff).type_as(hidden_states)
        x = self.ffn(x)
        return (hidden_states.float() + x.float() * gate_ff).type_as(hidden_states)
