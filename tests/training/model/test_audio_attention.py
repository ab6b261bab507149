from __future__ import annotations

import math

import pytest
import torch

from training.errors import ModelError
from training.model.audio_attention import (
    AudioCrossAttention,
    audio_context,
    rotate,
    rotation,
    temporal_width,
)

WIDTH, HEADS, AUDIO = 24, 2, 10
HEAD = WIDTH // HEADS
K, P, M = 4, 6, 8


@pytest.fixture
def attention():
    torch.manual_seed(0)
    module = AudioCrossAttention(WIDTH, HEADS, AUDIO, 1e-6)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return module


def hear(module, hidden, tokens, scope="window", region=None, positions=None):
    positions = torch.arange(K) if positions is None else positions
    return module(hidden, audio_context(tokens, region, scope, positions, HEAD))


def by_hand(module, hidden, tokens, keys_of_query, positions):
    """Plain attention, one query at a time, with queries and keys rotated by their positions."""
    out = torch.zeros(len(hidden), WIDTH)
    quarter = torch.arange(M) // (M // 4) / 4
    for token in range(len(hidden)):
        latent = token // P
        q = module.q_norm(module.q(module.audio_norm(hidden[token])).view(HEADS, HEAD))
        q = rotate(q, rotation(positions[latent].float(), HEAD))
        scores, values = [], []
        for other in keys_of_query(latent):
            place = positions[other] + (quarter if positions[other] else 0 * quarter)
            k = module.k_norm(module.k(tokens[other]).view(M, HEADS, HEAD))
            cos, sin = rotation(place, HEAD)
            k = rotate(k, (cos[:, None], sin[:, None]))
            scores.append(torch.einsum("ge,mge->gm", q, k) / math.sqrt(HEAD))
            values.append(module.v(tokens[other]).view(M, HEADS, HEAD))
        weights = torch.cat(scores, 1).softmax(1)
        out[token] = torch.einsum("gm,mge->ge", weights, torch.cat(values)).flatten()
    return module.o(out)


def test_the_window_scope_is_attention_to_the_latents_own_tokens(attention):
    hidden, tokens = torch.randn(1, K * P, WIDTH), torch.randn(1, 1, K, M, AUDIO)
    positions = torch.arange(K)
    wanted = by_hand(attention, hidden[0], tokens[0, 0], lambda latent: [latent], positions)
    torch.testing.assert_close(hear(attention, hidden, tokens)[0], wanted, rtol=1e-4, atol=1e-5)


def test_the_clip_scope_is_attention_to_all_tokens(attention):
    hidden, tokens = torch.randn(1, K * P, WIDTH), torch.randn(1, 1, K, M, AUDIO)
    positions = torch.arange(K)
    wanted = by_hand(attention, hidden[0], tokens[0, 0], lambda latent: range(K), positions)
    got = hear(attention, hidden, tokens, "clip")[0]
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5)


def test_in_the_window_scope_a_latent_frame_hears_no_other_ones_audio(attention):
    hidden, tokens = torch.randn(1, K * P, WIDTH), torch.randn(1, 1, K, M, AUDIO)
    before = hear(attention, hidden, tokens)
    tokens[0, 0, 2] = torch.randn(M, AUDIO)
    changed = (hear(attention, hidden, tokens) != before).any(-1)[0].view(K, P)
    assert changed[2].all()
    assert not changed[[0, 1, 3]].any()


def test_the_clip_scope_depends_on_differences_of_positions_only(attention):
    hidden, tokens = torch.randn(1, K * P, WIDTH), torch.randn(1, 1, K, M, AUDIO)
    near = hear(attention, hidden, tokens, "clip", positions=torch.arange(1, K + 1))
    far = hear(attention, hidden, tokens, "clip", positions=torch.arange(9, K + 9))
    torch.testing.assert_close(near, far, rtol=1e-4, atol=1e-5)
    stretched = hear(attention, hidden, tokens, "clip", positions=torch.arange(1, 2 * K, 2))
    assert not torch.allclose(near, stretched, rtol=1e-3)


@pytest.mark.parametrize("scope", ["window", "clip"])
def test_speakers_are_heard_in_their_regions_and_added(attention, scope):
    hidden, tokens = torch.randn(2, K * P, WIDTH), torch.randn(2, 3, K, M, AUDIO)
    region = torch.rand(2, 3, K * P)
    got = hear(attention, hidden, tokens, scope, region)
    wanted = sum(
        hear(attention, hidden, tokens[:, [speaker]], scope) * region[:, speaker, :, None]
        for speaker in range(3)
    )
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("scope", ["window", "clip"])
def test_outside_of_every_region_nothing_is_heard(attention, scope):
    hidden, tokens = torch.randn(1, K * P, WIDTH), torch.randn(1, 2, K, M, AUDIO)
    region = torch.ones(1, 2, K * P)
    region[..., 5:9] = 0
    heard = hear(attention, hidden, tokens, scope, region)[0].abs().sum(-1)
    assert not heard[5:9].any()
    assert (heard[:5] > 0).all()


def test_the_output_starts_as_zero_and_learns(attention):
    attention.o.weight.data.zero_()
    hidden, tokens = torch.randn(1, K * P, WIDTH), torch.randn(1, 1, K, M, AUDIO)
    out = hear(attention, hidden, tokens)
    assert not out.any()
    (out * torch.randn_like(out)).sum().backward()
    assert attention.o.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("scope", ["window", "clip"])
def test_video_tokens_split_over_devices_hear_the_same(attention, scope):
    hidden, tokens = torch.randn(2, K * P, WIDTH), torch.randn(2, 2, K, M, AUDIO)
    context = audio_context(tokens, torch.rand(2, 2, K * P), scope, torch.arange(K), HEAD)
    whole = attention(hidden, context)
    parts = [attention(part, context.part(rank, 2)) for rank, part in enumerate(hidden.chunk(2, 1))]
    torch.testing.assert_close(torch.cat(parts, 1), whole, rtol=1e-5, atol=1e-6)


def test_a_split_through_a_latent_frame_is_refused():
    tokens = torch.randn(1, 1, K, M, AUDIO)
    with pytest.raises(ModelError, match="whole latent frames"):
        audio_context(tokens, None, "window", torch.arange(K), HEAD).part(0, 3)


def test_time_has_44_of_the_128_channels_of_a_head_as_in_the_base():
    from diffusers.models.transformers.transformer_wan import WanRotaryPosEmbed

    for width in (12, 24, 64, 128):
        assert temporal_width(width) == WanRotaryPosEmbed(width, (1, 2, 2), 8).t_dim
    assert temporal_width(128) == 44


def test_a_rotation_keeps_lengths_and_position_zero_changes_nothing():
    x = torch.randn(5, HEAD)
    turned = rotate(x, rotation(torch.arange(5), HEAD))
    torch.testing.assert_close(turned.norm(dim=1), x.norm(dim=1))
    assert torch.equal(turned[0], x[0])
    assert not torch.equal(turned[1], x[1])
