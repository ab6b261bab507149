"""What was done to the footage is what is measured of it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from manifests.span import Span
from stages.picture import PictureSettings, PictureStage, measure_picture
from stages.picture_quality import blurred_fill
from stages.picture_records import PictureMeasurement, PictureTrace
from stages.stillness import frozen_runs
from tests.stages.footage import ASTRONAUT, COFFEE, SIZE, panned, real, watch, write_video

SETTINGS = PictureSettings()


def trace_of(path: Path) -> PictureTrace:
    trace = watch(PictureStage(SETTINGS), path)
    assert isinstance(trace, PictureTrace)
    return trace


def whole(trace: PictureTrace) -> Span:
    return Span(int(trace.pts[0]), trace.end_pts, trace.time_base)


def measure(path: Path) -> PictureMeasurement:
    trace = trace_of(path)
    return measure_picture(whole(trace), trace, SETTINGS)


def test_clean_footage_has_no_fault(tmp_path: Path) -> None:
    found = measure(write_video(tmp_path / "clean.mp4", panned(ASTRONAUT, 75)))
    assert found.sharpness > 0.25
    assert found.noise < 5
    assert found.blockiness < 1.3
    assert found.letterbox_ratio == found.pillarbox_ratio == found.blurred_fill_ratio == 0
    assert found.frozen_ratio == found.corrupt_ratio == found.longest_frozen_s == 0


def test_frozen_stretch_is_found_with_its_times(tmp_path: Path) -> None:
    frames = panned(ASTRONAUT, 125)
    frames[50:100] = [frames[50]] * 50
    trace = trace_of(write_video(tmp_path / "frozen.mp4", frames))
    (frozen,) = trace.frozen_spans(1.0)
    assert frozen.start_s == pytest.approx(2.0, abs=0.13)
    assert frozen.end_s == pytest.approx(4.0, abs=0.05)
    assert measure_picture(whole(trace), trace, SETTINGS).frozen_ratio == pytest.approx(
        0.4, abs=0.03
    )
    before = Span(0, int(1.5 / trace.time_base), trace.time_base)
    assert measure_picture(before, trace, SETTINGS).frozen_ratio == 0


def test_single_refreshed_frame_does_not_part_a_frozen_stretch() -> None:
    still = np.ones(50, bool)
    still[[0, 25]] = False
    assert frozen_runs(still) == [(0, 49)]
    still[24:27] = False
    assert frozen_runs(still) == [(0, 23), (26, 49)]


def test_repeated_frames_are_duplicates_but_not_frozen(tmp_path: Path) -> None:
    frames = [frame for frame in panned(ASTRONAUT, 40, step_px=3) for _ in range(2)]
    found = measure(write_video(tmp_path / "doubled.mp4", frames, crf=10))
    assert found.duplicate_ratio == pytest.approx(0.5, abs=0.1)
    assert found.frozen_ratio == 0


def test_blur_lowers_sharpness_and_size_does_not(tmp_path: Path) -> None:
    frames = panned(ASTRONAUT, 30)
    large = [cv2.resize(frame, (960, 720), interpolation=cv2.INTER_CUBIC) for frame in frames]
    blurred = [cv2.GaussianBlur(frame, (0, 0), 8) for frame in large]
    assert measure(write_video(tmp_path / "sharp.mp4", frames)).sharpness > 0.25
    assert measure(write_video(tmp_path / "blurred.mp4", blurred)).sharpness < 0.15


def test_exposure_and_colour(tmp_path: Path) -> None:
    frames = panned(COFFEE, 30)
    dark = measure(write_video(tmp_path / "dark.mp4", [frame // 12 for frame in frames]))
    grey = [cv2.cvtColor(cv2.cvtColor(f, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB) for f in frames]
    assert dark.luma_median < 15
    assert dark.luma_range < 30
    assert measure(write_video(tmp_path / "grey.mp4", grey)).colourfulness < 2
    assert measure(write_video(tmp_path / "colour.mp4", frames)).colourfulness > 20


@pytest.mark.parametrize("in_chroma", [False, True])
def test_noise_is_measured_in_luma_and_chroma(tmp_path: Path, in_chroma: bool) -> None:
    rng = np.random.default_rng(0)
    shape = (SIZE[1], SIZE[0], 3 if in_chroma else 1)
    frames = [
        np.clip(frame + rng.normal(0, 20, shape), 0, 255).astype(np.uint8)
        for frame in panned(ASTRONAUT, 20)
    ]
    assert measure(write_video(tmp_path / "noisy.mp4", frames, crf=12)).noise > 8


def test_blocks_of_strong_compression_are_seen() -> None:
    rough = cv2.imdecode(
        cv2.imencode(".jpg", ASTRONAUT, [cv2.IMWRITE_JPEG_QUALITY, 8])[1], cv2.IMREAD_COLOR
    )
    from stages.picture_quality import blockiness, tiles_of

    grey = cv2.cvtColor(ASTRONAUT, cv2.COLOR_RGB2GRAY)
    assert blockiness(tiles_of(grey)) < 1.2
    assert blockiness(tiles_of(cv2.cvtColor(rough, cv2.COLOR_BGR2GRAY))) > 1.6


@pytest.mark.parametrize(("rows", "columns"), [(30, 0), (0, 48)])
def test_black_bars_are_measured(tmp_path: Path, rows: int, columns: int) -> None:
    frames = panned(COFFEE, 30)
    for frame in frames:
        frame[:rows], frame[len(frame) - rows :] = 0, 0
        frame[:, :columns], frame[:, frame.shape[1] - columns :] = 0, 0
    found = measure(write_video(tmp_path / "bars.mp4", frames))
    assert found.letterbox_ratio == pytest.approx(2 * rows / SIZE[1], abs=0.03)
    assert found.pillarbox_ratio == pytest.approx(2 * columns / SIZE[0], abs=0.03)


def test_blurred_fill_is_measured_on_either_pair_of_sides() -> None:
    grey = cv2.cvtColor(ASTRONAUT, cv2.COLOR_RGB2GRAY)
    filled = cv2.GaussianBlur(cv2.resize(grey, (1280, 720)), (0, 0), 25)
    filled[:, 440:840] = cv2.resize(grey, (400, 720))
    assert blurred_fill(filled) == pytest.approx(880 / 1280, abs=0.02)
    assert blurred_fill(np.ascontiguousarray(filled.T)) == pytest.approx(880 / 1280, abs=0.02)
    assert blurred_fill(grey) == 0


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("width", [8, 16, 40, 64, 79, 120, 180])
def test_pictures_too_narrow_for_a_fill_have_none(width: int) -> None:
    picture = np.random.default_rng(width).integers(0, 255, (60, width), np.uint8)
    picture[:, width // 5 :: width // 3] = 255
    assert blurred_fill(picture) == 0
    bars = np.zeros((60, width), np.uint8)
    bars[:, width // 8 : -(width // 8)] = 200
    assert 0 <= blurred_fill(bars) < 1


def test_camera_speed_is_in_picture_heights(tmp_path: Path) -> None:
    still = measure(write_video(tmp_path / "still.mp4", panned(ASTRONAUT, 50, 0)))
    moving = measure(write_video(tmp_path / "moving.mp4", panned(ASTRONAUT, 50, 2.0)))
    assert moving.camera_motion == pytest.approx(2.0 * 25 / SIZE[1], rel=0.35)
    assert still.camera_motion < moving.camera_motion / 2


def test_span_without_frames_measures_nothing(tmp_path: Path) -> None:
    trace = trace_of(write_video(tmp_path / "short.mp4", panned(ASTRONAUT, 30)))
    beyond = Span(trace.end_pts + 10, trace.end_pts + 20, trace.time_base)
    assert measure_picture(beyond, trace, SETTINGS) == PictureMeasurement()


@pytest.mark.parametrize(
    ("name", "field", "low", "high"),
    [
        ("d_blur.mp4", "sharpness", 0, 0.2),
        ("d_dark.mp4", "luma_median", 0, 10),
        ("d_still_photo_voice.mp4", "frozen_ratio", 0.9, 1),
        ("d_noise.mp4", "noise", 10, 100),
        ("d_crf47_blocky.mp4", "blockiness", 1.5, 3),
        ("d_grayscale.mp4", "colourfulness", 0, 1),
        ("d_letterbox239.mp4", "letterbox_ratio", 0.24, 0.27),
        ("d_pillar_blurfill.mp4", "blurred_fill_ratio", 0.5, 0.8),
        ("d_bitrot.mp4", "corrupt_ratio", 0.2, 1),
        ("sv_head5.mp4", "sharpness", 0.25, 1),
        ("sv_head5.mp4", "frozen_ratio", 0, 0),
        ("lp_d20_dark_offset.mp4", "frozen_ratio", 0, 0),
    ],
)
def test_real_faults(name: str, field: str, low: float, high: float) -> None:
    assert low <= getattr(measure(real(name)), field) <= high


def test_real_freeze_has_its_times() -> None:
    (frozen,) = trace_of(real("d_freeze2s.mp4")).frozen_spans(0.4)
    assert frozen.start_s == pytest.approx(3.0, abs=0.1)
    assert frozen.end_s == pytest.approx(5.0, abs=0.05)
