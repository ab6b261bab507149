from fractions import Fraction

import numpy as np
import pytest
import torch

from training.generation.audio_features import STRETCH_S, AudioFeatures, Heard
from training.generation.guidance import Condition
from training.generation.recording import Recording
from training.model.audio_windows import latent_audio_windows
from training.model.log_mel import LogMelEncoder

FPS = Fraction(25)


@pytest.fixture(scope="module")
def pcm():
    rng = np.random.default_rng(0)
    return (0.2 * rng.standard_normal(60 * 16_000)).astype(np.float32)


@pytest.fixture(scope="module")
def whole(pcm):
    stored = Recording.from_samples(pcm).read(0, len(pcm))
    return LogMelEncoder(num_mels=8).encode(torch.from_numpy(stored), 1500, 25.0)


@pytest.fixture
def features(pcm):
    return AudioFeatures(LogMelEncoder(num_mels=8), Recording.from_samples(pcm), 1500, FPS)


@pytest.mark.parametrize("first", [0, 1, 2, 5, 148, 149, 150, 299, 370])
def test_a_slice_is_what_the_whole_recording_gives(features, whole, first):
    made = features.around(first, 6, 2)
    torch.testing.assert_close(made, latent_audio_windows(whole, first, 6, 2), atol=1e-4, rtol=1e-4)


def test_beyond_the_end_there_is_no_audio_and_nothing_wraps_around(features):
    made = features.around(374, 4, 2)
    assert made[0].abs().sum() > 0
    assert not made[3:].any(), "latent frame 376 still hears frame 1499"


def test_features_are_made_once_however_many_windows_ask(features):
    for first in range(0, 360, 4):
        features.around(first, 21, 2)
        features.around(first, 21, 2)
    assert features.num_stretches_made == -(-1500 // round(STRETCH_S * FPS))


def test_only_two_stretches_are_kept(features):
    features.around(0, 370, 2)
    assert len(features._made) == 2


class Counting(LogMelEncoder):
    num_calls = 0

    def encode(self, pcm_N, num_frames, fps):
        self.num_calls += 1
        return super().encode(pcm_N, num_frames, fps)


def test_silence_is_not_the_absence_of_audio_and_is_made_on_demand():
    encoder = Counting(num_mels=8)
    voices = torch.ones(1, 2, 5, 8, 2, 8)
    heard = Heard(voices, encoder, 25.0)
    assert not heard[Condition.OFF].any()
    assert encoder.num_calls == 0
    torch.testing.assert_close(heard[Condition.NEGATIVE], torch.full_like(voices, -1.0))
    assert heard[Condition.NEGATIVE] is heard[Condition.NEGATIVE]
    assert encoder.num_calls == 1
