from __future__ import annotations

import math

import torch

from training.model.initialise import initial_value


def test_audio_outputs_heads_and_biases_are_zero_and_norms_are_one():
    for key in ("audio_blocks.0.o.weight", "proj_out.weight", "blocks.1.attn1.to_q.bias"):
        assert not initial_value(key, (6, 4), 0).any()
    for key in ("audio_blocks.0.q_norm.weight", "blocks.0.attn1.norm_q.weight"):
        assert torch.equal(initial_value(key, (6,), 0), torch.ones(6))


def test_a_linear_layer_keeps_the_variance_of_its_input():
    weight = initial_value("blocks.0.attn1.to_q.weight", (400, 400), 0)
    assert abs(float((torch.randn(500, 400) @ weight.T).std()) - 1) < 0.05
    assert weight.abs().max() <= math.sqrt(6 / 800)


def test_a_value_depends_on_seed_and_key_alone():
    value = initial_value("audio_projector.window.weight", (6, 4), 3)
    torch.manual_seed(99)
    assert torch.equal(initial_value("audio_projector.window.weight", (6, 4), 3), value)
    assert not torch.equal(initial_value("audio_projector.window.weight", (6, 4), 4), value)
    assert not torch.equal(initial_value("audio_projector.hidden.weight", (6, 4), 3), value)
