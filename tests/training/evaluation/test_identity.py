"""Identity: faces lie on ArcFace's template, and similarity is the cosine."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from tests.training.evaluation.media import face_of, measured, mesh, write_video
from training.evaluation.identity import SIDE_PX, TEMPLATE, align, embed_clip, five_points
from training.evaluation.portrait import read_picture


def spots_at(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A picture with a bright blob at each point."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    bright = np.zeros(size)
    for x, y in points:
        bright += np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 8)
    return np.clip(np.stack([255 * bright] * 3, axis=-1), 0, 255).astype(np.uint8)


def test_five_points_come_to_lie_on_the_template():
    turn = 1.8 * np.array([[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]])
    points = TEMPLATE @ turn.T + [70, 20]
    cut = align(spots_at(points, (260, 300)), points)
    assert cut.shape == (SIDE_PX, SIDE_PX, 3)
    for x, y in TEMPLATE:
        around = cut[round(y) - 4 : round(y) + 5, round(x) - 4 : round(x) + 5, 0]
        peak = np.unravel_index(around.argmax(), around.shape)
        assert np.abs(np.array(peak) - 4).max() <= 1
        assert around.max() > 200


def test_points_are_taken_by_their_number_in_the_mesh_whatever_their_order():
    points_TPC, index = mesh(1)
    order = np.random.default_rng(0).permutation(len(index))
    straight = five_points(points_TPC[0], index)
    assert five_points(points_TPC[0][order], index[order]) == pytest.approx(straight)
    assert straight[0] == pytest.approx(points_TPC[0][[33, 133], :2].mean(axis=0))
    assert straight[2] == pytest.approx(points_TPC[0][1, :2])


def test_a_clip_is_embedded_where_its_face_was_found(tmp_path):
    size = (200, 200, 3)
    path = write_video(tmp_path / "a.mkv", [np.full(size, 10 * n, np.uint8) for n in range(10)])
    points_TPC, index = mesh(10)
    face = face_of(points_TPC, index)
    seen = []

    def embed(face_HWC):
        seen.append(int(face_HWC.max()))
        return np.array([1.0, 0.0])

    times_s, vectors_TD = embed_clip(measured(path, face), [0.0, 0.08, 0.2, 3.0], embed)
    assert times_s == pytest.approx([0.0, 0.08, 0.2])  # the track ends long before 3 s
    assert vectors_TD.shape == (3, 2)
    assert seen == pytest.approx([0, 20, 50], abs=1)


def test_a_portrait_is_read_upright_and_on_white(tmp_path):
    picture = np.zeros((20, 30, 4), np.uint8)
    picture[:10, :, 0], picture[:10, :, 3] = 255, 255  # red above, transparent below
    image = Image.fromarray(picture)
    exif = image.getexif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    image.save(tmp_path / "turned.png", exif=exif)
    upright = read_picture(tmp_path / "turned.png")
    assert upright.shape == (30, 20, 3)
    assert upright[5, 18].tolist() == [255, 0, 0]
    assert upright[5, 2].tolist() == [255, 255, 255]
