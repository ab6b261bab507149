"""Identity: ArcFace embeddings of faces, and their cosine.

Faces are brought to ArcFace's template by the five points it was trained with (eye centres, nose
tip, corners of the mouth), which are taken from the measured face mesh and not from RetinaFace;
how much that moves a similarity was not measured.

Shape letters: T frames, D = 512 features, H W C picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from training.evaluation.frames import SLACK_S, shown_at
from training.evaluation.measuring import FaceEvidence, MeasuredClip

SIDE_PX = 112

# insightface/utils/face_align.py, arcface_dst.
TEMPLATE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655],
     [70.7299, 92.2041]]
)  # fmt: skip
_RIGHT_EYE, _LEFT_EYE = (33, 133), (362, 263)
_NOSE_TIP, _RIGHT_MOUTH, _LEFT_MOUTH = 1, 61, 291


class FaceEmbedder(Protocol):
    """Aligned faces to unit vectors."""

    def __call__(self, face_HWC: np.ndarray) -> np.ndarray:
        """Return (D,) of unit length for an aligned (112, 112, 3) uint8 RGB face."""
        ...


class ArcFace:
    """The ONNX network of the weights `arcface`.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session: Any = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        self._input = self._session.get_inputs()[0].name

    def __call__(self, face_HWC: np.ndarray) -> np.ndarray:
        """Embed one aligned face; input `(x - 127.5) / 127.5`, RGB (insightface, arcface_onnx)."""
        scaled = (face_HWC.astype(np.float32) - 127.5) / 127.5
        found = self._session.run(None, {self._input: scaled.transpose(2, 0, 1)[None]})[0][0]
        return np.asarray(found / np.linalg.norm(found), np.float64)


def five_points(points_PC: np.ndarray, point_index: np.ndarray) -> np.ndarray:
    """Take ArcFace's five points from a mesh.

    Args:
        points_PC: (P, 2 or 3) mesh points.
        point_index: (P,) their numbers in the mesh.

    Returns:
        (5, 2): the eye on the picture's left, the other eye, nose tip, corners of the mouth.
    """
    at = {int(number): place for place, number in enumerate(point_index)}

    def centre(*numbers: int) -> np.ndarray:
        return points_PC[[at[number] for number in numbers], :2].mean(axis=0)

    return np.stack(
        [
            centre(*_RIGHT_EYE),
            centre(*_LEFT_EYE),
            centre(_NOSE_TIP),
            centre(_RIGHT_MOUTH),
            centre(_LEFT_MOUTH),
        ]
    )


def align(picture_HWC: np.ndarray, points_52: np.ndarray) -> np.ndarray | None:
    """Cut a face out so that its five points lie on the template.

    Args:
        picture_HWC: uint8 picture.
        points_52: (5, 2) points in its pixels.

    Returns:
        (112, 112, 3) uint8; ``None`` where the points span nothing.
    """
    from skimage.transform import SimilarityTransform, warp

    fit = SimilarityTransform.from_estimate(points_52, TEMPLATE)
    if not fit:
        return None
    cut = warp(picture_HWC, fit.inverse, output_shape=(SIDE_PX, SIDE_PX), order=1, cval=0.0)
    return np.rint(cut * 255).astype(np.uint8)


def embed_clip(
    clip: MeasuredClip, times_s: Sequence[float], embed: FaceEmbedder
) -> tuple[np.ndarray, np.ndarray]:
    """Embed the main face of a clip at given times.

    Args:
        clip: a measured clip with a face.
        times_s: ascending seconds.
        embed: the network.

    Returns:
        (T,) times at which the face was found, and (T, D) embeddings.
    """
    face = clip.face
    found_s, vectors = [], []
    if face is not None and len(face.times_s):
        for shown in shown_at(clip.path, times_s, face.size_px):
            points_52 = _points_at(face, shown.time_s)
            cut = None if points_52 is None else align(shown.picture_HWC, points_52)
            if cut is not None:
                found_s.append(shown.time_s)
                vectors.append(embed(cut))
    return np.array(found_s), np.array(vectors)


def _points_at(face: FaceEvidence, time_s: float) -> np.ndarray | None:
    """Five points in the frame that shows at a time, if the face was found in it."""
    steps = np.diff(face.times_s)
    step_s = float(np.median(steps)) if len(steps) else 0.04
    number = int(np.searchsorted(face.times_s, time_s + SLACK_S, side="right")) - 1
    if number < 0 or time_s - face.times_s[number] > step_s:
        return None
    return five_points(face.points_TPC[number], face.point_index)
