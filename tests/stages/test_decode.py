"""Views of a frame: what lies where in the shown picture is found where it lies."""

from fractions import Fraction

import av
import cv2
import numpy as np
import pytest

from stages.decode import FrameView
from stages.facts import VideoFacts

TURN_BACK = {
    0: None,
    90: cv2.ROTATE_90_COUNTERCLOCKWISE,
    180: cv2.ROTATE_180,
    270: cv2.ROTATE_90_CLOCKWISE,
}


def view_of(shown: np.ndarray, rotation_deg: int, aspect=Fraction(1), pixel_format="yuv420p"):
    """A frame that a player shows as the given picture."""
    height, width = shown.shape[:2]
    turn_back = TURN_BACK[rotation_deg]
    coded = shown if turn_back is None else cv2.rotate(shown, turn_back)
    coded = cv2.resize(coded, (round(coded.shape[1] / aspect), coded.shape[0]))
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(coded), "rgb24")
    facts = VideoFacts(
        index=0,
        codec="h264",
        pixel_format=pixel_format,
        coded_width_px=coded.shape[1],
        coded_height_px=coded.shape[0],
        width_px=width,
        height_px=height,
        rotation_deg=rotation_deg,
        pixel_aspect=aspect,
        frame_rate=Fraction(25),
        time_base=Fraction(1, 25),
        start_time=Fraction(0),
        is_interlaced=False,
        transfer=2,
    )
    return FrameView(frame.reformat(format=pixel_format), 0, 0, facts)


def picture_with_mark(x: int, y: int, width=400, height=240) -> np.ndarray:
    picture = np.full((height, width, 3), 40, np.uint8)
    cv2.circle(picture, (x, y), 12, (250, 250, 250), -1)
    cv2.circle(picture, (30, 30), 20, (250, 20, 20), -1)
    return picture


def bright_centre(picture: np.ndarray) -> tuple[float, float]:
    weights = (picture.min(axis=2) > 150).astype(float)
    rows, columns = np.nonzero(weights)
    return float(columns.mean()) + 0.5, float(rows.mean()) + 0.5


@pytest.mark.parametrize("rotation_deg", [0, 90, 180, 270])
@pytest.mark.parametrize("aspect", [Fraction(1), Fraction(4, 3)])
@pytest.mark.parametrize(
    "pixel_format", ["yuv420p", "yuv444p", "yuv422p10le", "yuvj420p", "nv12", "gray"]
)
def test_a_crop_maps_back_to_where_it_was_cut(rotation_deg, aspect, pixel_format):
    view = view_of(picture_with_mark(250, 150), rotation_deg, aspect, pixel_format)
    crop = view.crop(262.0, 141.0, 101.0, 128)
    x, y = bright_centre(crop.picture)
    assert crop.left_px + x / 128 * crop.width_px == pytest.approx(250.5, abs=1.2)
    assert crop.top_px + y / 128 * crop.height_px == pytest.approx(150.5, abs=1.2)


@pytest.mark.parametrize("rotation_deg", [0, 90, 180, 270])
def test_a_crop_may_reach_beyond_the_picture(rotation_deg):
    view = view_of(picture_with_mark(390, 230), rotation_deg)
    crop = view.crop(390, 230, 120, 128)
    x, y = bright_centre(crop.picture)
    # The mark is cut by the border; what is left of it lies left and above of its centre.
    assert crop.left_px + x / 128 * crop.width_px == pytest.approx(389, abs=2)
    assert crop.top_px + y / 128 * crop.height_px == pytest.approx(229, abs=2)
    assert crop.picture[-1, -1].max() < 30


@pytest.mark.parametrize("rotation_deg", [0, 90, 180, 270])
def test_a_thumbnail_is_the_shown_picture(rotation_deg):
    shown = picture_with_mark(250, 150)
    small = view_of(shown, rotation_deg).thumbnail(200)
    assert small.shape == (120, 200, 3)
    expected = cv2.resize(shown, (200, 120), interpolation=cv2.INTER_AREA)
    assert np.abs(small.astype(int) - expected).mean() < 6


def test_thumbnails_never_grow():
    assert view_of(picture_with_mark(50, 50), 0).thumbnail(4000).shape == (240, 400, 3)
