from __future__ import annotations

import pytest
import torch

from training.model.log_mel import LogMelEncoder


def tone(hz: float, seconds: float) -> torch.Tensor:
    return 0.5 * torch.sin(2 * torch.pi * hz * torch.arange(int(seconds * 16000)) / 16000)


def test_silence_is_minus_one_everywhere():
    features = LogMelEncoder().encode(torch.zeros(16000), 25, 25.0)
    assert features.shape == (25, 2, 40)
    torch.testing.assert_close(features, torch.full_like(features, -1.0))


def test_a_higher_tone_is_in_a_higher_band():
    encoder = LogMelEncoder(num_mels=40)
    bands = [
        int(encoder.encode(tone(hz, 1.0), 25, 25.0)[12, 0].argmax()) for hz in (200, 800, 3000)
    ]
    assert bands == sorted(set(bands))


@pytest.mark.parametrize("fps", [23.976, 24.0, 25.0, 30.0])
def test_a_click_is_heard_in_the_frame_in_which_it_sounds_after_a_minute_too(fps):
    encoder, num_frames = LogMelEncoder(), int(60 * fps)
    for frame in (3, num_frames // 2, num_frames - 4):
        pcm = torch.zeros(60 * 16000)
        pcm[int((frame + 0.5) / fps * 16000)] = 1.0
        loud = encoder.encode(pcm, num_frames, fps).mean((1, 2))
        assert int(loud.argmax()) == frame


def test_moments_of_a_frame_are_in_order():
    pcm = torch.zeros(16000)
    pcm[int(10.25 / 25 * 16000)] = 1.0
    features = LogMelEncoder(moments_per_frame=2).encode(pcm, 25, 25.0).mean(2)
    assert features[10, 0] > features[10, 1]


def test_a_feature_does_not_depend_on_sound_elsewhere():
    encoder, pcm = LogMelEncoder(), torch.randn(32000) * 0.1
    louder = pcm.clone()
    louder[16000:] *= 50
    first, second = encoder.encode(pcm, 50, 25.0), encoder.encode(louder, 50, 25.0)
    torch.testing.assert_close(first[:24], second[:24])
    assert (first[26:] < second[26:]).all()
