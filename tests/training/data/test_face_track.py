from __future__ import annotations

import io

import numpy as np
import pytest
import torch

from stages.face_track import STORED_POINTS
from stages.landmarks import OUTER_LIP, canonical_face
from tests.training.data.made_dataset import face_landmarks, face_npz
from training.data.books import BadSampleError
from training.data.face_mesh import FACE_OVAL, mirror_order
from training.data.face_track import FaceTrack, PackedFace
from training.data.picture_fit import PictureFit, fit_picture

SIZE = (96, 64)


def cropped(wanted: tuple[int, int], is_mirrored: bool = False) -> tuple[FaceTrack, PictureFit]:
    face = PackedFace(face_npz(12, SIZE), 12)
    fit = fit_picture(SIZE, wanted, face.box(4, 5), is_mirrored)
    return face.crop(4, 5, fit), fit


def test_the_mirrored_mean_face_is_itself() -> None:
    numbers = np.array(STORED_POINTS)
    points = canonical_face()[numbers]
    mirrored = points * np.array([-1, 1, 1])
    np.testing.assert_allclose(mirrored[mirror_order(numbers)], points, atol=1e-5)


def test_mirroring_twice_is_nothing() -> None:
    order = mirror_order(np.array(STORED_POINTS))
    assert (order[order] == np.arange(len(order))).all()


def test_a_crop_takes_its_own_frames_and_scales_landmarks_with_the_picture() -> None:
    face, _ = cropped((192, 128))
    wanted = face_landmarks(12, SIZE)[4:9][:, list(STORED_POINTS)] * 2
    np.testing.assert_allclose(face.landmarks_TPC, wanted, rtol=1e-5)
    np.testing.assert_allclose(face.lip_polygon_TPC, face.points(OUTER_LIP), rtol=1e-5)


def test_a_mirror_flips_pixels_masks_and_landmarks_and_keeps_left_left() -> None:
    plain, fit = cropped((64, 64))
    mirrored, mirrored_fit = cropped((64, 64), is_mirrored=True)
    np.testing.assert_allclose(
        mirrored.landmarks_TPC[:, mirror_order(plain.point_index_P), 0],
        64 - plain.landmarks_TPC[..., 0],
        atol=1e-3,
    )
    right_eye, left_eye = (mirrored.points((number,))[..., 0] for number in (33, 263))
    assert (right_eye < left_eye).all()  # as in a picture that is not mirrored
    np.testing.assert_allclose(mirrored.lip_polygon_TPC, mirrored.points(OUTER_LIP), atol=1e-3)
    np.testing.assert_allclose(mirrored.head_pose_deg[0], [-10, 5, 3])
    for name in ("face_mask", "lip_mask"):
        one, other = getattr(plain, name)((64, 64)), getattr(mirrored, name)((64, 64))
        assert (one != other.flip(-1)).float().mean() < 0.01
    assert (fit.left_px, fit.top_px) == (mirrored_fit.left_px, mirrored_fit.top_px)


def test_masks_have_the_area_of_their_polygons() -> None:
    face, _ = cropped((576, 384))
    for mask, polygon in (
        (face.face_mask((576, 384)), face.oval_TPC),
        (face.lip_mask((576, 384)), face.lip_polygon_TPC),
    ):
        x, y = polygon[..., 0], polygon[..., 1]
        turns = x * np.roll(y, -1, -1) - y * np.roll(x, -1, -1)
        area = turns.sum(-1) / 2
        np.testing.assert_allclose(mask.sum((1, 2)), np.abs(area), rtol=0.05)
        for axis, values in ((2, x), (1, y)):
            centroid = ((values + np.roll(values, -1, -1)) * turns).sum(-1) / (6 * area)
            pixels = torch.arange(mask.shape[axis]) + 0.5
            weights = mask.sum(3 - axis).float()
            middle = (weights * pixels).sum(1) / weights.sum(1)
            np.testing.assert_allclose(middle, centroid, atol=0.3)


def test_a_frame_without_landmarks_has_an_empty_mask() -> None:
    face, _ = cropped((96, 64))
    face.landmarks_TPC[2] = np.nan
    areas = face.face_mask((96, 64)).sum((1, 2))
    assert areas[2] == 0 and (areas[[0, 1, 3, 4]] > 0).all()


def test_a_face_is_brought_to_a_share_of_the_height_by_cutting_out_less() -> None:
    face = np.array([100.0, 40, 130, 80])
    fit = fit_picture((400, 200), (64, 64), face, False, face_height_ratio=0.8)
    low, high = fit.points(face.reshape(2, 2))
    assert abs((high - low)[1] / 64 - 0.8) < 0.05
    np.testing.assert_allclose((low + high) / 2, [32, 32], atol=2)
    whole = fit_picture((400, 200), (64, 64), face, False, face_height_ratio=0.01)
    assert (whole.cut_width_px, whole.cut_height_px) == (200, 200)


def test_the_crop_moves_off_the_middle_no_further_than_the_face_needs() -> None:
    at_the_edge = np.array([0.0, 10, 30, 50])
    assert fit_picture((200, 100), (100, 100), at_the_edge, False).left_px == 0
    in_the_middle = np.array([90.0, 10, 110, 50])
    assert fit_picture((200, 100), (100, 100), in_the_middle, False).left_px == 50
    off_the_middle = np.array([120.0, 10, 160, 50])
    assert fit_picture((200, 100), (100, 100), off_the_middle, False).left_px == 60
    larger = np.array([20.0, 10, 160, 50])
    assert fit_picture((200, 100), (100, 100), larger, False).left_px == 40


@pytest.mark.parametrize(
    ("num_frames", "dropped", "said"),
    [(13, (), "shape"), (12, ("score",), "score"), (12, FACE_OVAL[:1], r"\[10\] of the oval")],
)
def test_a_track_of_another_video_or_without_its_parts_is_refused(
    num_frames: int, dropped: tuple, said: str
) -> None:
    with np.load(io.BytesIO(face_npz(12, SIZE))) as file:
        arrays = {name: file[name] for name in file if name not in dropped}
    if dropped and isinstance(dropped[0], int):
        stays = ~np.isin(arrays["point_index"], dropped)
        arrays["point_index"] = arrays["point_index"][stays]
        arrays["landmarks"] = arrays["landmarks"][:, stays]
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    with pytest.raises(BadSampleError, match=said):
        PackedFace(buffer.getvalue(), num_frames)
