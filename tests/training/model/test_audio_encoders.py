"""Whisper and wav2vec2 with tiny random weights read from disk; chunks are one second long."""

from __future__ import annotations

import pytest
import torch
from transformers import (
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Model,
    WhisperFeatureExtractor,
    WhisperModel,
)

from tests.training.model.tiny_folders import write_wav2vec2, write_whisper
from training.errors import SettingError
from training.model.audio_encoders import group_layers, whisper_layer_groups
from training.model.pretrained import wav2vec2_encoder, whisper_encoder
from training.model.spec import Wav2Vec2Audio, WhisperAudio

CHUNK_S = 1.0
"""Of the tiny models; the real Whisper's is 30 s, and 31 s to it is what 1.03 s is to these."""


def sound(seconds: float) -> torch.Tensor:
    torch.manual_seed(1)
    time = torch.arange(int(seconds * 16000)) / 16000
    tone = torch.sin(2 * torch.pi * (200 + 300 * time) * time)
    return (0.3 * tone * (1 + torch.sin(7 * time)) + 0.01 * torch.randn_like(time)).float()


@pytest.fixture(scope="module")
def whisper_folder(tmp_path_factory):
    return write_whisper(tmp_path_factory.mktemp("whisper"))


@pytest.fixture(scope="module")
def wav2vec2_folder(tmp_path_factory):
    return write_wav2vec2(tmp_path_factory.mktemp("wav2vec2"))


def whisper(folder, **options):
    options = {"overlap_s": 0.4, "fade_s": 0.1, **options}
    return whisper_encoder(WhisperAudio(repo=str(folder), **options), "cpu", torch.float32)


def wav2vec2(folder, **options):
    options = {"chunk_s": CHUNK_S, "overlap_s": 0.4, "fade_s": 0.1, **options}
    return wav2vec2_encoder(Wav2Vec2Audio(repo=str(folder), **options), "cpu", torch.float32)


def test_the_33_states_of_large_v3_are_five_groups_and_the_5_of_tiny_each_its_own():
    assert whisper_layer_groups(33) == ((0, 8), (8, 16), (16, 24), (24, 32), (32, 33))
    assert whisper_layer_groups(5) == ((0, 1), (1, 2), (2, 3), (3, 4), (4, 5))
    for num_states in (2, 3, 7, 13, 25):
        groups = whisper_layer_groups(num_states)
        covered = [state for first, beyond in groups for state in range(first, beyond)]
        assert covered == list(range(num_states))


def test_a_group_is_the_mean_of_its_states():
    states = tuple(torch.full((1, 4, 2), float(layer)) for layer in range(5))
    grouped = group_layers(states, ((0, 2), (4, 5)))
    assert grouped[0].tolist() == [[0.5, 0.5], [4.0, 4.0]]


def test_sound_of_one_chunk_is_exactly_what_transformers_gives(whisper_folder):
    extractor = WhisperFeatureExtractor.from_pretrained(whisper_folder)
    model = WhisperModel.from_pretrained(whisper_folder).eval()
    pcm = sound(0.8)
    mel = extractor(pcm.numpy(), sampling_rate=16000, return_tensors="pt").input_features
    with torch.no_grad():
        states = model.encoder(mel, output_hidden_states=True).hidden_states
    wanted = torch.stack([state[0] for state in states], dim=1)
    got = whisper(whisper_folder).encode(pcm, 20, 25.0)
    assert got.shape == (20, 5, 16)
    # At 25 frames a second the middle of frame f is the 50 Hz state 2 f + 1.
    torch.testing.assert_close(got, wanted[1:40:2], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("seconds", "fps"), [(1.04, 25.0), (2.5, 24.0), (4.0, 29.97)])
def test_sound_longer_than_a_chunk_is_not_truncated(whisper_folder, seconds, fps):
    encoder, num_frames = whisper(whisper_folder), int(seconds * fps)
    pcm = sound(seconds)
    features = encoder.encode(pcm, num_frames, fps)
    assert features.shape == (num_frames, 5, 16)
    silenced = pcm.clone()
    silenced[-1600:] = 0
    change = (encoder.encode(silenced, num_frames, fps) - features).abs().mean((1, 2))
    assert change[-2:].min() > 1e-3


def test_whispers_own_extractor_does_truncate(whisper_folder):
    extractor = WhisperFeatureExtractor.from_pretrained(whisper_folder)
    mel = extractor(sound(1.5).numpy(), sampling_rate=16000, return_tensors="pt").input_features
    assert mel.shape[-1] == 100


