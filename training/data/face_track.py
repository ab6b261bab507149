"""The face of a sample on the frames of a crop: landmarks moved with the picture, and pixel masks.

Masks come from the track that curation packed, never from a second detector. Not here: the region
that an edit replaces (`edit_region.py`).
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageDraw

from training.data.books import BadReason, BadSampleError
from training.data.face_mesh import FACE_OVAL, LIP_MIRROR, mirror_order
from training.data.picture_fit import PictureFit

_SHAPES = {
    "box": (4,),
    "landmarks": (None, 3),
    "lip_polygon": (20, 2),
    "head_pose_deg": (3,),
    "score": (),
}


@dataclass(frozen=True)
class FaceTrack:
    """One face over T frames; pixels are those of the sample's frames.

    Attributes:
        landmarks_TPC: mesh points (T, P, 3): x right, y down, z away.
        point_index_P: their numbers in the 478-point mesh.
        lip_polygon_TPC: (T, 20, 2) outer contour of the lips.
        head_pose_deg: (T, 3) yaw, pitch, roll.
        score_T: detection score; 0 where the face was interpolated between frames.
    """

    landmarks_TPC: np.ndarray
    point_index_P: np.ndarray
    lip_polygon_TPC: np.ndarray
    head_pose_deg: np.ndarray
    score_T: np.ndarray

    @property
    def oval_TPC(self) -> np.ndarray:
        """Contour of the face, (T, 36, 2)."""
        return self.points(FACE_OVAL)

    def points(self, numbers: tuple[int, ...]) -> np.ndarray:
        """Some points of the mesh by their numbers, (T, len(numbers), 2)."""
        place = {int(number): index for index, number in enumerate(self.point_index_P)}
        return self.landmarks_TPC[:, [place[number] for number in numbers], :2]

    def face_mask(self, size_px: tuple[int, int]) -> torch.Tensor:
        """Fill the contour of the face.

        Args:
            size_px: width and height of the frames.

        Returns:
            [T, H, W] bool.
        """
        return _filled(self.oval_TPC, size_px)

    def lip_mask(self, size_px: tuple[int, int]) -> torch.Tensor:
        """Fill the outer contour of the lips.

        Args:
            size_px: width and height of the frames.

        Returns:
            [T, H, W] bool.
        """
        return _filled(self.lip_polygon_TPC, size_px)


class PackedFace:
    """The ``face.npz`` of a sample, on all its frames, in pixels of the packed video.

    Args:
        data: bytes of the member.
        num_frames: frames of the video.

    Raises:
        BadSampleError: it cannot be read, or is not of this video.
    """

    def __init__(self, data: bytes, num_frames: int) -> None:
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as file:
                self._arrays = {name: file[name] for name in (*_SHAPES, "point_index")}
        except (ValueError, KeyError, OSError, zipfile.BadZipFile) as error:
            raise BadSampleError(BadReason.FACE_UNREADABLE, str(error)) from error
        num_points = len(self._arrays["point_index"])
        for name, shape in _SHAPES.items():
            wanted = (num_frames, *(num_points if side is None else side for side in shape))
            if self._arrays[name].shape != wanted:
                raise BadSampleError(
                    BadReason.FACE_UNREADABLE,
                    f"{name} has shape {self._arrays[name].shape}, the video asks for {wanted}",
                )
        missing = {*FACE_OVAL} - {*self._arrays["point_index"].tolist()}
        if missing:
            raise BadSampleError(
                BadReason.FACE_UNREADABLE, f"mesh points {sorted(missing)} of the oval are missing"
            )

    def box(self, first: int, num: int) -> np.ndarray | None:
        """Union of the face's boxes over some frames: (4,) left, top, right, bottom, or `None`."""
        boxes = self._arrays["box"][first : first + num]
        boxes = boxes[np.isfinite(boxes).all(axis=1)]
        if not len(boxes):
            return None
        return np.concatenate([boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)])

    def crop(self, first: int, num: int, fit: PictureFit) -> FaceTrack | None:
        """Take some frames and move the points with the picture.

        Args:
            first: number of the first frame.
            num: T.
            fit: how the picture is moved.

        Returns:
            The track on these frames; `None` if the face is in none of them.
        """
        if self.box(first, num) is None:
            return None
        frames = slice(first, first + num)
        numbers = self._arrays["point_index"]
        points = fit.points(self._arrays["landmarks"][frames])
        lips = fit.points(self._arrays["lip_polygon"][frames])
        angles = self._arrays["head_pose_deg"][frames].astype(np.float32)
        if fit.is_mirrored:
            points = points[:, mirror_order(numbers)]
            lips = lips[:, list(LIP_MIRROR)]
            angles = angles * np.array([-1, 1, -1], np.float32)
        return FaceTrack(points, numbers, lips, angles, self._arrays["score"][frames])


def _filled(polygons_TPC: np.ndarray, size_px: tuple[int, int]) -> torch.Tensor:
    """Fill one polygon a frame, to the pixel: those that its corners lie in belong to it."""
    width, height = size_px
    mask_THW = np.zeros((len(polygons_TPC), height, width), bool)
    for frame, polygon in enumerate(polygons_TPC):
        if not np.isfinite(polygon).all():
            continue
        picture = Image.new("1", size_px)
        corners = np.floor(polygon).astype(int)  # Pillow would cut, towards 0
        ImageDraw.Draw(picture).polygon([(x, y) for x, y in corners.tolist()], fill=1)
        mask_THW[frame] = np.asarray(picture)
    return torch.from_numpy(mask_THW)
