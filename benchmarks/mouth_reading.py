"""Reads how far a mouth is open from the small, coarse pictures of the tiny model.

Frames of the tiny model are 64 px and come out of a linear codec. MediaPipe's mesh finds a face in
nearly all true frames that went through the codec and nothing else, knows where it is, but
misreads its lips: its opening correlates with the truth at about 0.4 on demo clips and 0.5 on real
ones. So the opening is a linear reading: of the pixels about the lips, cut out where the mesh's
points that speech does not move say, and of the mesh's own opening. The reader is learned from true
frames of the *training* clips, passed through the same codec, and has to show on true frames of
clips that it never saw how well it reads. No sound enters it, and it sees a frame at a time: what
it reads was in the picture.

The lips are where the first frame, which is given to the model, has them; where the mesh finds no
face, the head is taken to be where it was. Shape letters: T frames, P points, D numbers a frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from benchmarks.following import correlation
from training.evaluation.landmarks import RIGID
from training.generation.faces import NUM_LANDMARKS, FaceFinder

PATCH_PX = (24, 20)
"""Width and height of the patch that is read; ours."""
ROOM_SIDE, ROOM_ABOVE, ROOM_BELOW = 0.9, 0.7, 0.9
"""Reach of the patch from the middle of the lips, in widths of the lips; ours."""
MESH_WEIGHT = 5.0
"""Of the mesh's opening beside pixels in [0, 1]: the ridge holds it down less. Ours."""
STRENGTHS = (3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
"""Of the ridge, from which training clips choose."""
MESH_PX = 256
"""Frames are enlarged to this side for the mesh, which wants a face of some size."""


def face_meshes(frames: np.ndarray) -> np.ndarray:
    """Find the face in every frame by itself, without memory of the frame before.

    Args:
        frames: (T, H, W, 3) uint8.

    Returns:
        (T, 478, 2) pixels of the frames, NaN where no face was found.
    """
    meshes = np.full((len(frames), NUM_LANDMARKS, 2), np.nan)
    with FaceFinder(max_faces=1) as finder:
        for number, frame in enumerate(frames):
            large = cv2.resize(frame, (MESH_PX, MESH_PX), interpolation=cv2.INTER_CUBIC)
            for face in finder.find(large)[:1]:
                meshes[number] = face * (np.array(frame.shape[1::-1]) / MESH_PX)
    return meshes


def found_in(meshes: np.ndarray) -> np.ndarray:
    """Numbers of the frames in which a face was found."""
    return np.flatnonzero(np.isfinite(meshes[:, 0, 0]))


def mesh_opening(meshes: np.ndarray) -> np.ndarray:
    """Distance of the inner lips over that of the outer eye corners, as the mesh has them.

    Args:
        meshes: (T, 478, 2).

    Returns:
        (T,) about their mean, filled in where no face was found; zeros if there was none at all.
    """
    known = found_in(meshes)
    if not len(known):
        return np.zeros(len(meshes))
    lips = np.linalg.norm(meshes[known, 13] - meshes[known, 14], axis=1)
    eyes = np.linalg.norm(meshes[known, 33] - meshes[known, 263], axis=1)
    opening = np.interp(np.arange(len(meshes)), known, lips / np.maximum(eyes, 1e-6))
    return opening - opening.mean()


def head_moves(meshes: np.ndarray) -> np.ndarray:
    """Where points of the first found face have moved to in every frame.

    Args:
        meshes: (T, 478, 2).

    Returns:
        (T, 2, 3) similarity transforms, filled in where no face was found.
    """
    known = found_in(meshes)
    moves = np.tile(np.eye(2, 3), (len(meshes), 1, 1))
    if not len(known):
        return moves
    rigid = np.ascontiguousarray(meshes[:, list(RIGID)], np.float32)
    for number in known:
        fit, _ = cv2.estimateAffinePartial2D(rigid[known[0]], rigid[number], method=cv2.LMEDS)
        if fit is not None:
            moves[number] = fit
    flat = moves.reshape(len(meshes), 6)
    every = np.arange(len(meshes))
    filled = [np.interp(every, known, flat[known, column]) for column in range(6)]
    return np.stack(filled, axis=1).reshape(-1, 2, 3)


def mouth_numbers(frames: np.ndarray, lips: np.ndarray, meshes: np.ndarray) -> np.ndarray:
    """What the reader reads of every frame, less its mean over the clip.

    Args:
        frames: (T, H, W, 3) uint8.
        lips: (P, 2) contour of the lips in the first frame, in pixels.
        meshes: (T, 478, 2) faces of the frames.

    Returns:
        (T, D), the patch's pixels row by row and the mesh's opening.
    """
    middle, width = lips.mean(axis=0), float(np.ptp(lips[:, 0]))
    step_x = 2 * ROOM_SIDE * width / PATCH_PX[0]
    step_y = (ROOM_ABOVE + ROOM_BELOW) * width / PATCH_PX[1]
    left, top = middle[0] - ROOM_SIDE * width, middle[1] - ROOM_ABOVE * width
    first = np.array([[step_x, 0, left], [0, step_y, top], [0, 0, 1]])
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    patches = [
        cv2.warpAffine(frame, move @ first, PATCH_PX, flags=how, borderMode=cv2.BORDER_REPLICATE)
        for frame, move in zip(frames, head_moves(meshes), strict=True)
    ]
    pixels = np.stack(patches).reshape(len(frames), -1) / 255.0
    numbers = np.concatenate([pixels, MESH_WEIGHT * mesh_opening(meshes)[:, None]], axis=1)
    return numbers - numbers.mean(axis=0)


@dataclass(frozen=True)
class MouthReader:
    """Ridge regression to the opening, all about the mean over a clip.

    Attributes:
        weights: (D,) of the numbers of a frame.
        strength: of the ridge, chosen among training clips.
    """

    weights: np.ndarray
    strength: float

    @classmethod
    def fit(cls, numbers: Sequence[np.ndarray], openings: Sequence[np.ndarray]) -> MouthReader:
        """Learn from clips and their mirror images.

        The strength is the one with which each half of the clips reads the other best.

        Args:
            numbers: (T, D) of each clip, from `mouth_numbers`.
            openings: (T,) of each clip.

        Returns:
            The reader.
        """
        centred = [opening - opening.mean() for opening in openings]
        halves = (slice(0, None, 2), slice(1, None, 2))
        score = np.zeros(len(STRENGTHS))
        for known, asked in (halves, halves[::-1]):
            for place, weights in enumerate(_ridge(numbers[known], centred[known])):
                for one, opening in zip(numbers[asked], centred[asked], strict=True):
                    score[place] += correlation(one @ weights, opening)
        best = int(score.argmax())
        return cls(_ridge(numbers, centred)[best], STRENGTHS[best])

    def read(self, numbers: np.ndarray) -> np.ndarray:
        """Read the opening (T,), about its mean over the clip, of numbers (T, D)."""
        return numbers @ self.weights


def _ridge(numbers: Sequence[np.ndarray], openings: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Weights for each of `STRENGTHS`."""
    rows = np.concatenate([*numbers, *(_mirrored(one) for one in numbers)])
    wanted = np.concatenate([*openings, *openings])
    values, vectors = np.linalg.eigh(rows.T @ rows)
    turned = vectors.T @ (rows.T @ wanted)
    return [vectors @ (turned / (np.maximum(values, 0) + strength)) for strength in STRENGTHS]


def _mirrored(numbers: np.ndarray) -> np.ndarray:
    """The same mouths seen in a mirror: the patch lies symmetrically about the lips."""
    width, height = PATCH_PX
    pixels = numbers[:, :-1].reshape(-1, height, width, 3)[:, :, ::-1]
    return np.concatenate([pixels.reshape(len(numbers), -1), numbers[:, -1:]], axis=1)


def loudness_db(pcm: np.ndarray, num_frames: int, fps: float, rate_hz: int) -> np.ndarray:
    """Loudness of the sound about the time of each frame.

    Args:
        pcm: mono samples; sample 0 is the time of frame 0.
        num_frames: T.
        fps: frames a second.
        rate_hz: of the samples.

    Returns:
        (T,) dB below the loudest frame, no lower than -40; a frame's sound is 40 ms about its time.
    """
    half = round(0.02 * rate_hz)
    num_after = 2 * half + round(num_frames / fps * rate_hz)
    padded = np.pad(np.asarray(pcm, np.float64), (half, num_after))
    firsts = np.round(np.arange(num_frames) / fps * rate_hz).astype(int)
    power = np.array([np.square(padded[first : first + 2 * half]).mean() for first in firsts])
    return np.maximum(10 * np.log10(np.maximum(power, 1e-12) / max(power.max(), 1e-12)), -40.0)
