"""The estimator that ships, on a made talking head whose truth is known."""

from functools import lru_cache
from importlib.resources import files

import numpy as np
import pytest

from stages import landmarks as mesh
from stages.face_track import STORED_POINTS
from stages.sync_estimator import WEIGHTS, SyncEstimate, SyncEstimator, SyncInput
from stages.sync_features import MAX_LAG_FRAMES, SAMPLE_RATE_HZ
from tests.stages.talking_head import lips, voice


@lru_cache(maxsize=1)
def estimator() -> SyncEstimator:
    return SyncEstimator.load()


def estimate(
    landmarks_TPC: mesh.FloatArray, times_s: mesh.FloatArray, pcm: mesh.FloatArray, start_s: float
) -> SyncEstimate:
    return estimator().estimate([SyncInput(landmarks_TPC, times_s, pcm, start_s)])[0]


@lru_cache
def measured(fps: float, delay_s: float, start_s: float = 0.0) -> SyncEstimate:
    return estimate(*lips(fps, seed=1), voice(1, delay_s), start_s)


@pytest.mark.parametrize("fps", [24.0, 25.0, 30.0, 60.0])
@pytest.mark.parametrize("delay_s", [-0.2, 0.2, 0.37])
def test_later_audio_gives_a_larger_offset(fps: float, delay_s: float) -> None:
    still, moved = measured(fps, 0.0), measured(fps, delay_s)
    assert still.offset_ms is not None and moved.offset_ms is not None
    assert moved.offset_ms - still.offset_ms == pytest.approx(1000 * delay_s, abs=20)


@pytest.mark.parametrize("start_s", [-0.2, 0.2])
def test_a_later_start_time_is_later_audio(start_s: float) -> None:
    still, moved = measured(25.0, 0.0), measured(25.0, 0.0, start_s)
    assert still.offset_ms is not None and moved.offset_ms is not None
    assert moved.offset_ms - still.offset_ms == pytest.approx(1000 * start_s, abs=20)


def test_frame_rate_does_not_move_the_offset() -> None:
    offsets = [measured(fps, 0.0).offset_ms for fps in (24.0, 25.0, 30.0, 60.0)]
    assert max(offsets) - min(offsets) < 15  # type: ignore[type-var, operator]


def test_a_common_clock_may_start_anywhere() -> None:
    points_TPC, times_s = lips(25.0, seed=1)
    far = estimate(points_TPC, times_s + 95_000.0, voice(1), 95_000.0)
    assert far.offset_ms == pytest.approx(measured(25.0, 0.0).offset_ms, abs=1.0)


def test_level_does_not_matter() -> None:
    points_TPC, times_s = lips(25.0, seed=1)
    quiet = estimate(points_TPC, times_s, voice(1) * 0.01, 0.0)
    assert quiet.score == pytest.approx(measured(25.0, 0.0).score, abs=0.01)


def test_a_mirrored_face_is_judged_alike() -> None:
    points_TPC, times_s = lips(25.0, seed=1)
    flipped = points_TPC * [-1, 1, 1] + [1000, 0, 0]
    # A mirrored mesh swaps the sides of its points; what is not seen from the side stays.
    partner = np.arange(mesh.NUM_LANDMARKS)
    face_PC = mesh.canonical_face()
    across = np.linalg.norm((face_PC * [-1, 1, 1])[:, None] - face_PC[None], axis=2)
    partner = across.argmin(axis=1)
    found = estimate(flipped[:, partner], times_s, voice(1), 0.0)
    assert found.score == pytest.approx(measured(25.0, 0.0).score, abs=0.01)


def test_another_voice_has_a_lower_confidence() -> None:
    own = measured(25.0, 0.0)
    swapped = estimate(*lips(25.0, seed=1), voice(7), 0.0)
    assert own.confidence is not None and swapped.confidence is not None
    assert swapped.confidence < own.confidence - 0.2


