"""The transformer: diffusers' Wan image-to-video model with an audio cross-attention a block.

A subclass and no fork: every parameter of the base keeps its key and its shape; ours are
``audio_projector.*`` and ``audio_blocks.i.*``, i being the number of the base's block. The forward
pass is written out because the base's block has no place between its text and image attention and
its feed-forward network (diffusers 0.42, ``transformer_wan.py``); with the output projections at
zero, or without audio, it returns the base's velocity to the last bit.

One class serves both bases: SkyReels-V2's image-to-video models have Wan's keys and differ in one
thing, the precision of the timestep's sinusoids (``SkyReelsV2Timesteps``).

Not here: loading (`loading.py`; ``from_pretrained`` of this class would leave the adapter
uninitialised and is refused), recompute, sharding and compilation, which are applied from outside.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from diffusers import WanTransformer3DModel
from diffusers.configuration_utils import register_to_config
from diffusers.models.transformers.transformer_skyreels_v2 import SkyReelsV2Timesteps
from einops import rearrange, reduce
from torch import nn

from training.errors import ModelError
from training.model.audio_attention import (
    AudioContext,
    AudioCrossAttention,
    AudioScope,
    audio_context,
)
from training.model.audio_projector import AudioProjector
from training.model.audio_windows import FRAMES_PER_LATENT
from training.model.transformer_block import AudioWanTransformerBlock
from training.model.transformer_checks import check_inputs

BaseFamily = Literal["wan", "skyreels_v2"]


class AudioWanTransformer3DModel(WanTransformer3DModel):  # type: ignore[misc]
    """Velocity of a noisy latent, given text, picture, given pixels and audio.

    The first sixteen arguments are the base's. Sizes of the adapter follow MultiTalk where the
    paper says nothing (`audio_projector.py`).

    Args:
        patch_size: latent frames, rows and columns a token; time is never patched.
        num_attention_heads: heads of every attention, the audio's too.
        attention_head_dim: width of a head.
        in_channels: noisy latent, keep mask and condition: 36 of a 16-channel latent.
        out_channels: channels of the velocity.
        text_dim: width of a text state.
        freq_dim: width of the timestep's sinusoids.
        ffn_dim: width of the feed-forward network.
        num_layers: blocks.
        cross_attn_norm: whether the base normalises before text and image attention.
        qk_norm: the base's norm of queries and keys.
        eps: of the norms.
        image_dim: width of an image state.
        added_kv_proj_dim: width of the image tokens' keys and values.
        rope_max_seq_len: longest side of a latent in tokens.
        pos_embed_seq_len: of first-and-last-frame bases, which are not supported: ``None``.
        base_family: whose timestep sinusoids.
        audio_num_layers: S of the audio encoder.
        audio_feature_width: D of the audio encoder.
        audio_tokens_per_latent: M.
        audio_width: width of an audio token.
        audio_hidden_width: width inside the projector.
        audio_context_frames: frames on either side of a latent frame that it hears.
        audio_scope: scope where `forward` is given none.
        audio_layers: blocks with audio attention; ``None``: all of them.
    """

    _no_split_modules = ["AudioWanTransformerBlock", "AudioCrossAttention"]  # noqa: RUF012
    _repeated_blocks = ["AudioWanTransformerBlock"]  # noqa: RUF012
    # The projector is small, and like the base's own embedders it stays wide where weights are
    # stored in 8 bits.
    _skip_layerwise_casting_patterns = [  # noqa: RUF012
        *WanTransformer3DModel._skip_layerwise_casting_patterns,
        "audio_projector",
    ]
    # The base's plan but for its entry of the model's own arguments, whose names are ours here.
    _cp_plan = {k: v for k, v in WanTransformer3DModel._cp_plan.items() if k}  # noqa: RUF012

    @register_to_config
    def __init__(
        self,
        patch_size: tuple[int, ...] = (1, 2, 2),
        num_attention_heads: int = 40,
        attention_head_dim: int = 128,
        in_channels: int = 36,
        out_channels: int = 16,
        text_dim: int = 4096,
        freq_dim: int = 256,
        ffn_dim: int = 13824,
        num_layers: int = 40,
        cross_attn_norm: bool = True,
        qk_norm: str | None = "rms_norm_across_heads",
        eps: float = 1e-6,
        image_dim: int | None = 1280,
        added_kv_proj_dim: int | None = 5120,
        rope_max_seq_len: int = 1024,
        pos_embed_seq_len: int | None = None,
        base_family: BaseFamily = "wan",
        audio_num_layers: int = 5,
        audio_feature_width: int = 1280,
        audio_tokens_per_latent: int = 32,
        audio_width: int = 768,
        audio_hidden_width: int = 512,
        audio_context_frames: int = 2,
        audio_scope: AudioScope = "window",
        audio_layers: tuple[int, ...] | None = None,
    ) -> None:
        super().__init__(
            patch_size=patch_size,
            num_attention_heads=num_attention_heads,
            attention_head_dim=attention_head_dim,
            in_channels=in_channels,
            out_channels=out_channels,
            text_dim=text_dim,
            freq_dim=freq_dim,
            ffn_dim=ffn_dim,
            num_layers=num_layers,
            cross_attn_norm=cross_attn_norm,
            qk_norm=qk_norm,
            eps=eps,
            image_dim=image_dim,
            added_kv_proj_dim=added_kv_proj_dim,
            rope_max_seq_len=rope_max_seq_len,
            pos_embed_seq_len=pos_embed_seq_len,
        )
        if base_family == "skyreels_v2":
            self.condition_embedder.timesteps_proj = SkyReelsV2Timesteps(
                num_channels=freq_dim, flip_sin_to_cos=True
            )
        for block in self.blocks:
            # The subclass adds a forward pass and no state; building the blocks anew would cost
            # the memory of the base once more.
            block.__class__ = AudioWanTransformerBlock

        self.audio_projector = AudioProjector(
            FRAMES_PER_LATENT + 2 * audio_context_frames,
            audio_num_layers,
            audio_feature_width,
            audio_tokens_per_latent,
            audio_width,
            audio_hidden_width,
        )
        layers = range(num_layers) if audio_layers is None else audio_layers
        width = num_attention_heads * attention_head_dim
        self.audio_blocks = nn.ModuleDict(
            {
                str(layer): AudioCrossAttention(width, num_attention_heads, audio_width, eps)
                for layer in layers
            }
        )
        for attention in self.audio_blocks.values():
            nn.init.zeros_(attention.o.weight)
        self.sequence_part: tuple[int, int] | None = None
        """(rank, world size) where the video tokens are split over devices, set from outside."""

    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> AudioWanTransformer3DModel:
        """Refuse: diffusers would leave the adapter on the meta device or in raw memory.

        Args:
            *args: what diffusers takes.
            **kwargs: what diffusers takes.

        Returns:
            Nothing.

        Raises:
            ModelError: always.
        """
        raise ModelError(
            f"{cls.__name__}.from_pretrained leaves adapter weights uninitialised; use "
            "training.model.loading: adapt_base for a base model, load_transformer for a checkpoint"
        )

    def enable_cache(self, config: Any) -> None:
        """Let diffusers' caches (first block, MagCache, TaylorSeer) work on our block.

        Args:
            config: a cache configuration of diffusers.
        """
        from diffusers.hooks._helpers import TransformerBlockMetadata, TransformerBlockRegistry

        TransformerBlockRegistry.register(
            AudioWanTransformerBlock,
            TransformerBlockMetadata(
                return_hidden_states_index=0, return_encoder_hidden_states_index=None
            ),
        )
        super().enable_cache(config)

    def forward(
        self,
        hidden_states_BCKhw: torch.Tensor,
        timestep_B: torch.Tensor,
        text_BLD: torch.Tensor,
        image_BLD: torch.Tensor,
        audio_BAKVSD: torch.Tensor | None = None,
        audio_region_BAKhw: torch.Tensor | None = None,
        audio_scope: AudioScope | None = None,
        positions_K: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Predict the velocity, noise - latent.

        Args:
            hidden_states_BCKhw: noisy latent, keep mask and condition (`conditions.py`).
            timestep_B: sigma times 1000.
            text_BLD: 512 text states.
            image_BLD: image states; zeros where no picture is given.
            audio_BAKVSD: audio features around each latent frame; zeros are the null audio;
                ``None`` leaves the base as it is.
            audio_region_BAKhw: share of each latent cell that belongs to a speaker, 0 to 1;
                ``None``: every speaker is heard everywhere.
            audio_scope: ``window`` or ``clip``; ``None``: the configuration's.
            positions_K: position of each latent frame for the audio's rotary embedding; ``None``:
                0, 1, ... Only the clip scope depends on them.

        Returns:
            Velocity [B, C, K, h, w].

        Raises:
            ModelError: a shape that the base would take and use wrongly.
        """
        check_inputs(
            self.config, hidden_states_BCKhw, text_BLD, image_BLD, audio_BAKVSD, audio_region_BAKhw
        )
        _, _, num_latents, height, width = hidden_states_BCKhw.shape
        _, patch_h, patch_w = self.config.patch_size

        rotary_emb = self.rope(hidden_states_BCKhw)
        hidden_BND = self.patch_embedding(hidden_states_BCKhw)
        hidden_BND = hidden_BND.flatten(2).transpose(1, 2).contiguous()
        temb_BD, modulation, text_BLD, image_BLD = self.condition_embedder(
            timestep_B, text_BLD, image_BLD
        )
        modulation_B6D = modulation.unflatten(1, (6, -1))
        context_BLD = torch.concat([image_BLD, text_BLD], dim=1)

        audio = None
        if audio_BAKVSD is not None:
            audio = self._audio(audio_BAKVSD, audio_region_BAKhw, audio_scope, positions_K)

        recompute = torch.is_grad_enabled() and self.gradient_checkpointing
        attentions = dict(self.audio_blocks.items())
        for layer, block in enumerate(self.blocks):
            attention = attentions.get(str(layer))
            given = (hidden_BND, context_BLD, modulation_B6D, rotary_emb, attention, audio)
            if recompute:
                hidden_BND = self._gradient_checkpointing_func(block, *given)
            else:
                hidden_BND = block(*given)

        shift, scale = (self.scale_shift_table.to(temb_BD.device) + temb_BD.unsqueeze(1)).chunk(
            2, dim=1
        )
        shift, scale = shift.to(hidden_BND.device), scale.to(hidden_BND.device)
        x = (self.norm_out(hidden_BND.float()) * (1 + scale) + shift).type_as(hidden_BND)
        return rearrange(
            self.proj_out(x),
            "b (k h w) (ph pw c) -> b c k (h ph) (w pw)",
            k=num_latents,
            h=height // patch_h,
            w=width // patch_w,
            ph=patch_h,
            pw=patch_w,
        )

    def _audio(
        self,
        audio_BAKVSD: torch.Tensor,
        audio_region_BAKhw: torch.Tensor | None,
        audio_scope: AudioScope | None,
        positions_K: torch.Tensor | None,
    ) -> AudioContext:
        """Project the features once for all blocks, and place them in time and picture."""
        if positions_K is None:
            positions_K = torch.arange(audio_BAKVSD.shape[2], device=audio_BAKVSD.device)
        region_BAN = None
        if audio_region_BAKhw is not None:
            _, patch_h, patch_w = self.config.patch_size
            region_BAN = reduce(
                audio_region_BAKhw,
                "b a k (h ph) (w pw) -> b a (k h w)",
                "mean",
                ph=patch_h,
                pw=patch_w,
            )
        context = audio_context(
            self.audio_projector(audio_BAKVSD),
            region_BAN,
            audio_scope or self.config.audio_scope,
            positions_K,
            self.config.attention_head_dim,
        )
        return context.part(*self.sequence_part) if self.sequence_part else context
