"""The features: exact where sound begins and ends, blind to level, face and mirror."""

import numpy as np
import pytest

from stages.landmarks import LIP_MOTION, canonical_face
from stages.sync_features import (
    GRID_FPS,
    HOP_S,
    HOPS_PER_FRAME,
    MAX_GAP_S,
    audio_features,
    heard,
    hops_of,
    log_mel,
    mirror_order,
    mirrored,
    on_grid,
    video_features,
)
from tests.stages.talking_head import voice

FACE_PC = canonical_face()[list(LIP_MOTION)]


def test_bands_are_missing_exactly_where_samples_are() -> None:
    hop_s = np.arange(-20, 120) * HOP_S
    bands_HB = log_mel(voice(1, length_s=1.0), 0.0, hop_s)
    known_H = np.isfinite(bands_HB[:, 0])
    # Half a window of 12.5 ms on either side, and one sample before it for the pre-emphasis.
    assert (known_H == ((hop_s > 0.01251) & (hop_s < 1.0 - 0.0124))).all()


def test_four_hops_lie_symmetrically_about_a_grid_frame() -> None:
    grid_s = np.arange(3) / GRID_FPS
    hops = hops_of(grid_s).reshape(3, HOPS_PER_FRAME)
    assert hops.mean(axis=1) == pytest.approx(grid_s)
    assert np.diff(hops_of(grid_s)) == pytest.approx(HOP_S)


def test_level_and_channel_have_no_influence() -> None:
    hop_s = np.arange(20, 80) * HOP_S
    loud, quiet = (log_mel(voice(1, length_s=1.0) * gain, 0.0, hop_s) for gain in (1.0, 0.01))
    assert audio_features(quiet) == pytest.approx(audio_features(loud), abs=1e-3)
    channel_B = np.linspace(-3, 3, loud.shape[1])
    assert audio_features(loud + channel_B) == pytest.approx(audio_features(loud), abs=1e-9)


def test_missing_hops_become_zero_and_do_not_move_the_mean() -> None:
    bands_HB = np.ones((10, 40))
    bands_HB[:4] = np.nan
    bands_HB[5:] = 3.0
    features_HB = audio_features(bands_HB)
    assert (features_HB[:4] == 0).all()
    assert features_HB[4:].sum() == pytest.approx(0.0, abs=1e-9)


def test_silence_at_the_ends_is_cut_off() -> None:
    sound = np.concatenate([np.zeros(1600), np.full(800, 0.1), np.zeros(400)])
    pcm, start_s = heard(sound, 5.0)
    assert len(pcm) == 800
    assert start_s == pytest.approx(5.1)
    assert len(heard(np.zeros(1600), 0.0)[0]) == 0


def test_the_mirror_is_its_own_inverse_and_keeps_the_mean_face() -> None:
    assert (mirror_order()[mirror_order()] == np.arange(65)).all()
    assert mirrored(FACE_PC[None])[0] == pytest.approx(FACE_PC, abs=1e-6)
    skewed = FACE_PC[None] + np.random.default_rng(0).normal(0, 0.01, (4, 65, 3))
    assert mirrored(mirrored(skewed)) == pytest.approx(skewed)


def test_the_grid_interpolates_and_marks_long_gaps() -> None:
    times_s = np.arange(0, 2, 1 / 30)
    points_TPC = FACE_PC + times_s[:, None, None]
    points_TPC[30:45] = np.nan
    grid_s, points_NPC, known_N = on_grid(points_TPC, times_s)
    assert points_NPC[known_N] == pytest.approx((FACE_PC + grid_s[:, None, None])[known_N])
    gap = (grid_s > times_s[29] + 1e-6) & (grid_s < times_s[45] - 1e-6)
    assert times_s[45] - times_s[29] > MAX_GAP_S
    assert not known_N[gap].any()
    assert known_N[~gap].all()


def test_a_still_face_moves_nothing_whoever_it_is() -> None:
    still = np.repeat(FACE_PC[None] * [1.1, 0.9, 1.0], 30, axis=0)
    pca_XF = np.random.default_rng(0).normal(size=(195, 24))
    assert video_features(still, pca_XF) == pytest.approx(np.zeros((30, 55)), abs=1e-9)
