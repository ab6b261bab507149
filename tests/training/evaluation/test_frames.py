"""Frames come at the times at which they show, upright, whatever the rate."""

from __future__ import annotations

import numpy as np
import pytest

from tests.training.evaluation.media import grey, noise, write_video
from training.errors import InputError
from training.evaluation.frames import iter_frames, shown_at


def test_each_time_gives_the_frame_that_shows_then(tmp_path):
    path = write_video(tmp_path / "a.mkv", [grey(10 * n) for n in range(10)], fps=10)
    times_s = [0.0, 0.05, 0.1, 0.195, 0.2, 0.55, 0.9, 5.0]
    values = [int(shown.picture_HWC[0, 0, 0]) for shown in shown_at(path, times_s)]
    assert values == [0, 0, 10, 10, 20, 50, 90, 90]


def test_time_begins_with_the_first_frame(tmp_path):
    path = write_video(tmp_path / "late.mkv", [grey(10), grey(20)], fps=10, first_pts=7)
    assert [round(time_s, 3) for time_s, _ in iter_frames(path)] == [0.0, 0.1]


def test_pixels_are_those_that_were_written(tmp_path):
    frames = [noise(n) for n in range(3)]
    path = write_video(tmp_path / "a.mkv", frames)
    for shown, frame in zip(shown_at(path, [0.0, 0.04, 0.08]), frames, strict=True):
        assert np.array_equal(shown.picture_HWC, frame)


def test_what_is_no_video_is_refused_in_words(tmp_path):
    path = tmp_path / "text.mp4"
    path.write_text("no video")
    with pytest.raises(InputError, match="cannot be decoded"):
        list(iter_frames(path))


def test_time_stamps_that_a_container_rounded_still_give_their_own_frame(tmp_path):
    path = write_video(tmp_path / "a.mkv", [grey(n) for n in range(60)], fps=30)
    times_s = [n / 30 for n in range(60)]
    values = [int(shown.picture_HWC[0, 0, 0]) for shown in shown_at(path, times_s)]
    assert values == list(range(60))


def test_damage_is_passed_over(tmp_path):
    path = write_video(tmp_path / "a.mkv", [noise(n) for n in range(20)])
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 2000] = bytes(2000)
    path.write_bytes(data)
    assert 10 <= len(list(iter_frames(path))) <= 20
