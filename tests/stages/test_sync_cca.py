"""The estimator on a made talking head, whose truth is known, and on real clips where they are."""

import csv
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

from stages import landmarks as mesh
from stages.sync_cca import (
    GRID_FPS,
    MAX_LAG_FRAMES,
    OFFSETS_MS,
    SAMPLE_RATE_HZ,
    CcaSync,
    SyncEstimate,
    correlation_curve,
    log_mel,
    peak_of,
)

CLIPS = Path(__file__).parents[2].parent / "shared" / "data"
SPEECH_S = 6.0


def opening(time_s: mesh.FloatArray, seed: int) -> mesh.FloatArray:
    """How far a mouth is open, 0..1: sums of sinusoids at the pace of syllables (1 to 6 Hz)."""
    rng = np.random.default_rng(seed)
    rate_hz, phase = rng.uniform(1, 6, 12), rng.uniform(0, 2 * np.pi, 12)
    wave = np.sin(2 * np.pi * rate_hz * time_s[..., None] + phase).sum(axis=-1)
    return np.asarray(np.clip(0.5 + wave / 8, 0, 1))


@lru_cache
def lips(
    fps: float, seed: int, length_s: float = SPEECH_S
) -> tuple[mesh.FloatArray, mesh.FloatArray]:
    """A head that nods, at 200 px between the eyes, with a jaw that drops by the opening."""
    times_s = np.arange(int(length_s * fps)) / fps
    face_TPC = np.repeat(mesh.canonical_face()[None], len(times_s), axis=0)
    drop_T = 0.15 * opening(times_s, seed)
    lower = sorted(set(mesh.JAW_CHIN) | set(mesh.OUTER_LIP[1:10]) | set(mesh.INNER_LIP[1:10]))
    face_TPC[:, lower, 1] += drop_T[:, None]
    angle_T = 0.1 * np.sin(2 * np.pi * 0.4 * times_s)
    nod_T33 = np.zeros((len(times_s), 3, 3))
    nod_T33[:, 0, 0] = 1
    nod_T33[:, 1, 1] = nod_T33[:, 2, 2] = np.cos(angle_T)
    nod_T33[:, 1, 2], nod_T33[:, 2, 1] = np.sin(angle_T), -np.sin(angle_T)
    return face_TPC @ nod_T33 * 200 + [500, 400, 0], times_s


