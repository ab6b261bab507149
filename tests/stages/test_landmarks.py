"""Pose is taken out of a mesh, and its angles have the signs that the docstrings promise."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from stages import landmarks as mesh


def turn(yaw_deg: float, pitch_deg: float, roll_deg: float) -> mesh.FloatArray:
    """Return a rotation built axis by axis from what the words mean (x right, y down, z away)."""
    y, p, r = np.radians([yaw_deg, pitch_deg, roll_deg])
    # Each is written down by where it sends the nose, (0, 0, -1), or the ear, (1, 0, 0).
    to_the_right = np.array([[np.cos(y), 0, -np.sin(y)], [0, 1, 0], [np.sin(y), 0, np.cos(y)]])
    upwards = np.array([[1, 0, 0], [0, np.cos(p), np.sin(p)], [0, -np.sin(p), np.cos(p)]])
    clockwise = np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]])
    return np.asarray(to_the_right @ upwards @ clockwise)


def test_importing_reads_no_file_and_needs_numpy_alone() -> None:
    program = (
        "import sys; from stages.landmarks import canonical_face as face; "
        "print(face.cache_info().currsize, {'scipy', 'cv2', 'mediapipe'} & set(sys.modules))"
    )
    root = Path(mesh.__file__).parents[1]
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True
    )
    assert ran.stdout.split(maxsplit=1) == ["0", "set()\n"]


def test_index_sets_have_the_documented_sizes_and_no_duplicates() -> None:
    sizes = {"OUTER_LIP": 20, "INNER_LIP": 20, "JAW_CHIN": 15, "CHEEK_NOSE": 10, "STABLE": 33}
    for name, size in {**sizes, "LIP_MOTION": 65, "FACE_OVAL": 36}.items():
        indices = getattr(mesh, name)
        assert len(indices) == len(set(indices)) == size
        assert min(indices) >= 0 and max(indices) < 468


def test_mean_face_is_upright_frontal_and_symmetric() -> None:
    face_PC = mesh.canonical_face()
    assert face_PC.shape == (mesh.NUM_LANDMARKS, 3)
    assert face_PC[263] - face_PC[33] == pytest.approx([1, 0, 0], abs=1e-3)
    assert face_PC[10, 1] < face_PC[1, 1] < face_PC[13, 1] < face_PC[152, 1]
    assert face_PC[1, 2] < face_PC[[33, 263, 234, 454], 2].min()
    right, left = face_PC[list(mesh.RIGHT_EYE)], face_PC[list(mesh.LEFT_EYE)]
    assert np.abs(right * [-1, 1, 1] - left).max() < 1e-3
    assert face_PC[10, 2] == pytest.approx(face_PC[152, 2], abs=1e-3)


@pytest.mark.parametrize(
    ("direction", "yaw", "pitch", "roll"),
    [("right", 30, 0, 0), ("left", -30, 0, 0), ("up", 0, 20, 0), ("down", 0, -20, 0)],
)
def test_the_nose_points_where_the_angles_say(
    direction: str, yaw: float, pitch: float, roll: float
) -> None:
    face_PC = mesh.canonical_face() @ turn(yaw, pitch, roll).T
    nose_from_eyes = face_PC[1] - face_PC[[33, 263]].mean(axis=0)
    frontal = mesh.canonical_face()[1] - mesh.canonical_face()[[33, 263]].mean(axis=0)
    moved = nose_from_eyes - frontal
    axis, sign = {"right": (0, 1), "left": (0, -1), "up": (1, -1), "down": (1, 1)}[direction]
    assert moved[axis] * sign > 0.05
    angles = mesh.head_pose_deg(mesh.normalise_pose(face_PC[None]).rotation_T33)
    assert np.ravel(angles) == pytest.approx([yaw, pitch, roll], abs=1e-4)


def test_positive_roll_is_clockwise_in_the_picture() -> None:
    face_PC = mesh.canonical_face() @ turn(0, 0, 15).T
    assert face_PC[10, 0] > face_PC[152, 0]
    _, _, roll = mesh.head_pose_deg(mesh.normalise_pose(face_PC[None]).rotation_T33)
    assert roll == pytest.approx(15, abs=1e-4)


def test_any_pose_size_and_place_is_recovered_and_removed() -> None:
    rng = np.random.default_rng(0)
    angles = np.stack([rng.uniform(-s, s, 20) for s in (80, 60, 170)], axis=1)
    rotation_T33 = np.stack([turn(*row) for row in angles])
    scale_T, shift_TC = rng.uniform(20, 400, 20), rng.uniform(-500, 2000, (20, 3))
    face_PC = mesh.canonical_face()
    seen_TPC = face_PC @ np.swapaxes(rotation_T33, 1, 2) * scale_T[:, None, None]
    fit = mesh.normalise_pose(seen_TPC + shift_TC[:, None])
    assert np.abs(fit.points_TPC - face_PC).max() < 1e-9
    assert fit.rotation_T33 == pytest.approx(rotation_T33, abs=1e-9)
    assert fit.scale_T == pytest.approx(scale_T)
    assert np.stack(mesh.head_pose_deg(fit.rotation_T33), axis=1) == pytest.approx(angles)


def test_speech_does_not_move_the_pose() -> None:
    face_PC = mesh.canonical_face().copy()
    face_PC[list(mesh.INNER_LIP + mesh.OUTER_LIP + mesh.JAW_CHIN), 1] += 0.1
    fit = mesh.normalise_pose(face_PC[None])
    assert fit.rotation_T33[0] == pytest.approx(np.eye(3), abs=1e-9)
    assert fit.points_TPC[0] == pytest.approx(face_PC, abs=1e-9)


def test_a_mirrored_face_is_turned_and_not_reflected() -> None:
    fit = mesh.normalise_pose(mesh.canonical_face()[None] * [1, 1, -1])
    assert np.linalg.det(fit.rotation_T33[0]) == pytest.approx(1)


def test_frames_without_a_mesh_stay_missing_and_leave_the_others_alone() -> None:
    frames_TPC = np.repeat(mesh.canonical_face()[None], 3, axis=0)
    frames_TPC[1] = np.nan
    fit = mesh.normalise_pose(frames_TPC)
    assert np.isnan(fit.points_TPC[1]).all() and np.isnan(fit.scale_T[1])
    assert np.isnan(mesh.head_pose_deg(fit.rotation_T33)[0][1])
    assert np.isfinite(fit.points_TPC[[0, 2]]).all()


def test_the_mesh_without_irises_is_taken_too() -> None:
    face_PC = mesh.canonical_face()[:468]
    assert mesh.normalise_pose(face_PC[None]).points_TPC[0] == pytest.approx(face_PC)