def test_drift_shows_as_halves_that_disagree() -> None:
    points_TPC, times_s = lips(25.0, seed=1)
    steady = measured(25.0, 0.0)
    early, late = voice(1, 0.0), voice(1, 0.3)
    jump = np.concatenate([early[: len(early) // 2], late[len(late) // 2 :]])
    jumped = estimate(points_TPC, times_s, jump, 0.0)
    assert steady.half_disagreement_ms is not None and steady.half_disagreement_ms < 40
    assert jumped.half_disagreement_ms == pytest.approx(300, abs=60)


@pytest.mark.parametrize(
    "case", ["silence", "no mesh", "short", "no sound", "apart", "one frame", "no frame"]
)
def test_too_little_to_compare_is_none_and_not_out_of_sync(case: str) -> None:
    points_TPC, times_s = lips(25.0, seed=1)
    pcm, start_s = voice(1), 0.0
    if case == "silence":
        pcm = np.zeros_like(pcm)
    elif case == "no mesh":
        points_TPC = points_TPC.copy()
        points_TPC[10:-10] = np.nan
    elif case == "short":
        points_TPC, times_s = points_TPC[:20], times_s[:20]
    elif case == "no sound":
        pcm = pcm[:0]
    elif case == "apart":
        start_s = 100.0
    else:
        num = int(case == "one frame")
        points_TPC, times_s = points_TPC[:num], times_s[:num]
    result = estimate(points_TPC, times_s, pcm, start_s)
    assert (result.offset_ms, result.confidence, result.score, result.margin) == (None,) * 4
    assert result.half_disagreement_ms is None
    assert result.curve.shape == result.offsets_ms.shape == (2 * MAX_LAG_FRAMES + 1,)


def test_missing_meshes_are_bridged_or_left_out() -> None:
    points_TPC, times_s = lips(25.0, seed=1)
    points_TPC = points_TPC.copy()
    points_TPC[20:23] = points_TPC[60:90] = np.nan
    result = estimate(points_TPC, times_s, voice(1, 0.2), 0.0)
    still = measured(25.0, 0.0).offset_ms
    assert result.offset_ms is not None and still is not None
    assert result.offset_ms - still == pytest.approx(200, abs=20)


def test_points_that_are_not_stored_are_not_needed() -> None:
    points_TPC, times_s = lips(25.0, seed=1)
    stored_TPC = np.full_like(points_TPC, np.nan)
    stored_TPC[:, STORED_POINTS] = points_TPC[:, STORED_POINTS]
    found = estimate(stored_TPC, times_s, voice(1), 0.0)
    assert found.offset_ms == measured(25.0, 0.0).offset_ms


def test_sound_beyond_the_picture_lets_every_offset_be_tried() -> None:
    points_TPC, times_s = lips(25.0, seed=1)
    middle_T = (times_s >= 3) & (times_s < 4.4)
    exact = estimate(points_TPC[middle_T], times_s[middle_T], voice(1)[48000:70400], 3.0)
    wide = estimate(points_TPC[middle_T], times_s[middle_T], voice(1), 0.0)
    assert np.isnan(exact.curve).any()
    assert np.isfinite(wide.curve).all()


def test_silent_padding_is_no_evidence() -> None:
    points_TPC, times_s = lips(25.0, seed=1)
    padded = np.pad(voice(1), (SAMPLE_RATE_HZ, SAMPLE_RATE_HZ))
    result = estimate(points_TPC, times_s, padded, -1.0)
    assert result.score == pytest.approx(measured(25.0, 0.0).score, abs=1e-4)


def test_a_batch_gives_what_each_gives_alone() -> None:
    inputs = [
        SyncInput(*lips(25.0, seed=1), voice(1), 0.0),
        SyncInput(*lips(30.0, seed=2, length_s=4.0), voice(2), 0.0),
        SyncInput(*lips(25.0, seed=1), np.zeros(100), 0.0),
    ]
    for together, each in zip(estimator().estimate(inputs), inputs, strict=True):
        alone = estimator().estimate([each])[0]
        assert together.offset_ms == pytest.approx(alone.offset_ms, abs=0.01)
        assert together.score == pytest.approx(alone.score, abs=1e-5)


def test_the_weights_are_small_and_no_pickle() -> None:
    stored = files("stages").joinpath(WEIGHTS)
    assert len(stored.read_bytes()) <= 600_000
    with stored.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        assert all(array.dtype.kind in "fU" for array in arrays.values())
