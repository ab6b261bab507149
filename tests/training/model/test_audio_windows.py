from __future__ import annotations

import pytest
import torch

from training.errors import SettingError
from training.model.audio_windows import (
    audio_positions,
    frames_around_latents,
    frames_of_latent,
    latent_audio_windows,
    num_frames,
    num_latents,
)


@pytest.mark.parametrize(("length", "latents"), [(1, 1), (5, 2), (77, 20), (81, 21), (97, 25)])
def test_81_frames_are_21_latent_frames(length, latents):
    assert num_latents(length) == latents
    assert num_frames(latents) == length


@pytest.mark.parametrize("length", [0, -3, 2, 80, 82])
def test_a_length_that_is_not_4k_plus_1_is_refused_with_its_neighbours(length):
    with pytest.raises(SettingError, match=r"4 k \+ 1") as error:
        num_latents(length)
    if length == 80:
        assert "use 77 or 81" in str(error.value)


def test_no_latent_frames_are_no_video():
    with pytest.raises(SettingError, match="at least one"):
        num_frames(0)


def test_latent_frames_cover_every_frame_once_and_in_order():
    covered = [frame for latent in range(21) for frame in frames_of_latent(latent)]
    assert covered == list(range(81))


@pytest.mark.parametrize("context", [0, 1, 2, 5])
def test_a_latent_frame_hears_its_own_frames_and_the_context_around_them(context):
    frames = frames_around_latents(0, 30, context)
    assert frames.shape == (30, 4 + 2 * context)
    for latent in range(1, 30):
        own = frames_of_latent(latent)
        assert frames[latent].tolist() == list(range(own.start - context, own.stop + context))


def test_frame_0_stands_in_all_four_places_of_latent_frame_0():
    assert frames_around_latents(0, 1, 2)[0].tolist() == [-2, -1, 0, 0, 0, 0, 1, 2]


def test_latent_frame_k_hears_the_50_hz_tokens_8k_minus_6_to_8k_plus_1_at_25_fps():
    for latent in range(1, 9):
        own = frames_around_latents(latent, 1, 0)[0]
        assert [2 * own[0], 2 * own[-1] + 1] == [8 * latent - 6, 8 * latent + 1]


def test_a_window_of_a_long_video_slices_what_the_whole_gives():
    features = torch.randn(200, 3, 5)
    whole = latent_audio_windows(features, 0, 50)
    for first, length in ((0, 7), (11, 21), (43, 7)):
        assert torch.equal(
            latent_audio_windows(features, first, length), whole[first : first + length]
        )


def test_before_the_start_and_beyond_the_end_are_zeros_and_never_the_other_end():
    features = torch.ones(9, 1, 1) * torch.arange(1, 10)[:, None, None]
    windows = latent_audio_windows(features, 0, 5)[..., 0, 0]
    assert windows[0].tolist() == [0, 0, 1, 1, 1, 1, 2, 3]
    assert windows[1].tolist() == [0, 1, 2, 3, 4, 5, 6, 7]
    assert windows[2].tolist() == [4, 5, 6, 7, 8, 9, 0, 0]
    assert windows[3].tolist() == [8, 9, 0, 0, 0, 0, 0, 0]
    assert windows[4].tolist() == [0] * 8


def test_a_recording_without_a_frame_is_silence():
    windows = latent_audio_windows(torch.zeros(0, 2, 3), 0, 4)
    assert windows.shape == (4, 8, 2, 3)
    assert not windows.any()


def test_numbers_below_zero_are_refused():
    with pytest.raises(SettingError, match="negative"):
        latent_audio_windows(torch.zeros(9, 1, 1), -1, 3)


def test_audio_tokens_lie_at_the_quarters_of_their_latent_frame():
    positions = audio_positions(torch.arange(3), 8)
    assert positions[0].tolist() == [0.0] * 8
    assert positions[2].tolist() == [2.0, 2.0, 2.25, 2.25, 2.5, 2.5, 2.75, 2.75]
    # Frame f lies at (f + 3) / 4.
    assert [(frame + 3) / 4 for frame in frames_of_latent(2)] == [2.0, 2.25, 2.5, 2.75]
