"""Key frames come from the shared decode: right pictures at right times, no more than asked."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from manifests.span import Span
from stages.decode import DecodeCount, decode_frames
from stages.key_frames import KeyFrame, KeyFrames, KeyFramesSettings, KeyFramesStage
from tests.stages.footage import TIME_BASE, facts_of, watch, write_video

FPS = 10
NUM_FRAMES = 45


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """4.5 s at 10 fps that grow redder with every frame."""
    frames = [np.full((240, 320, 3), (40 + 4 * number, 60, 90), np.uint8) for number in range(45)]
    return write_video(tmp_path_factory.mktemp("film") / "film.mp4", frames, fps=FPS, crf=1)


def redness(frame: KeyFrame) -> float:
    picture = cv2.imdecode(np.frombuffer(frame.jpeg, np.uint8), cv2.IMREAD_COLOR)
    return float(picture[..., 2].mean())


def evidence(film: Path, start: Fraction | None = None, end: Fraction | None = None) -> KeyFrames:
    facts = facts_of(film)
    observer = KeyFramesStage(KeyFramesSettings()).observer(facts)
    for frame in decode_frames(facts, DecodeCount(), start=start, end=end):
        observer.observe(frame)
    return observer.finish()


def test_one_picture_a_second_each_that_of_its_time(film: Path) -> None:
    found = watch(KeyFramesStage(KeyFramesSettings()), film)
    assert found.time_base == TIME_BASE
    assert [frame.pts * TIME_BASE for frame in found.frames] == [0, 1, 2, 3, 4]
    for second, frame in enumerate(found.frames):
        assert abs(redness(frame) - (40 + 4 * second * FPS)) < 3


def test_pictures_are_upright_rgb_and_as_small_as_asked(film: Path) -> None:
    found = watch(KeyFramesStage(KeyFramesSettings(max_side_px=64)), film)
    picture = cv2.imdecode(np.frombuffer(found.frames[0].jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape == (48, 64, 3)
    blue, green, red = picture.mean(axis=(0, 1))
    assert np.allclose((red, green, blue), (40, 60, 90), atol=4)


@pytest.mark.parametrize("every_s", [0.5, 2.0])
def test_their_number_follows_the_length_and_nothing_else(film: Path, every_s: float) -> None:
    found = watch(KeyFramesStage(KeyFramesSettings(every_s=every_s)), film)
    assert len(found.frames) == -(-NUM_FRAMES // round(every_s * FPS))


def test_the_first_picture_of_a_source_is_kept_whenever_it_comes(tmp_path: Path) -> None:
    frames = [np.full((240, 320, 3), 90, np.uint8)] * 9
    late = write_video(tmp_path / "late.mkv", frames, times_s=[0.4 + n / FPS for n in range(9)])
    found = watch(KeyFramesStage(KeyFramesSettings()), late)
    assert [round(float(frame.pts * found.time_base), 2) for frame in found.frames] == [0.4, 1.0]


@pytest.mark.parametrize("border", [Fraction(1), Fraction(5, 2), Fraction(29, 10)])
def test_two_segments_keep_what_the_whole_does(film: Path, border: Fraction) -> None:
    parts = evidence(film, end=border).frames + evidence(film, start=border).frames
    assert parts == evidence(film).frames


def frames_at(*pts: int) -> KeyFrames:
    return KeyFrames(Fraction(1), tuple(KeyFrame(number, b"") for number in pts))


@pytest.mark.parametrize(
    ("span", "num_frames", "expected"),
    [
        ((0, 9), 3, [1, 4, 7]),
        ((0, 12), 4, [1, 4, 7, 10]),
        ((3, 6), 1, [4]),
        ((3, 5), 3, [3, 4]),
        ((0, 5), 2, [1, 3]),
    ],
)
def test_pictures_of_a_clip_are_evenly_placed_within_it(
    span: tuple[int, int], num_frames: int, expected: list[int]
) -> None:
    found = frames_at(*range(12)).within(Span(*span, Fraction(1)), num_frames)
    assert [frame.pts for frame in found] == expected


def test_a_clip_without_pictures_borrows_none() -> None:
    assert frames_at(0, 9).within(Span(1, 9, Fraction(1)), 3) == ()


def test_the_end_of_a_clip_belongs_to_the_next() -> None:
    assert frames_at(0, 5).within(Span(0, 5, Fraction(1)), 3) == (KeyFrame(0, b""),)
