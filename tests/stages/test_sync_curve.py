"""The curve over offsets, against what can be written down."""

import numpy as np
import pytest

from stages.sync_curve import MIN_FRAMES, agreement, can_tell, curve_of, frames_in_common, peak_of
from stages.sync_features import MAX_LAG_FRAMES, OFFSETS_MS

NUM = 100


def delayed(stream_NE: np.ndarray, frames: int) -> np.ndarray:
    """The stream, `frames` late, in a wide window of nothing."""
    audio_ME = np.full((len(stream_NE) + 2 * MAX_LAG_FRAMES, stream_NE.shape[1]), np.nan)
    first = MAX_LAG_FRAMES + frames
    audio_ME[first : first + len(stream_NE)] = stream_NE
    return audio_ME


@pytest.mark.parametrize("frames", [-9, 0, 4])
def test_the_curve_of_a_delayed_copy_peaks_at_the_delay_with_its_power(frames: int) -> None:
    stream_NE = np.random.default_rng(0).standard_normal((NUM, 9))
    found_DN = agreement(stream_NE, delayed(stream_NE, frames))
    curve = curve_of(found_DN)
    offset_ms, height, _ = peak_of(curve)
    assert OFFSETS_MS[np.nanargmax(curve)] == 40 * frames
    assert offset_ms == pytest.approx(40 * frames, abs=10)
    assert height == pytest.approx(np.square(stream_NE).sum(axis=1).mean() / 3)
    assert frames_in_common(found_DN, curve) == NUM


def test_frames_without_a_mesh_or_sound_do_not_count() -> None:
    video_NE = np.ones((NUM, 4))
    video_NE[10:30] = np.nan
    audio_ME = delayed(np.ones((NUM, 4)), 0)
    audio_ME[MAX_LAG_FRAMES + 50 : MAX_LAG_FRAMES + 60] = np.nan
    found_DN = agreement(video_NE, audio_ME)
    assert np.isfinite(found_DN[MAX_LAG_FRAMES]).sum() == NUM - 30
    assert curve_of(found_DN)[MAX_LAG_FRAMES] == pytest.approx(2.0)


@pytest.mark.parametrize(("num", "tells"), [(MIN_FRAMES - 1, False), (MIN_FRAMES, True)])
def test_a_second_in_common_is_the_least(num: int, tells: bool) -> None:
    stream_NE = np.ones((num, 4))
    assert can_tell(curve_of(agreement(stream_NE, delayed(stream_NE, 0)))) is tells


def test_the_parabola_finds_the_top_between_frames() -> None:
    curve = 1 - np.square((OFFSETS_MS - 93.0) / 1000)
    assert peak_of(curve)[0] == pytest.approx(93.0)


def test_a_peak_at_the_end_of_the_search_is_not_refined() -> None:
    assert peak_of(np.linspace(0, 1, len(OFFSETS_MS)))[0] == OFFSETS_MS[-1]
