"""Mouth landmarks of two clips: how far apart the lips are, and whether they open together.

Frames are matched by time, to the nearest within half a frame; frames in which either face was not
found do not count, and how many did is told with the figure.

Shape letters: T matched frames, P mesh points, 2 = x, y.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from manifests.inspection.face_series import mouth_opening
from training.evaluation.measuring import FaceEvidence

# Points of the 478-point mesh of MediaPipe (face_mesh_connections.py, FACEMESH_LIPS, Apache-2.0).
LIPS = (
    61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185,
    78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191,
)  # fmt: skip
RIGID = (33, 133, 362, 263, 168, 6, 197, 195, 5, 4, 127, 356, 234, 454, 70, 300, 10, 151, 9, 8)
"""Eye corners, bridge of the nose, temples, brows' ends and forehead: speech hardly moves them."""
OUTER_EYE_CORNERS = (33, 263)

MIN_FRAMES = 12
"""Fewer matched frames say nothing of lips; ours, half a second."""


@dataclass(frozen=True)
class MouthComparison:
    """Lips of one clip against those of another.

    Attributes:
        distance: mean distance of the lip points in distances of the outer eye corners.
        opening_correlation: Pearson correlation of the openings; ``None`` if one mouth is still.
        num_frames: frames that were matched.
    """

    distance: float
    opening_correlation: float | None
    num_frames: int


def compare_mouths(generated: FaceEvidence, reference: FaceEvidence) -> MouthComparison | None:
    """Compare the lips of two clips that say the same at the same time.

    In every frame the generated face is laid over the reference by the similarity transform
    (turn, size, place) that fits the points that speech does not move, least squares (Umeyama
    1991); what remains of the distance of the lips is averaged.

    Args:
        generated: face of the generated clip.
        reference: face of the reference.

    Returns:
        The comparison; ``None`` for too few matched frames.
    """
    from skimage.transform import SimilarityTransform

    mine, theirs = match_times(generated.times_s, reference.times_s)
    if len(mine) < MIN_FRAMES:
        return None
    moved_TP2, moved_lips = _points(generated, mine, RIGID), _points(generated, mine, LIPS)
    fixed_TP2, fixed_lips = _points(reference, theirs, RIGID), _points(reference, theirs, LIPS)
    corners = _points(reference, theirs, OUTER_EYE_CORNERS)
    eyes_T = np.linalg.norm(corners[:, 0] - corners[:, 1], axis=1)
    distances = []
    for frame in range(len(mine)):
        fit = SimilarityTransform.from_estimate(moved_TP2[frame], fixed_TP2[frame])
        if not fit:
            continue
        apart = np.linalg.norm(fit(moved_lips[frame]) - fixed_lips[frame], axis=1).mean()
        distances.append(apart / max(eyes_T[frame], 1e-6))
    if not distances:
        return None
    openings = [
        mouth_opening(face.points_TPC[chosen], face.point_index)
        for face, chosen in ((generated, mine), (reference, theirs))
    ]
    return MouthComparison(float(np.mean(distances)), correlation(*openings), len(mine))


def match_times(one_s: np.ndarray, other_s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Match frames of two clips by time, each frame of the first with at most one of the second.

    Args:
        one_s: (N,) ascending seconds.
        other_s: (M,) ascending seconds.

    Returns:
        Numbers of the frames, equally many; frames further apart than half the longer of the two
        frame durations are left out.
    """
    if len(one_s) < 2 or len(other_s) < 2:
        return np.zeros(0, int), np.zeros(0, int)
    reach_s = 0.5 * max(float(np.median(np.diff(one_s))), float(np.median(np.diff(other_s))))
    after = np.clip(np.searchsorted(other_s, one_s), 1, len(other_s) - 1)
    is_before = one_s - other_s[after - 1] < other_s[after] - one_s
    nearest = np.where(is_before, after - 1, after)
    mine = np.flatnonzero(np.abs(other_s[nearest] - one_s) <= reach_s + 1e-6)
    return mine, nearest[mine]


def correlation(one: np.ndarray, other: np.ndarray) -> float | None:
    """Pearson correlation; ``None`` where one of them does not vary.

    Args:
        one: (N,) values.
        other: (N,) values.

    Returns:
        The correlation, -1 to 1.
    """
    if one.std() < 1e-9 or other.std() < 1e-9:
        return None
    return float(np.corrcoef(one, other)[0, 1])


def _points(face: FaceEvidence, frames: np.ndarray, wanted: tuple[int, ...]) -> np.ndarray:
    """Points (T, P, 2) by their numbers in the mesh."""
    at = {int(number): place for place, number in enumerate(face.point_index)}
    return face.points_TPC[frames][:, [at[number] for number in wanted], :2].astype(np.float64)
