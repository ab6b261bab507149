"""Sizes of the real models, counted on the meta device: nothing is allocated."""

from __future__ import annotations

import pytest
import torch
from diffusers import SkyReelsV2Transformer3DModel, WanTransformer3DModel

from training.model.transformer import AudioWanTransformer3DModel

# SkyReels-V2 I2V 1.3B and 14B, Wan 2.1 I2V 14B (diffusers,
# scripts/convert_skyreelsv2_to_diffusers.py and convert_wan_to_diffusers.py).
SIZES = {
    "1.3B": {
        "num_attention_heads": 12,
        "num_layers": 30,
        "ffn_dim": 8960,
        "added_kv_proj_dim": 1536,
    },
    "14B": {
        "num_attention_heads": 40,
        "num_layers": 40,
        "ffn_dim": 13824,
        "added_kv_proj_dim": 5120,
    },
}
BASE = {
    "attention_head_dim": 128,
    "in_channels": 36,
    "out_channels": 16,
    "image_dim": 1280,
    "text_dim": 4096,
}


def count(model: torch.nn.Module, prefix: str = "") -> int:
    return sum(p.numel() for name, p in model.named_parameters() if name.startswith(prefix))


def on_meta(kind, size: str, **changes) -> torch.nn.Module:
    with torch.device("meta"):
        return kind(**BASE, **SIZES[size], **changes)


def base_by_hand(size: str) -> int:
    """Weights and biases of the base, layer by layer."""
    config = SIZES[size]
    d, ffn = 128 * config["num_attention_heads"], config["ffn_dim"]
    linear = d * d + d
    block = (
        4 * linear + 2 * d  # self-attention: q, k, v, o and two norms
        + 6 * linear + 3 * d  # text and image: q, k, v, o, image k and v, three norms
        + 2 * d  # norm2
        + (d * ffn + ffn) + (ffn * d + d)  # feed-forward
        + 6 * d  # modulation
    )  # fmt: skip
    patches = 36 * 4 * d + d
    time = (256 * d + d) + linear + (d * 6 * d + 6 * d)
    text = (4096 * d + d) + linear
    image = 2 * 1280 + (1280 * 1280 + 1280) + (1280 * d + d) + 2 * d
    head = (d * 64 + 64) + 2 * d
    return config["num_layers"] * block + patches + time + text + image + head


@pytest.mark.parametrize("size", SIZES)
def test_the_base_has_the_parameters_of_both_families_and_keeps_them(size):
    ours = on_meta(AudioWanTransformer3DModel, size)
    shapes = {k: v.shape for k, v in ours.state_dict().items() if not k.startswith("audio_")}
    for kind in (WanTransformer3DModel, SkyReelsV2Transformer3DModel):
        base = on_meta(kind, size)
        assert {k: v.shape for k, v in base.state_dict().items()} == shapes
        assert count(base) == base_by_hand(size)


def test_the_14b_base_is_16_4_billion_and_the_1_3b_base_1_6():
    assert round(base_by_hand("14B") / 1e9, 1) == 16.4
    assert round(base_by_hand("1.3B") / 1e9, 1) == 1.6


@pytest.mark.parametrize(("size", "millions"), [("1.3B", 7.1), ("14B", 60.3)])
def test_the_adapter_costs_7_1_and_60_3_million_a_block(size, millions):
    # Separate q, k, v and o, audio 768 wide.
    model = on_meta(AudioWanTransformer3DModel, size)
    d, head = 128 * SIZES[size]["num_attention_heads"], 128
    by_hand = (d * d + d) + 2 * (768 * d + d) + d * d + 2 * d + 2 * head
    assert count(model, "audio_blocks.0.") == by_hand
    assert round(by_hand / 1e6, 1) == millions
    assert count(model, "audio_blocks.") == by_hand * SIZES[size]["num_layers"]


def test_the_14b_adapter_is_2_41_billion_and_12_layers_of_it_0_72():
    model = on_meta(AudioWanTransformer3DModel, "14B")
    assert round(count(model, "audio_blocks.") / 1e9, 2) == 2.41
    some = on_meta(AudioWanTransformer3DModel, "14B", audio_layers=tuple(range(0, 36, 3)))
    assert round(count(some, "audio_blocks.") / 1e9, 2) == 0.72


def test_the_projector_is_shared_by_all_blocks():
    model = on_meta(AudioWanTransformer3DModel, "1.3B")
    window = 8 * 5 * 1280
    by_hand = (window * 512 + 512) + (512 * 512 + 512) + (512 * 32 * 768 + 32 * 768) + 2 * 768
    assert count(model, "audio_projector.") == by_hand
