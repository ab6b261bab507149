"""What `benchmarks/learns_to_talk` measures with: offsets, the reader of mouths, the strip."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from PIL import Image

from benchmarks.following import bootstrap, correlation, following, lag_correlations
from benchmarks.mouth_reading import (
    MouthReader,
    head_moves,
    loudness_db,
    mesh_opening,
    mouth_numbers,
)
from benchmarks.talk_report import Spoken, Take, lags, median_clip, strip

FPS = 25
LIPS = np.array([[24, 44], [32, 41], [40, 44], [32, 47]], np.float32)


def speech_like(num: int, seed: int) -> np.ndarray:
    draw = np.random.default_rng(seed).normal(size=num + 8)
    return np.convolve(draw, np.hanning(7) / 3, "same")[4:-4]


def talking(opening: np.ndarray, seed: int, light: np.ndarray | None = None) -> np.ndarray:
    """A dark mouth on a face that sways by a pixel; light changes above the lips' patch only."""
    draw = np.random.default_rng(seed)
    skin = draw.integers(150, 200)
    frames = []
    for number, height in enumerate(opening):
        frame = np.full((64, 64, 3), skin, np.uint8)
        if light is not None:
            frame[:24] = 128 + int(light[number])
        sway = np.sin(number / 9 + seed)
        middle = (round((32 + sway) * 16), 44 * 16)
        axes = (7 * 16, round(16 * max(0.2, 2.5 + height)))
        cv2.ellipse(frame, middle, axes, 0, 0, 360, (60, 20, 20), -1, cv2.LINE_AA, 4)
        frames.append(frame)
    noisy = np.stack(frames) + draw.normal(0, 2, (len(opening), 64, 64, 3))
    return noisy.clip(0, 255).astype(np.uint8)


def taken(name: str, seed: int, num: int = 65) -> Take:
    opening = speech_like(num, seed)
    pcm = np.random.default_rng(seed).normal(0, 0.1, num * 640).astype(np.float32)
    return Take(name, talking(opening, seed), opening, LIPS, pcm, "", FPS)


def spoken(name: str, seed: int, noise: float) -> Spoken:
    take, other = taken(name, seed), taken("other", seed + 50)
    read = {
        "true": take.opening,
        "codec": take.opening,
        "right": take.opening + noise * speech_like(65, seed + 90),
        "swapped": other.opening,
        "none": np.zeros(65),
    }
    shown = dict.fromkeys(read, take.frames)
    return Spoken(take, other, shown, read, read, dict.fromkeys(read, 1.0))


@pytest.mark.parametrize("late", [-3, 0, 2])
def test_a_late_mouth_has_a_positive_offset(late):
    truth = speech_like(200, 1)
    curves = [lag_correlations(np.roll(speech_like(200, n), late), speech_like(200, n), 6)
              for n in range(4)]  # fmt: skip
    found = following(np.stack(curves), FPS)
    assert found.offset_ms == pytest.approx(40 * late, abs=4)
    assert found.best > 0.95
    assert correlation(truth, truth) == pytest.approx(1)


def test_an_offset_of_half_a_frame_is_seen():
    times = np.arange(150)
    curve = lag_correlations(np.sin((times - 0.5) / 4), np.sin(times / 4), 6)
    assert following(curve[None], FPS).offset_ms == pytest.approx(20, abs=2)


def test_a_still_mouth_follows_nothing():
    assert not lag_correlations(np.full(60, 0.3), speech_like(60, 2), 6).any()


def test_curves_that_are_too_short_for_their_lags_are_refused():
    with pytest.raises(ValueError, match="too short"):
        lag_correlations(np.zeros(20), np.zeros(20), 10)


def test_strangers_do_not_follow_each_other_and_the_interval_says_so():
    curves = [
        lag_correlations(speech_like(160, n), speech_like(160, n + 40), 12) for n in range(12)
    ]
    low, high = following(np.stack(curves), FPS).interval
    assert low < 0 < high < 0.2


def test_the_interval_narrows_with_more_clips():
    few, many = (np.random.default_rng(3).normal(0.5, 0.1, num) for num in (4, 64))
    widths = [high - low for low, high in (bootstrap(few), bootstrap(many))]
    assert widths[1] < widths[0] / 2


