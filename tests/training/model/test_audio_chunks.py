from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch

from training.errors import InputError
from training.model.audio_chunks import (
    at_positions,
    chunk_starts,
    frame_centres_s,
    join_chunks,
    pcm_of_frames,
)


@pytest.mark.parametrize("total", [1, 99, 100, 101, 180, 181, 260, 1000, 1001])
def test_chunks_cover_every_step_and_overlap_by_what_was_asked_or_more(total):
    starts = chunk_starts(total, 100, 20)
    assert starts[0] == 0
    assert starts[-1] + 100 >= total
    assert all(0 < after - before <= 80 for before, after in pairwise(starts))
    assert len(starts) == max(1, math.ceil((total - 20) / 80))
    if total >= 100:
        assert starts[-1] + 100 == total


@pytest.mark.parametrize("total", [100, 101, 150, 181, 260, 333])
@pytest.mark.parametrize("fade", [0, 1, 10, 1000])
def test_chunks_of_one_sequence_join_to_that_sequence(total, fade):
    whole = torch.randn(total, 2, 3)
    starts = chunk_starts(total, 100, 20)
    chunks = [whole[start : start + 100] for start in starts]
    torch.testing.assert_close(join_chunks(chunks, starts, total, fade), whole)


def test_outside_of_the_fades_each_step_is_one_chunk_s_to_the_last_bit():
    starts = [0, 80, 150]
    chunks = [torch.randn(100, 1, 2) for _ in starts]
    joined = join_chunks(chunks, starts, 250, fade=10)
    # Overlaps are 80-100 and 150-180: fades lie in their middles, 85-95 and 160-170.
    assert torch.equal(joined[:85], chunks[0][:85])
    assert torch.equal(joined[95:160], chunks[1][15:80])
    assert torch.equal(joined[170:], chunks[2][20:])


def test_a_join_has_no_seam_where_chunks_disagree():
    starts = [0, 80]
    chunks = [torch.zeros(100, 1, 1), torch.ones(100, 1, 1)]
    joined = join_chunks(chunks, starts, 180, fade=10)[:, 0, 0]
    assert joined[84] == 0
    assert joined[95] == 1
    torch.testing.assert_close(joined.diff().max(), torch.tensor(1 / 11))


def test_states_between_steps_are_interpolated_and_the_ends_are_held():
    states = torch.tensor([0.0, 10.0, 20.0])[:, None, None]
    got = at_positions(states, torch.tensor([-1.0, 0.0, 0.25, 1.5, 2.0, 7.0]))
    assert got[:, 0, 0].tolist() == [0.0, 0.0, 2.5, 15.0, 20.0, 20.0]


@pytest.mark.parametrize("fps", [23.976, 24.0, 25.0, 30.0])
def test_the_middle_of_a_frame_does_not_drift_over_an_hour(fps):
    num_frames = int(3600 * fps)
    assert abs(frame_centres_s(num_frames, fps)[-1] - (num_frames - 0.5) / fps) < 1e-9


def test_sound_is_cut_at_the_last_frame_and_silent_beyond_its_own_end():
    sound = torch.ones(16000)
    assert pcm_of_frames(sound, 10, 25.0).shape == (6400,)
    long = pcm_of_frames(sound, 30, 25.0)
    assert long.shape == (19200,)
    assert long[:16000].all()
    assert not long[16000:].any()
    assert pcm_of_frames(torch.zeros(0), 1, 24.0).shape == (667,)


@pytest.mark.parametrize(
    ("sound", "num_frames", "fps", "message"),
    [
        (torch.zeros(2, 100), 5, 25.0, "one channel"),
        (torch.zeros(100, dtype=torch.int16), 5, 25.0, "divide integers"),
        (torch.tensor([0.0, float("nan")]), 5, 25.0, "not finite at sample 1"),
        (torch.zeros(100), 0, 25.0, "nothing to listen for"),
        (torch.zeros(100), 5, 0.0, "nothing to listen for"),
    ],
)
def test_what_is_no_sound_is_refused(sound, num_frames, fps, message):
    with pytest.raises(InputError, match=message):
        pcm_of_frames(sound, num_frames, fps)
