from __future__ import annotations

import torch

from training.model.audio_projector import AudioProjector


def projector() -> AudioProjector:
    torch.manual_seed(0)
    return AudioProjector(8, 3, 5, num_tokens=4, audio_width=6, hidden_width=7)


def test_each_latent_frame_of_each_speaker_is_projected_alone():
    module, windows = projector(), torch.randn(2, 3, 4, 8, 3, 5)
    tokens = module(windows)
    assert tokens.shape == (2, 3, 4, 4, 6)
    torch.testing.assert_close(tokens[1, 2, 3], module(windows[1:, 2:, 3:])[0, 0, 0])


def test_null_audio_is_zeros_through_the_projector_and_so_its_biases():
    module = projector()
    null = module(torch.zeros(1, 1, 2, 8, 3, 5))
    assert null.abs().sum() > 0
    torch.testing.assert_close(null[0, 0, 0], null[0, 0, 1])


def test_tokens_are_normalised_whatever_the_encoder_s_range():
    module = projector()
    loud = module(torch.randn(1, 1, 2, 8, 3, 5) * 1000)
    torch.testing.assert_close(loud.mean(-1), torch.zeros(1, 1, 2, 4), atol=1e-5, rtol=0)
    torch.testing.assert_close(
        loud.var(-1, correction=0), torch.ones(1, 1, 2, 4), rtol=1e-3, atol=0
    )