def numbers(frames: np.ndarray, meshes: np.ndarray | None = None) -> np.ndarray:
    return mouth_numbers(
        frames, LIPS, np.full((len(frames), 478, 2), np.nan) if meshes is None else meshes
    )


def test_the_reader_reads_mouths_it_never_saw_and_no_light_beside_them():
    clips = [speech_like(80, seed) for seed in range(8)]
    reader = MouthReader.fit([numbers(talking(one, seed)) for seed, one in enumerate(clips)], clips)
    new, light = speech_like(80, 30), 90 * np.sign(speech_like(80, 31))
    read = reader.read(numbers(talking(new, 30)))
    assert correlation(read, new) > 0.95
    shut = reader.read(numbers(talking(np.zeros(80), 32, light)))
    assert abs(correlation(shut, light)) < 0.3
    assert shut.std() < 0.1 * read.std()


def moving_mesh(num: int) -> np.ndarray:
    """A face that drifts to the right by half a pixel a frame; its lips open in frame 3."""
    points = np.random.default_rng(0).uniform(10, 50, (478, 2))
    points[[33, 263, 13, 14]] = (20, 20), (40, 20), (30, 42), (30, 43)
    meshes = points + np.arange(num)[:, None, None] * np.array([0.5, 0.0])
    meshes[3, 14, 1] += 6
    return meshes


def test_the_patch_goes_with_the_head_and_stays_in_frames_without_a_face():
    meshes = moving_mesh(6)
    meshes[4] = np.nan
    moves = head_moves(meshes)
    np.testing.assert_allclose(moves[:, 0, 2], [0, 0.5, 1, 1.5, 2, 2.5], atol=1e-3)
    np.testing.assert_allclose(moves[:, 1, 2], 0, atol=1e-3)
    none = head_moves(np.full((3, 478, 2), np.nan))
    np.testing.assert_array_equal(none, np.tile(np.eye(2, 3), (3, 1, 1)))


def test_a_head_that_moves_with_a_shut_mouth_gives_still_numbers():
    meshes = moving_mesh(6)
    meshes[3] = (meshes[2] + meshes[4]) / 2
    wide = talking(np.zeros(1), 4)[0]
    moved = [cv2.warpAffine(wide, np.float32([[1, 0, n / 2], [0, 1, 0]]), (64, 64),
                            borderMode=cv2.BORDER_REPLICATE) for n in range(6)]  # fmt: skip
    followed = numbers(np.stack(moved), meshes)
    assert np.abs(followed).mean() < 0.3 * np.abs(numbers(np.stack(moved))).mean()


def test_the_mesh_s_opening_is_filled_in_where_no_face_was_found():
    meshes = moving_mesh(6)
    opening = mesh_opening(meshes)
    assert opening.argmax() == 3 and opening.mean() == pytest.approx(0)
    meshes[[3, 5]] = np.nan
    assert np.ptp(mesh_opening(meshes)) == pytest.approx(0, abs=1e-9)
    assert not mesh_opening(np.full((4, 478, 2), np.nan)).any()


def test_loudness_stands_at_the_frame_where_it_is_heard():
    pcm = np.zeros(16_000)
    pcm[6400:9600] = np.sin(np.arange(3200))  # 0.4 to 0.6 s
    level = loudness_db(pcm, 25, FPS, 16_000)
    assert level[11:15].min() > -1
    assert level[:9].max() == level[17:].max() == -40


def test_the_first_frame_is_given_and_does_not_count():
    opening = speech_like(65, 5)
    other = opening.copy()
    other[0] = 1000
    assert lags(other, opening)[12] == pytest.approx(1)


def test_the_strip_shows_the_median_clip_and_stays_small(tmp_path):
    clips = [spoken(name, seed, noise) for name, seed, noise in
             (("bad", 1, 3.0), ("good", 2, 0.1), ("middle", 3, 0.8))]  # fmt: skip
    one = median_clip(clips)
    assert one.take.clip_id == "middle"
    strip(one, tmp_path / "strip.png")
    with Image.open(tmp_path / "strip.png") as picture:
        assert picture.width == 80 + 14 * 80
    assert (tmp_path / "strip.png").stat().st_size < 400_000
