"""The portrait that a clip was made from: its face, found in a single picture.

Curation measures videos with sound; a still portrait is neither, so its mesh is found here with
the same MediaPipe FaceMesh, on one picture by itself.

Shape letters: H W C picture, P mesh points, D features.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from training.errors import InputError
from training.evaluation.frames import shown_at
from training.evaluation.identity import FaceEmbedder, align, five_points
from training.evaluation.pairing import IMAGE_SUFFIXES


def embed_portrait(path: Path, embed: FaceEmbedder) -> np.ndarray | str:
    """Embed the face of a picture, or of a video's first frame.

    Args:
        path: the file.
        embed: the network.

    Returns:
        (D,) the embedding, or why there is none.
    """
    try:
        picture_HWC = read_picture(path)
    except (InputError, OSError) as error:
        return str(error)
    try:
        points_PC = mesh_of(picture_HWC)
    except ImportError as error:
        return f"a portrait's face is found with mediapipe, which is not installed: {error}"
    if points_PC is None:
        return f"{path.name}: no face is found in it"
    cut = align(picture_HWC, five_points(points_PC, np.arange(len(points_PC))))
    return f"{path.name}: its face cannot be aligned" if cut is None else embed(cut)


def read_picture(path: Path) -> np.ndarray:
    """Read a picture upright, or a video's first frame.

    Args:
        path: the file.

    Returns:
        (H, W, C) uint8 RGB; what is transparent lies on white.
    """
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        return next(iter(shown_at(path, [0.0]))).picture_HWC
    from PIL import Image, ImageOps

    with Image.open(path) as image:
        upright = ImageOps.exif_transpose(image).convert("RGBA")
        paper = Image.new("RGBA", upright.size, "white")
        return np.asarray(Image.alpha_composite(paper, upright).convert("RGB"))


def mesh_of(picture_HWC: np.ndarray) -> np.ndarray | None:
    """Find the mesh of the one face of a picture.

    Args:
        picture_HWC: uint8 RGB.

    Returns:
        (P, 3) in pixels, P = 478; ``None`` without a face.
    """
    from mediapipe.python.solutions.face_mesh import FaceMesh

    with FaceMesh(static_image_mode=True, max_num_faces=1, refine_landmarks=True) as mesher:
        found = mesher.process(np.ascontiguousarray(picture_HWC)).multi_face_landmarks
    if not found:
        return None
    height, width = picture_HWC.shape[:2]
    size = np.array([width, height, width])
    return np.array([(p.x, p.y, p.z) for p in found[0].landmark]) * size
