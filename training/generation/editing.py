"""The region that an edit makes anew: tracked, smoothed, from the nose bridge to below the chin.

The mouth of the source must lie inside in every frame, or the model copies it (the shortcut that
LatentSync warns of), so the region follows the face, covers an open mouth, and in each latent frame
is the union over its frames. All sizes are ours.

In the room: the region as polygons and masks. Not in the room: finding faces (`faces`) and putting
the result back into the source (`paste`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import gaussian_filter1d, maximum_filter1d

from training.generation.faces import (
    CHIN,
    FACE_OVAL,
    FOREHEAD,
    NOSE_BRIDGE,
    OUTER_EYE_CORNERS,
)
from training.generation.inputs import Size
from training.model.audio_windows import frames_of_latent

MAX_GAP_FRAMES = 12
"""A face may be missed for half a second; longer, and those frames stay as they are."""
_SIDE_MARGIN, _CHIN_MARGIN = 0.08, 0.22
"""Of face width and face height. A mouth opened wide lowers the chin by a fifth of the face."""
_SMOOTH_FRAMES = 2.0
_REACH_FRAMES = 5
_CORNER = 4.0
"""Exponent of the superellipse: a rectangle with round corners."""
_POINTS = 48


@dataclass(frozen=True)
class Region:
    """Where an edit acts, frame by frame.

    Attributes:
        shapes_T5: centre x and y, half width, half height in pixels and angle in radians of each
            frame; NaN where nothing is edited.
        size: of the frames in whose pixels the shapes are.
        drawn: size of the masks; ``None``: the same.
    """

    shapes_T5: np.ndarray
    size: Size
    drawn: Size | None = None

    @classmethod
    def of_landmarks(cls, landmarks_TPC: np.ndarray, size: Size) -> Region:
        """Lay the region over the lower face of a track.

        Args:
            landmarks_TPC: [T, 478, 2] pixels; NaN where the face was not found.
            size: of the frames in whose pixels they are.

        Returns:
            The region of each frame of the track.
        """
        return cls(_smoothed(_lower_faces(landmarks_TPC)), size)

    @classmethod
    def empty(cls, num_frames: int, size: Size) -> Region:
        """Return the region of an edit that changes nothing."""
        return cls(np.full((num_frames, 5), np.nan, np.float32), size)

    @property
    def is_empty(self) -> bool:
        """Whether no frame is edited."""
        return not np.isfinite(self.shapes_T5).any()

    @property
    def num_frames(self) -> int:
        """T."""
        return len(self.shapes_T5)

    def drawn_in(self, size: Size) -> Region:
        """Return the same region, drawn in frames of another size or with pixels of another shape.

        Args:
            size: of the masks.

        Returns:
            The region there.
        """
        return replace(self, drawn=size)

    def frame_mask(self, frame: int) -> np.ndarray:
        """Return the region of one latent frame's frames, [H, W] bool.

        Args:
            frame: any frame; beyond the last one, the last.

        Returns:
            [H, W] bool, in `drawn` size.
        """
        import cv2

        latent = 0 if frame == 0 else (frame + 3) // 4
        drawn = self.drawn or self.size
        per_px = np.array(drawn, float) / self.size
        mask = np.zeros((drawn.height_px, drawn.width_px), np.uint8)
        for t in frames_of_latent(latent):
            shape = self.shapes_T5[min(t, self.num_frames - 1)]
            if np.isfinite(shape).all():
                cv2.fillPoly(mask, [_polygon(shape, per_px)], 1, shift=4)
        return mask.astype(bool)

    def masks(self) -> Iterator[np.ndarray]:
        """Yield `frame_mask` of every frame; frames of one latent frame share theirs."""
        mask = self.frame_mask(0)
        for t in range(self.num_frames):
            if t % 4 == 1:
                mask = self.frame_mask(t)
            yield mask


def joined_masks(regions: Sequence[Region]) -> Iterator[np.ndarray]:
    """Yield where any speaker's region acts, frame by frame, [H, W] bool.

    Args:
        regions: one a speaker, drawn in one size.

    Yields:
        Masks; frames of one latent frame share theirs.
    """
    for masks in zip(*(region.masks() for region in regions), strict=True):
        yield masks[0] if len(masks) == 1 else np.any(masks, axis=0)


def followed_regions(
    rows: Iterable[Mapping[int, np.ndarray]], size: Size, num_speakers: int
) -> list[Region]:
    """Lay regions over the faces seen most; only five numbers a face and frame are kept.

    A face that comes back after a cut has a new number. Faces that are never seen together are
    taken for one speaker, the ones seen longest first.

    Args:
        rows: landmarks [478, 2] of each face of a frame by its number, for every frame.
        size: of the frames.
        num_speakers: regions wanted.

    Returns:
        As many regions as there are such speakers, at most ``num_speakers``.
    """
    shapes: dict[int, dict[int, np.ndarray]] = {}
    num_frames = 0
    for row in rows:
        for number, landmarks in row.items():
            shapes.setdefault(number, {})[num_frames] = _lower_faces(landmarks[None])[0]
        num_frames += 1
    speakers: list[dict[int, np.ndarray]] = []
    for seen in sorted(shapes.values(), key=len, reverse=True):
        free = next((s for s in speakers if s.keys().isdisjoint(seen)), None)
        if free is not None:
            free.update(seen)
        elif len(speakers) < num_speakers:
            speakers.append(dict(seen))
    regions = []
    for seen in speakers:
        shapes_T5 = np.full((num_frames, 5), np.nan, np.float32)
        for frame, shape in seen.items():
            shapes_T5[frame] = shape
        regions.append(Region(_smoothed(shapes_T5), size))
    return regions


def feathered(mask_HW: np.ndarray, feather_px: float) -> np.ndarray:
    """Return how much of the result is shown: 0 outside, rising to 1 within the region.

    The feather lies inside, so that nothing outside changes.

    Args:
        mask_HW: the region.
        feather_px: width of the rise.

    Returns:
        [H, W] float32.
    """
    import cv2

    if not mask_HW.any():
        return np.zeros(mask_HW.shape, np.float32)
    inside = cv2.distanceTransform(mask_HW.astype(np.uint8), cv2.DIST_L2, 5)
    return np.minimum(inside / max(feather_px, 1.0), 1).astype(np.float32)


def _lower_faces(landmarks_TPC: np.ndarray) -> np.ndarray:
    corners = landmarks_TPC[:, OUTER_EYE_CORNERS]
    across = corners[:, 1] - corners[:, 0]
    angle = np.arctan2(across[:, 1], across[:, 0])
    right = np.stack([np.cos(angle), np.sin(angle)], -1)
    down = np.stack([-np.sin(angle), np.cos(angle)], -1)
    oval = landmarks_TPC[:, FACE_OVAL]
    u = np.einsum("tpc,tc->tp", oval, right)
    height = np.einsum("tc,tc->t", landmarks_TPC[:, CHIN] - landmarks_TPC[:, FOREHEAD], down)
    top = np.einsum("tc,tc->t", landmarks_TPC[:, NOSE_BRIDGE], down)
    bottom = np.einsum("tc,tc->t", landmarks_TPC[:, CHIN], down) + _CHIN_MARGIN * height
    margin = _SIDE_MARGIN * (u.max(axis=1) - u.min(axis=1))
    low, high = u.min(axis=1) - margin, u.max(axis=1) + margin
    centre = right * ((low + high) / 2)[:, None] + down * ((top + bottom) / 2)[:, None]
    shapes = [centre[:, 0], centre[:, 1], (high - low) / 2, (bottom - top) / 2, angle]
    return np.stack(shapes, -1).astype(np.float32)


def _smoothed(shapes_T5: np.ndarray) -> np.ndarray:
    """Fill short gaps, widen over neighbours, smooth in time; long gaps stay empty."""
    result = np.full_like(shapes_T5, np.nan)
    for first, stop in _stretches(shapes_T5):
        part = shapes_T5[first:stop]
        known = np.flatnonzero(np.isfinite(part).all(axis=1))
        filled = np.stack(
            [np.interp(np.arange(len(part)), known, part[known, c]) for c in range(5)], -1
        )
        filled[:, 4] = np.interp(np.arange(len(part)), known, np.unwrap(part[known, 4]))
        filled[:, 2:4] = maximum_filter1d(filled[:, 2:4], 2 * _REACH_FRAMES + 1, axis=0)
        smooth = gaussian_filter1d(filled, _SMOOTH_FRAMES, axis=0, mode="nearest")
        # What smoothing moved the centre by is added to the size: the face stays inside.
        smooth[:, 2:4] += np.abs(smooth[:, :2] - filled[:, :2]).max(axis=1, keepdims=True)
        result[first:stop] = smooth
    return result


def _stretches(shapes_T5: np.ndarray) -> Iterator[tuple[int, int]]:
    """Spans of frames whose gaps are short and in which the face does not jump, as at a cut."""
    known = np.flatnonzero(np.isfinite(shapes_T5).all(axis=1))
    if not len(known):
        return
    steps = np.diff(known)
    moved = np.linalg.norm(np.diff(shapes_T5[known, :2], axis=0), axis=1)
    jumped = moved > shapes_T5[known[:-1], 2] * np.sqrt(steps)
    breaks = np.flatnonzero((steps > MAX_GAP_FRAMES + 1) | jumped)
    for part in np.split(known, breaks + 1):
        yield int(part[0]), int(part[-1]) + 1


def _polygon(shape_5: np.ndarray, per_px: np.ndarray) -> np.ndarray:
    """Corners of a turned superellipse in sixteenths of a pixel, as OpenCV's shift of 4 wants."""
    x, y, half_width, half_height, angle = shape_5
    t = np.linspace(0, 2 * np.pi, _POINTS, endpoint=False)
    u = half_width * np.sign(np.cos(t)) * np.abs(np.cos(t)) ** (2 / _CORNER)
    v = half_height * np.sign(np.sin(t)) * np.abs(np.sin(t)) ** (2 / _CORNER)
    points = np.stack(
        [x + u * np.cos(angle) - v * np.sin(angle), y + u * np.sin(angle) + v * np.cos(angle)], -1
    )
    return np.rint(points * per_px * 16).astype(np.int32)
