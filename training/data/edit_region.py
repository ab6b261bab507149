"""What an edit makes anew: the lower face, over all four frames of a latent frame, moving smoothly.

The region is drawn from the tracked mesh. It takes in the mouth of every frame that a latent frame
covers, down to below the chin, else the source's own mouth leaks into what is given and a model
learns to copy it. Not here: pasting the source back after decoding (generation).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from training.data.face_mesh import CHIN, NOSE_BASE
from training.data.face_track import FaceTrack
from training.model.audio_windows import frames_of_latent, num_latents

_LOW, _HIGH = slice(0, 2), slice(2, 4)


def edit_region(
    faces: Sequence[FaceTrack],
    size_px: tuple[int, int],
    *,
    margin_ratio: float = 0.15,
    smooth_latents: int = 2,
) -> torch.Tensor:
    """Draw the region of all faces.

    Args:
        faces: tracks over T frames, T = 4k + 1.
        size_px: width and height of the frames.
        margin_ratio: what is added on every side, as a share of the height from the base of the
            nose to the chin; 0.15 is ours.
        smooth_latents: latent frames on either side over which the borders are smoothed; ours.

    Returns:
        [T, H, W] bool, True where pixels are made anew; alike in all frames of a latent frame.
    """
    width, height = size_px
    num_frames = len(faces[0].score_T)
    region_THW = torch.zeros(num_frames, height, width, dtype=torch.bool)
    for face in faces:
        boxes_K4 = smooth_boxes(latent_boxes(lower_face_boxes(face, margin_ratio)), smooth_latents)
        for latent, box in enumerate(boxes_K4):
            if not np.isfinite(box).all():
                continue
            low = np.maximum(np.floor(box[_LOW]), 0).astype(int)
            high = np.maximum(np.ceil(box[_HIGH]), 0).astype(int)
            frames = frames_of_latent(latent)
            region_THW[frames.start : frames.stop, low[1] : high[1], low[0] : high[0]] = True
    return region_THW


def lower_face_boxes(face: FaceTrack, margin_ratio: float) -> np.ndarray:
    """Box of the face below the nose, with its margin.

    Args:
        face: the track.
        margin_ratio: added on every side, as a share of the height from nose to chin.

    Returns:
        (T, 4) left, top, right, bottom.
    """
    oval = face.oval_TPC
    nose, chin = face.points((NOSE_BASE, CHIN)).transpose(1, 0, 2)
    lips = face.lip_polygon_TPC
    # Lips and chin may turn away from below the nose: the box holds all that moves.
    low = np.minimum(oval.min(axis=1), lips.min(axis=1))
    low[:, 1] = np.minimum(nose[:, 1], lips[..., 1].min(axis=1))
    high = np.maximum(oval.max(axis=1), lips.max(axis=1))
    margin = margin_ratio * np.linalg.norm(chin - nose, axis=1)[:, None]
    return np.concatenate([low - margin, high + margin], axis=1)


def latent_boxes(boxes_T4: np.ndarray) -> np.ndarray:
    """Union of the boxes of each latent frame's frames, (K, 4)."""
    unions = []
    for latent in range(num_latents(len(boxes_T4))):
        frames = frames_of_latent(latent)
        boxes = boxes_T4[frames.start : frames.stop]
        unions.append(np.concatenate([boxes[:, _LOW].min(0), boxes[:, _HIGH].max(0)]))
    return np.array(unions)


def smooth_boxes(boxes_K4: np.ndarray, radius: int) -> np.ndarray:
    """Smooth borders over time so that no box becomes smaller.

    Each border is first moved to its outermost place within ``radius`` latent frames, then
    averaged over as many; all that is averaged lies outside of the box at hand.

    Args:
        boxes_K4: (K, 4) left, top, right, bottom.
        radius: latent frames on either side.

    Returns:
        (K, 4), each box containing the one given.
    """
    windows = np.lib.stride_tricks.sliding_window_view

    def padded(values: np.ndarray) -> np.ndarray:
        return np.pad(values, ((radius, radius), (0, 0)), mode="edge")

    size = 2 * radius + 1
    low = windows(padded(boxes_K4[:, _LOW]), size, axis=0).min(-1)
    high = windows(padded(boxes_K4[:, _HIGH]), size, axis=0).max(-1)
    outermost = np.concatenate([low, high], axis=1)
    return windows(padded(outermost), size, axis=0).mean(-1)