@lru_cache
def voice(seed: int, delay_s: float = 0.0, length_s: float = SPEECH_S) -> mesh.FloatArray:
    """A buzz of 120 Hz whose loudness and brightness follow the opening, `delay_s` late."""
    time_s = np.arange(int(length_s * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    open_N = opening(time_s - delay_s, seed)
    buzz = sum(
        np.sin(2 * np.pi * 120 * k * time_s) * open_N ** (1 + k / 8) / k for k in range(1, 30)
    )
    hiss = np.random.default_rng(seed + 99).standard_normal(len(time_s))
    return np.asarray(0.1 * buzz + 1e-4 * hiss, np.float32)


@lru_cache(maxsize=1)
def estimator() -> CcaSync:
    return CcaSync.load()


@lru_cache
def measured(fps: float, delay_s: float, start_s: float = 0.0) -> SyncEstimate:
    return estimator().estimate(*lips(fps, seed=1), voice(1, delay_s), start_s)


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
    far = estimator().estimate(points_TPC, times_s + 95_000.0, voice(1), 95_000.0)
    assert far.offset_ms == pytest.approx(measured(25.0, 0.0).offset_ms, abs=1.0)


def test_level_does_not_matter() -> None:
    points_TPC, times_s = lips(25.0, seed=1)
    quiet = estimator().estimate(points_TPC, times_s, voice(1) * 0.01, 0.0)
    assert quiet.score == pytest.approx(measured(25.0, 0.0).score, abs=0.01)


def test_another_voice_has_a_lower_confidence() -> None:
    own = measured(25.0, 0.0).confidence
    swapped = estimator().estimate(*lips(25.0, seed=1), voice(7), 0.0).confidence
    assert own is not None and swapped is not None
    assert swapped < own - 0.2


def test_drift_shows_as_halves_that_disagree() -> None:
    points_TPC, times_s = lips(25.0, seed=1)
    steady = measured(25.0, 0.0)
    early, late = voice(1, 0.0), voice(1, 0.3)
    jump = np.concatenate([early[: len(early) // 2], late[len(late) // 2 :]])
    jumped = estimator().estimate(points_TPC, times_s, jump, 0.0)
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
    result = estimator().estimate(points_TPC, times_s, pcm, start_s)
    assert (result.offset_ms, result.confidence, result.score, result.margin) == (None,) * 4
    assert result.half_disagreement_ms is None
    assert result.curve.shape == result.offsets_ms.shape == (2 * MAX_LAG_FRAMES + 1,)


def test_missing_meshes_are_bridged_or_left_out() -> None:
    points_TPC, times_s = lips(25.0, seed=1)
    points_TPC = points_TPC.copy()
    points_TPC[20:23] = points_TPC[60:90] = np.nan
    result = estimator().estimate(points_TPC, times_s, voice(1, 0.2), 0.0)
    still = measured(25.0, 0.0).offset_ms
    assert result.offset_ms is not None and still is not None
    assert result.offset_ms - still == pytest.approx(200, abs=20)


def test_sound_beyond_the_picture_lets_every_offset_be_tried() -> None:
    points_TPC, times_s = lips(25.0, seed=1)
    middle_T = (times_s >= 3) & (times_s < 4.4)
    exact = estimator().estimate(
        points_TPC[middle_T], times_s[middle_T], voice(1)[48000:70400], 3.0
    )
    wide = estimator().estimate(points_TPC[middle_T], times_s[middle_T], voice(1), 0.0)
    assert np.isnan(exact.curve).any()
    assert np.isfinite(wide.curve).all()


def test_silent_padding_is_no_evidence() -> None:
    points_TPC, times_s = lips(25.0, seed=1)
    padded = np.pad(voice(1), (SAMPLE_RATE_HZ, SAMPLE_RATE_HZ))
    result = estimator().estimate(points_TPC, times_s, padded, -1.0)
    assert result.score == pytest.approx(measured(25.0, 0.0).score, abs=1e-6)


def test_bands_are_missing_exactly_where_samples_are() -> None:
    grid_s = np.arange(-5, 30) / GRID_FPS
    bands = log_mel(voice(1, length_s=1.0), 0.0, grid_s)
    known = np.isfinite(bands[:, 0])
    assert known.any() and not known[0] and not known[-1]
    # A grid frame needs 15 ms of hops and half a window of 12.5 ms on either side.
    assert (known == ((grid_s > 0.0275) & (grid_s < 1.0 - 0.0275))).all()


def test_the_curve_of_a_delayed_copy_peaks_at_the_delay_with_one() -> None:
    stream = np.random.default_rng(0).standard_normal((100, 3))
    audio_MK = np.full((100 + 2 * MAX_LAG_FRAMES, 3), np.nan)
    audio_MK[MAX_LAG_FRAMES + 4 : MAX_LAG_FRAMES + 104] = stream
    curve = correlation_curve(stream, audio_MK, np.array([3.0, 2.0, 1.0]))
    offset_ms, height, _ = peak_of(curve)
    assert OFFSETS_MS[np.nanargmax(curve)] == 160
    assert offset_ms == pytest.approx(160, abs=10)
    assert height == pytest.approx(1.0)


def test_the_parabola_finds_the_top_between_frames() -> None:
    curve = 1 - np.square((OFFSETS_MS - 93.0) / 1000)
    assert peak_of(curve)[0] == pytest.approx(93.0)


def test_the_learned_arrays_are_small() -> None:
    stored = Path(mesh.__file__).with_name("sync_cca.npz")
    assert stored.stat().st_size < 150_000


@pytest.mark.skipif(not (CLIPS / "INDEX.csv").exists(), reason="the real clips are not here")
def test_known_shifts_of_a_real_clip() -> None:
    from stages.sync_fit import decode_pcm, meshes

    with (CLIPS / "INDEX.csv").open() as file:
        known = {row["file"]: row["av_offset_ms_known"] for row in csv.DictReader(file)}
    # The picture is the same in all of them, so the mesh is made once.
    points_TPC, times_s = meshes(CLIPS / "d_off_p200.mp4")
    offsets = {}
    for name in ("d_off_p200.mp4", "d_off_m200.mp4", "d_off_p400.mp4", "d_dub_man_man.mp4"):
        offsets[name] = estimator().estimate(points_TPC, times_s, *decode_pcm(CLIPS / name))
    base_ms = (offsets["d_off_p200.mp4"].offset_ms or 0) - 200
    for name in ("d_off_m200.mp4", "d_off_p400.mp4"):
        assert offsets[name].offset_ms == pytest.approx(base_ms + float(known[name]), abs=20)
    dubbed, own = (offsets[n].confidence for n in ("d_dub_man_man.mp4", "d_off_p200.mp4"))
    assert dubbed is not None and own is not None and dubbed < 0.3 < 0.7 < own
