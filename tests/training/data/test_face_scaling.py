import numpy as np
import pytest

from training.data.picture_fit import fit_picture


def test_a_face_is_brought_to_its_share_of_the_height_in_the_middle():
    box = np.array([100.0, 60, 140, 110])  # 40 x 50 of 320 x 240
    fit = fit_picture((320, 240), (64, 64), box, False, 0.9)
    (left, top), (right, bottom) = fit.points(box.reshape(2, 2))
    assert bottom - top == pytest.approx(0.9 * 64, rel=0.05)
    assert (left + right) / 2 == pytest.approx(32, abs=2)
    assert (top + bottom) / 2 == pytest.approx(32, abs=2)


def test_a_large_face_and_no_face_keep_the_framing():
    large = np.array([40.0, 10, 240, 230])
    for box, ratio in ((large, 0.5), (None, 0.9)):
        assert fit_picture((320, 240), (64, 64), box, False, ratio) == fit_picture(
            (320, 240), (64, 64), box, False
        )
