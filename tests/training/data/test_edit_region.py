from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tests.training.data.made_dataset import face_npz
from training.data.edit_region import edit_region, smooth_boxes
from training.data.face_mesh import CHIN
from training.data.face_track import FaceTrack, PackedFace
from training.data.picture_fit import fit_picture
from training.model.audio_windows import frames_of_latent, num_latents

SIZE = (96, 64)
NUM = 17


def face() -> FaceTrack:
    packed = PackedFace(face_npz(NUM, SIZE), NUM)
    return packed.crop(0, NUM, fit_picture(SIZE, SIZE, None, False))


def test_the_region_holds_lips_and_chin_of_every_frame_of_its_latent_frame() -> None:
    track = face()
    region = edit_region([track], SIZE)
    lips = track.lip_mask(SIZE)
    for latent in range(num_latents(NUM)):
        frames = list(frames_of_latent(latent))
        for frame in frames:
            for other in frames:
                assert not (lips[other] & ~region[frame]).any()
                x, y = track.points((CHIN,))[other, 0]
                assert region[frame, int(y), int(x)] and region[frame, int(y) + 1, int(x)]


def test_the_region_is_alike_within_a_latent_frame_and_leaves_eyes_and_background() -> None:
    track = face()
    region = edit_region([track], SIZE)
    for latent in range(num_latents(NUM)):
        own = region[list(frames_of_latent(latent))]
        assert (own == own[:1]).all()
    eyes = track.points((33, 133, 362, 263))
    for frame in range(NUM):
        for x, y in eyes[frame]:
            assert not region[frame, int(y), int(x)]
    assert not region[:, :, :5].any() and not region[:, :5].any()


def test_two_faces_have_two_regions() -> None:
    track = face()
    moved = FaceTrack(
        track.landmarks_TPC - np.array([30, 0, 0], np.float32),
        track.point_index_P,
        track.lip_polygon_TPC - np.array([30, 0], np.float32),
        track.head_pose_deg,
        track.score_T,
    )
    both = edit_region([track, moved], SIZE)
    assert (both == edit_region([track], SIZE) | edit_region([moved], SIZE)).all()


BOXES = arrays.arrays(
    np.float64, st.tuples(st.integers(1, 12), st.just(4)), elements=st.floats(-50, 50)
)


@given(BOXES, st.integers(0, 3))
def test_smoothing_never_uncovers(boxes: np.ndarray, radius: int) -> None:
    smooth = smooth_boxes(boxes, radius)
    assert smooth.shape == boxes.shape
    assert (smooth[:, :2] <= boxes[:, :2] + 1e-9).all()
    assert (smooth[:, 2:] >= boxes[:, 2:] - 1e-9).all()


@given(BOXES)
def test_smoothing_over_more_frames_moves_less(boxes: np.ndarray) -> None:
    def travel(values: np.ndarray) -> float:
        return float(np.abs(np.diff(values, axis=0)).sum())

    assert travel(smooth_boxes(boxes, 2)) <= travel(boxes) + 1e-6