def test_away_from_joins_the_features_are_those_of_one_whole_chunk(whisper_folder):
    """What exactness there can be: outside of a fade, one chunk's states to rounding.

    An encoding of everything at once does not exist: the encoder takes one chunk.
    """
    pcm = sound(1.6)
    extractor = WhisperFeatureExtractor.from_pretrained(whisper_folder)
    model = WhisperModel.from_pretrained(whisper_folder).eval()
    mel = extractor(
        pcm.numpy(), sampling_rate=16000, truncation=False, padding="longest", return_tensors="pt"
    ).input_features
    with torch.no_grad():
        first, second = (
            torch.stack(
                [s[0] for s in model.encoder(part, output_hidden_states=True).hidden_states], 1
            )
            for part in (mel[..., :100], mel[..., 60:])
        )
    got = whisper(whisper_folder).encode(pcm, 40, 25.0)
    # 80 states in chunks 0-49 and 30-79; the fade of 5 lies in the middle of 30-49, at 37-41.
    torch.testing.assert_close(got[:18], first[1:36:2], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(got[21:], second[13:50:2], rtol=1e-4, atol=1e-5)


def test_no_seam_at_a_join(whisper_folder):
    """The step across a join is that of a fade, not that of a cut."""
    pcm = sound(1.6)

    def largest_step_at_the_join(fade_s: float) -> float:
        features = whisper(whisper_folder, fade_s=fade_s).encode(pcm, 160, 100.0)
        return float(features.diff(dim=0).abs().mean((1, 2))[70:90].max())

    assert largest_step_at_the_join(0.38) < 0.75 * largest_step_at_the_join(0.0)


def test_away_from_joins_wav2vec2_too_gives_one_chunk_s_states(wav2vec2_folder):
    pcm = sound(1.6)
    model = Wav2Vec2Model.from_pretrained(wav2vec2_folder).eval()
    normalised = (pcm - pcm.mean()) / (pcm.var(correction=0) + 1e-7).sqrt()
    values = torch.nn.functional.pad(normalised, (0, 80))[None]
    with torch.no_grad():
        first, second = (
            torch.stack([s[0] for s in model(part, output_hidden_states=True).hidden_states[1:]], 1)
            for part in (values[:, : 50 * 320 + 80], values[:, 30 * 320 :])
        )
    got = wav2vec2(wav2vec2_folder).encode(pcm, 80, 50.0)
    at_centres = [states[1:] * 0.875 + states[:-1] * 0.125 for states in (first, second)]
    torch.testing.assert_close(got[1:37], at_centres[0][:36], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(got[43:], at_centres[1][12:], rtol=1e-3, atol=1e-4)


def test_wav2vec2_of_one_chunk_is_what_transformers_gives(wav2vec2_folder):
    extractor = Wav2Vec2FeatureExtractor.from_pretrained(wav2vec2_folder)
    model = Wav2Vec2Model.from_pretrained(wav2vec2_folder).eval()
    pcm = sound(0.8)
    values = extractor(pcm.numpy(), sampling_rate=16000, return_tensors="pt").input_values
    values = torch.nn.functional.pad(values, (0, 80))
    with torch.no_grad():
        states = model(values, output_hidden_states=True).hidden_states
    assert states[0].shape[1] == 40
    grouped = torch.stack([state[0] for state in states[1:]], dim=1)
    # State j is centred on 20 j + 12.5 ms, the middle of frame f at 50 fps on 20 f + 10 ms.
    got = wav2vec2(wav2vec2_folder).encode(pcm, 40, 50.0)
    wanted = grouped[1:] * 0.875 + grouped[:-1] * 0.125
    torch.testing.assert_close(got[1:], wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("make", ["whisper", "wav2vec2"])
def test_sound_shorter_than_its_frames_is_silence_beyond_its_end(request, make):
    folder = request.getfixturevalue(f"{make}_folder")
    encoder = {"whisper": whisper, "wav2vec2": wav2vec2}[make](folder)
    pcm = sound(0.4)
    padded = torch.cat((pcm, torch.zeros(16000 - len(pcm))))
    assert torch.equal(encoder.encode(pcm, 25, 25.0), encoder.encode(padded, 25, 25.0))


def test_layers_can_be_grouped_as_one_likes(whisper_folder, wav2vec2_folder):
    pcm = sound(0.5)
    alone = whisper(whisper_folder).encode(pcm, 12, 25.0)
    encoder = whisper(whisper_folder, layer_groups=((1, 4), (4, 5)))
    assert encoder.num_layers == 2
    got = encoder.encode(pcm, 12, 25.0)
    torch.testing.assert_close(got[:, 0], alone[:, 1:4].mean(1), rtol=1e-4, atol=1e-5)
    assert wav2vec2(wav2vec2_folder, layer_groups=((0, 3),)).num_layers == 1


def test_layer_groups_that_are_not_there_are_refused(whisper_folder):
    for groups in (((0, 6),), ((2, 2),), ((-1, 2),)):
        with pytest.raises(SettingError, match="5 hidden states"):
            whisper(whisper_folder, layer_groups=groups)


def test_an_overlap_as_long_as_a_chunk_is_refused(whisper_folder, wav2vec2_folder):
    with pytest.raises(SettingError, match="shorter than a chunk"):
        whisper(whisper_folder, overlap_s=1.0)
    with pytest.raises(SettingError, match="shorter than a chunk"):
        wav2vec2(wav2vec2_folder, overlap_s=2.0)
