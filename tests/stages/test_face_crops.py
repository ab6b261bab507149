"""Face crops: the right square of the right frame at the right time, in bounded memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from manifests.span import Span
from stages.decode import DecodeCount, decode_frames
from stages.face_crops import (
    FaceCrops,
    FaceCropsObserver,
    FaceCropsSettings,
    FaceCropsStage,
    grey_faces,
    square_of,
)
from tests.stages.footage import TIME_BASE, facts_of, write_video

SPOT = 60


def spotted(num_frames: int, x_step: float) -> list[np.ndarray]:
    """A square of 60 px on dark ground whose left side moves; its brightness counts frames."""
    frames = []
    for number in range(num_frames):
        frame = np.full((240, 320, 3), 30, np.uint8)
        x = round(20 + x_step * number)
        frame[90 : 90 + SPOT, x : x + SPOT] = 60 + 3 * number
        frames.append(frame)
    return frames


def follow(
    path: Path, x_step: float, fps: float, *, seen: Any = None, **settings: Any
) -> FaceCrops:
    """Crops of a file whose spot is told to be face 3, as the tracker would tell."""
    facts = facts_of(path)
    observer = FaceCropsObserver(facts, FaceCropsSettings(**settings))
    for frame in decode_frames(facts, DecodeCount()):
        number = round(frame.time_s * fps)
        x = 20 + x_step * number
        if seen is None or number in seen:
            frame.faces = {3: np.array([x, 90, x + SPOT, 90 + SPOT])}
        observer.observe(frame)
    return observer.finish()


def span(first_s: float, last_s: float) -> Span:
    return Span(round(first_s / TIME_BASE), round(last_s / TIME_BASE), TIME_BASE)


def test_the_square_around_a_steady_face() -> None:
    boxes = np.tile([100.0, 50.0, 180.0, 150.0], (13, 1))
    # Half the longer side is 50, the centre (140, 100).
    assert square_of(boxes).tolist() == [70, 50, 210, 190]
    boxes[6] += 400
    assert square_of(boxes).tolist() == [70, 50, 210, 190]


@pytest.mark.parametrize("fps", [25, 30, 50, 24])
def test_one_crop_every_40_ms_of_the_face_where_it_is(tmp_path: Path, fps: float) -> None:
    film = write_video(tmp_path / "film.mp4", spotted(60, 50 / fps), fps=fps, crf=4)
    crops = follow(film, 50 / fps, fps)
    length_s = 60 / fps
    run = crops.run(3, span(0, length_s))
    assert run is not None
    assert abs(len(run.crops_THWC) - 25 * length_s) <= 1
    assert run.start_s == pytest.approx(0, abs=0.012)
    # The face takes 1 / 1.4 of the square, 160 of 224 px, in the middle of its upper part.
    inside, outside = run.crops_THWC[4:-4, 10:110, 75:150], run.crops_THWC[4:-4, 170:, 60:]
    assert inside.min() > 55
    assert outside.max() < 45
    # The crop of a time is that of its frame.
    number = (run.crops_THWC[:, 20:100, 80:140].mean(axis=(1, 2, 3)) - 60) / 3
    times_s = run.start_s + np.arange(len(number)) / 25
    # Frames that do not lie on the grid are off by up to one, but not on average.
    error_s = number / fps - times_s
    assert np.abs(error_s).max() < (0.025 if fps in (25, 50) else 0.045)
    assert abs(error_s.mean()) < 0.012


def test_what_lies_outside_of_the_picture_is_grey(tmp_path: Path) -> None:
    film = write_video(tmp_path / "film.mp4", spotted(20, 0), crf=4)
    crops = follow(film, -1.5, 25)
    run = crops.run(3, span(0, 0.8))
    assert run is not None
    assert np.abs(run.crops_THWC[-1, :, :30].astype(int) - 110).max() < 6


def test_a_missing_crop_is_stood_in_for_by_the_one_before(tmp_path: Path) -> None:
    film = write_video(tmp_path / "film.mp4", spotted(40, 2), crf=4)
    crops = follow(film, 2, 25, seen={*range(5, 20), *range(23, 40)})
    run = crops.run(3, span(0, 1.6))
    assert run is not None
    assert len(run.crops_THWC) == 35
    assert run.start_s == pytest.approx(0.2)
    for filled in (15, 16, 17):
        np.testing.assert_array_equal(run.crops_THWC[filled], run.crops_THWC[14])
    assert crops.run(3, span(1.7, 2.0)) is None
    assert crops.run(4, span(0, 2.0)) is None


def test_memory_is_bounded_and_it_is_told(tmp_path: Path) -> None:
    film = write_video(tmp_path / "film.mp4", spotted(40, 2), crf=4)
    crops = follow(film, 2, 25, max_mib=0.03)
    assert crops.is_full
    assert 0 < sum(map(len, crops.by_track[3].values())) < 0.03 * 2**20 + 20_000
    assert not follow(film, 2, 25).is_full


def test_faces_are_grey_and_from_the_middle() -> None:
    crops = np.zeros((2, 224, 224, 3), np.uint8)
    crops[:, 56:168, 56:168] = (255, 255, 255)
    faces = grey_faces(crops, 112)
    assert faces.shape == (2, 112, 112)
    assert (faces == 255).all()


def test_nobody_who_needs_no_crops_pays_for_them() -> None:
    assert FaceCropsStage.on_demand
    assert FaceCropsStage.measurement is None
