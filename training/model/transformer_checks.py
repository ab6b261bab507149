"""What the transformer cannot be built from or given, refused before it goes wrong silently.

Not here: whether the weights of a base are whole (`loading.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from training.errors import ModelError

TEXT_TOKENS = 512
"""Text tokens that the base's attention counts from the end to find the image tokens before them
(diffusers, ``WanAttnProcessor``); any other number would be split in the wrong place, silently."""

INPUT_CHANNELS = 36
"""Noisy latent 16, keep mask 4, condition 16: an image-to-video model of the Wan family."""

BASES = (
    "use an image-to-video model of the Wan 2.1 family in diffusers layout: "
    "Skywork/SkyReels-V2-I2V-1.3B-540P-Diffusers, Skywork/SkyReels-V2-I2V-14B-540P-Diffusers or "
    "Wan-AI/Wan2.1-I2V-14B-480P-Diffusers"
)

BASE_CLASSES = {"WanTransformer3DModel": "wan", "SkyReelsV2Transformer3DModel": "skyreels_v2"}
"""Class in a base's config.json, and the family that `AudioWanTransformer3DModel` calls it."""


def check_base_config(config: Mapping[str, Any], place: str) -> None:
    """Refuse a base that the adapter does not fit.

    Args:
        config: its config.json.
        place: where it lies, for the message.

    Raises:
        ModelError: another class, a model without the image branch, or a variant of the family
            whose forward pass is not the one written out here.
    """
    name = config.get("_class_name")
    if name not in BASE_CLASSES:
        raise ModelError(f"{place}: a {name} is no base of this model; {BASES}")
    wanted = {
        "in_channels": (INPUT_CHANNELS, "it takes no keep mask and condition (text-to-video)"),
        "patch_size": ([1, 2, 2], "audio is bound to latent frames, one a token"),
        "pos_embed_seq_len": (None, "first-and-last-frame bases take two pictures' states"),
        "inject_sample_info": (False, "it wants an fps embedding (a diffusion-forcing model)"),
        "num_frame_per_block": (1, "its attention is causal by blocks (a diffusion-forcing model)"),
    }
    for key, (value, reason) in wanted.items():
        found = config.get(key, value)
        found = list(found) if isinstance(found, tuple) else found
        if found != value and key != "in_channels":
            raise ModelError(f"{place}: {key} is {found} and has to be {value}: {reason}; {BASES}")
    channels = config.get("in_channels")
    if channels != 2 * config.get("out_channels", 16) + 4:
        reason = wanted["in_channels"][1]
        raise ModelError(
            f"{place}: in_channels is {channels} and has to be {INPUT_CHANNELS}: {reason}; {BASES}"
        )
    for key in ("image_dim", "added_kv_proj_dim"):
        if not config.get(key):
            raise ModelError(f"{place}: no {key}, so no image branch; {BASES}")


def check_inputs(
    config: Any,
    hidden_states_BCKhw: torch.Tensor,
    text_BLD: torch.Tensor,
    image_BLD: torch.Tensor,
    audio_BAKVSD: torch.Tensor | None,
    audio_region_BAKhw: torch.Tensor | None,
) -> None:
    """Refuse shapes that would run and be wrong, or fail far from their cause.

    Args:
        config: the transformer's.
        hidden_states_BCKhw: noisy latent, keep mask and condition.
        text_BLD: text states.
        image_BLD: image states.
        audio_BAKVSD: audio features, or ``None``.
        audio_region_BAKhw: regions of speakers, or ``None``.

    Raises:
        ModelError: what is wrong, with the shape that was given.
    """
    batch_size, channels, num_latents, height, width = hidden_states_BCKhw.shape
    if channels != config.in_channels:
        raise ModelError(
            f"{channels} input channels, the model takes {config.in_channels}: noisy latent, keep "
            "mask and condition (conditions.transformer_input)"
        )
    if height % config.patch_size[1] or width % config.patch_size[2]:
        raise ModelError(
            f"a latent of {height} x {width} cells does not divide into patches of "
            f"{config.patch_size[1]} x {config.patch_size[2]}; make both sides of the picture "
            "multiples of 16 pixels"
        )
    if text_BLD.shape[1] != TEXT_TOKENS:
        raise ModelError(
            f"{text_BLD.shape[1]} text tokens: Wan's attention takes the last {TEXT_TOKENS} tokens "
            "for text and would split image and text in the wrong place; pad with zeros to "
            f"{TEXT_TOKENS}"
        )
    if text_BLD.shape[0] != batch_size or image_BLD.shape[0] != batch_size:
        raise ModelError(
            f"{batch_size} latents with {text_BLD.shape[0]} texts and {image_BLD.shape[0]} pictures"
        )
    if audio_BAKVSD is None:
        if audio_region_BAKhw is not None:
            raise ModelError("regions of speakers without audio; leave both out or give both")
        return
    wanted = (
        batch_size,
        audio_BAKVSD.shape[1],
        num_latents,
        4 + 2 * config.audio_context_frames,
        config.audio_num_layers,
        config.audio_feature_width,
    )
    if tuple(audio_BAKVSD.shape) != wanted:
        raise ModelError(
            f"audio features of shape {tuple(audio_BAKVSD.shape)}, wanted {wanted}: batch, "
            "speakers, latent frames, frames of a window, layer groups, width"
        )
    if audio_region_BAKhw is not None:
        region = (batch_size, audio_BAKVSD.shape[1], num_latents, height, width)
        if tuple(audio_region_BAKhw.shape) != region:
            raise ModelError(
                f"regions of shape {tuple(audio_region_BAKhw.shape)}, wanted {region}: batch, "
                "speakers, latent frames and latent cells"
            )
