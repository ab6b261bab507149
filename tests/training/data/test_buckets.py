from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from training.data.buckets import Bucket, assign, make_buckets, nearest_size, sizes_of_area
from training.data.settings import DataSettings

SIZES = ((96, 64), (64, 64), (64, 96))


def buckets_of(num_frames: int, width: int, height: int) -> tuple[Bucket, Bucket]:
    buckets = make_buckets(SIZES, (17, 33))
    size_N = nearest_size(np.array([width]), np.array([height]), SIZES)
    video, picture = assign(np.array([num_frames]), size_N, SIZES, buckets)
    return buckets[video[0]], buckets[picture[0]]


@pytest.mark.parametrize(
    ("num_frames", "length"), [(17, 17), (32, 17), (33, 33), (500, 33), (16, 1)]
)
def test_a_clip_goes_to_the_longest_length_that_it_fills(num_frames: int, length: int) -> None:
    assert buckets_of(num_frames, 640, 640)[0].num_frames == length


@pytest.mark.parametrize(
    ("size", "wanted"),
    [((1920, 1080), (96, 64)), ((1080, 1920), (64, 96)), ((500, 480), (64, 64))],
)
def test_a_clip_goes_to_the_nearest_aspect(size: tuple[int, int], wanted: tuple[int, int]) -> None:
    video, picture = buckets_of(40, *size)
    assert (video.width_px, video.height_px) == wanted
    assert picture == Bucket(1, wanted[1], wanted[0])


def test_sizes_of_an_area_have_about_that_area_and_sides_that_divide() -> None:
    for area_px in (96 * 96, 480 * 832, 720 * 1280):
        for width, height in sizes_of_area(area_px):
            assert width % 16 == height % 16 == 0
            assert abs(width * height / area_px - 1) < 0.2


@pytest.mark.parametrize(
    ("changes", "way_out"),
    [
        ({"num_frames": (80,)}, "has to be 4k + 1; the nearest is 77"),
        ({"sizes_px": ((100, 64),)}, "100 is no multiple of 16; the nearest is 96"),
        ({"sizes_px": ()}, "give one of each at least"),
        ({"batch": 3}, "batch"),
    ],
)
def test_shapes_that_no_model_takes_are_refused(changes: dict, way_out: str) -> None:
    with pytest.raises(ValidationError, match=way_out.replace("+", r"\+")):
        DataSettings(**changes)
