"""Faces found with MediaPipe's FaceMesh, whose models ship with its package, and followed in time.

Only what generation needs: landmarks of each face of a picture or of every frame of a video.
Curation measures faces with far more care; generation may not import it, and takes a packed
sample's own ``face.npz`` where there is one.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from manifests.native_stderr import unheard
from training.errors import InputError

NUM_LANDMARKS = 478
OUTER_EYE_CORNERS = (33, 263)
NOSE_BRIDGE = 197
CHIN, FOREHEAD = 152, 10
FACE_OVAL = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
    152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)  # fmt: skip
"""Numbers of mediapipe/python/solutions/face_mesh_connections.py, Apache-2.0."""

_CROP_RATIO = 1.8
"""Side of the square given to the mesh, in sides of the detector's box. Ours."""


class FaceFinder:
    """Finds up to a number of faces in pictures, or follows them over frames."""

    def __init__(self, max_faces: int = 4, *, is_video: bool = False) -> None:
        """Load the models.

        Args:
            max_faces: faces looked for.
            is_video: follow faces from frame to frame instead of looking anew.

        Raises:
            InputError: If MediaPipe is not installed.
        """
        try:
            from mediapipe.python.solutions import face_detection, face_mesh
        except ImportError as error:
            raise InputError(
                "faces are found with mediapipe, which is not installed; "
                "`pip install mediapipe==0.10.14`, give a face.npz beside the video, or turn the "
                "look for faces off with --no-face-check"
            ) from error
        # With the first face that is found, of MediaPipe's own use of protobuf.
        warnings.filterwarnings("ignore", "SymbolDatabase.GetPrototype", UserWarning)
        options = {"max_num_faces": max_faces, "refine_landmarks": True}
        with unheard():
            self._mesh = face_mesh.FaceMesh(static_image_mode=not is_video, **options)
            self._close_mesh = face_mesh.FaceMesh(
                static_image_mode=True, max_num_faces=1, refine_landmarks=True
            )
            self._detector = face_detection.FaceDetection(
                model_selection=1, min_detection_confidence=0.5
            )
            # Each begins to run, and announces itself, with its first picture.
            for part in (self._mesh, self._close_mesh, self._detector):
                part.process(np.zeros((64, 64, 3), np.uint8))
        self._max_faces = max_faces

    def find(self, rgb_HWC: np.ndarray) -> list[np.ndarray]:
        """Find the faces of a picture.

        The mesh's own detector sees faces of up to some two metres; where it sees none, a detector
        for far faces looks and the mesh is laid on what that found.

        Args:
            rgb_HWC: uint8.

        Returns:
            [478, 2] float32 pixels each, the largest face first.
        """
        rgb_HWC = np.ascontiguousarray(rgb_HWC)
        faces = _landmarks(self._mesh.process(rgb_HWC), rgb_HWC.shape, (0, 0))
        if not faces:
            boxes = _detections(self._detector.process(rgb_HWC), rgb_HWC.shape)
            for box in boxes[: self._max_faces]:
                crop, corner = _crop(rgb_HWC, box)
                faces += _landmarks(self._close_mesh.process(crop), crop.shape, corner)
        return sorted(faces, key=lambda points: -_height(points))

    def follow(self, frames: Iterable[np.ndarray]) -> Iterator[dict[int, np.ndarray]]:
        """Follow faces over frames: each goes on with the nearest face seen before.

        Args:
            frames: [H, W, 3] uint8 each.

        Yields:
            Landmarks [478, 2] of each face of a frame by its number; a number is one face.
        """
        last: dict[int, np.ndarray] = {}
        for frame in frames:
            row: dict[int, np.ndarray] = {}
            for face in self.find(frame):
                number = _nearest(face, {n: p for n, p in last.items() if n not in row})
                if number is None:
                    number = len(last)
                row[number] = last[number] = face
            yield row

    def close(self) -> None:
        """Free the models."""
        for part in (self._mesh, self._close_mesh, self._detector):
            part.close()

    def __enter__(self) -> FaceFinder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: Any, trace: TracebackType | None
    ) -> None:
        self.close()


def stored_track(path: Path) -> np.ndarray:
    """Read the face track of a packed sample.

    Args:
        path: its ``.face.npz``.

    Returns:
        [T, 478, 2] landmarks on the frames of the packed video; points that are not stored are
        NaN.

    Raises:
        InputError: If it is none.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            points, index = arrays["landmarks"], arrays["point_index"]
    except (KeyError, ValueError, OSError) as error:
        raise InputError(
            f"{path}: no face track of a packed sample ({error}); take it away to have faces looked"
            " for in the video"
        ) from error
    landmarks = np.full((len(points), NUM_LANDMARKS, 2), np.nan, np.float32)
    landmarks[:, index] = points[..., :2]
    return landmarks


def _landmarks(result: Any, shape: Sequence[int], corner: tuple[int, int]) -> list[np.ndarray]:
    size = np.array([shape[1], shape[0]], np.float32)
    return [
        np.array([(p.x, p.y) for p in face.landmark], np.float32) * size
        + np.array(corner, np.float32)
        for face in result.multi_face_landmarks or ()
    ]


def _detections(result: Any, shape: Sequence[int]) -> list[np.ndarray]:
    boxes = []
    for found in result.detections or ():
        box = found.location_data.relative_bounding_box
        left, top = box.xmin * shape[1], box.ymin * shape[0]
        right, bottom = left + box.width * shape[1], top + box.height * shape[0]
        boxes.append(np.array([left, top, right, bottom]))
    return sorted(boxes, key=lambda box: box[1] - box[3])


def _crop(rgb_HWC: np.ndarray, box: np.ndarray) -> tuple[np.ndarray, tuple[int, int]]:
    centre = (box[:2] + box[2:]) / 2
    half = _CROP_RATIO * max(box[2] - box[0], box[3] - box[1]) / 2
    left, top = np.maximum(centre - half, 0).astype(int)
    right, bottom = np.ceil(centre + half).astype(int)
    return np.ascontiguousarray(rgb_HWC[top:bottom, left:right]), (int(left), int(top))


def _height(points: np.ndarray) -> float:
    return float(np.ptp(points[:, 1]))


def _nearest(face: np.ndarray, others: dict[int, np.ndarray]) -> int | None:
    """Number of the nearest face whose centre lies within this face's height."""
    centre = face.mean(axis=0)
    far = {n: float(np.linalg.norm(p.mean(axis=0) - centre)) for n, p in others.items()}
    number = min(far, key=far.__getitem__, default=None)
    return number if number is not None and far[number] < _height(face) else None
