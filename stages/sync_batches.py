"""Batches to learn lip sync from: windows of clips, shifted, disturbed, one speaker each.

NumPy only, from one generator: the same seed gives the same batches.

Shape letters: S windows of a batch, N grid frames, M = N + 2 * lag frames of sound, H = 4 M hops,
F features of the picture, B bands, P points, C = 3, X = 3 P.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy.spatial.transform import Rotation

from stages.landmarks import FloatArray
from stages.sync_examples import TalkingClip
from stages.sync_features import (
    GRID_FPS,
    HOP_S,
    HOPS_PER_FRAME,
    MAX_LAG_FRAMES,
    NUM_BANDS,
    audio_features,
    hops_of,
    mirrored,
    points_at,
    video_features,
)

BATCH_SIZE = 24
WINDOW_FRAMES = (40, 110)
MAX_SHIFT_FRAMES = 10
# Spreads of the disturbances: sync.md section 4, where not said otherwise.
SPEED_SPREAD = 0.16
"""Half-width of the natural logarithm of the speed, picture and sound alike."""
TURN_RAD, STRETCH, JITTER = 0.12, 0.08, 0.012
OTHER_VOICE_RATIO, NOISE_RATIO, BAND_GAP_RATIO = 0.5, 0.4, 0.3
HALF_RATE_RATIO = 0.15
"""Windows seen at half their frame rate: sources below 25 fps. Ours."""
EXACT_CUT_RATIO = 0.5
"""Windows whose sound ends where the picture does; the others have 0.6 s more. Ours."""
DB = np.log(10) / 10
"""One decibel of power in natural logarithms."""


class Batch(NamedTuple):
    """What a step of learning sees.

    Attributes:
        video_SNF: features of the picture.
        video_known_SN: frames that count.
        audio_SHB: features of the sound, from `MAX_LAG_FRAMES` before the picture.
        audio_known_SM: frames of sound that count.
        target_S: place of the true offset among the candidates.
    """

    video_SNF: FloatArray
    video_known_SN: FloatArray
    audio_SHB: FloatArray
    audio_known_SM: FloatArray
    target_S: FloatArray


class Batches:
    """Draws batches: different speakers, one window each, all of one length.

    A speaker is drawn with the square root of the footage there is of them, so that long speakers
    do not crowd out the others.
    """

    def __init__(
        self,
        clips: Sequence[TalkingClip],
        offsets_ms: Mapping[str, float],
        pca_XF: FloatArray,
        rng: np.random.Generator,
    ) -> None:
        """Sort the clips by speaker.

        Args:
            clips: clips to draw from; those without an offset are passed over.
            offsets_ms: where each clip's sound is, + = later than the picture.
            pca_XF: principal directions of mouth movement.
            rng: where chance comes from.
        """
        self._offsets_ms, self._pca_XF, self._rng = offsets_ms, pca_XF, rng
        self._clips = [clip for clip in clips if clip.name in offsets_ms]
        self._speakers: dict[str, list[TalkingClip]] = {}
        for clip in sorted(self._clips, key=lambda clip: clip.name):
            self._speakers.setdefault(clip.speaker, []).append(clip)
        self._names = sorted(self._speakers)
        weight = np.sqrt([sum(c.length_s for c in self._speakers[n]) for n in self._names])
        self._share = weight / weight.sum()

    def draw(self) -> Batch:
        """Draw the next batch."""
        rng = self._rng
        size = min(BATCH_SIZE, len(self._names))
        num_frames = int(rng.integers(WINDOW_FRAMES[0], WINDOW_FRAMES[1] + 1))
        rows = []
        for number in rng.choice(len(self._names), size, replace=False, p=self._share):
            own = self._speakers[self._names[number]]
            lengths = np.array([clip.length_s for clip in own])
            clip = own[rng.choice(len(own), p=lengths / lengths.sum())]
            other = self._clips[rng.integers(len(self._clips))]
            offset_s = self._offsets_ms[clip.name] / 1000
            rows.append(_window(clip, other, offset_s, num_frames, self._pca_XF, rng))
        return Batch(*(np.stack(column) for column in zip(*rows, strict=True)))


def _window(
    clip: TalkingClip,
    other: TalkingClip,
    offset_s: float,
    num_frames: int,
    pca_XF: FloatArray,
    rng: np.random.Generator,
) -> tuple[FloatArray, ...]:
    speed = float(np.exp(rng.uniform(-SPEED_SPREAD, SPEED_SPREAD)))
    room_s = clip.length_s - num_frames / GRID_FPS * speed
    start_s = clip.times_s[0] + (rng.uniform(0, room_s) if room_s > 0 else min(0.0, room_s) / 2)
    grid_s = np.arange(num_frames) / GRID_FPS * speed
    stride = 2 if rng.random() < HALF_RATE_RATIO else 1
    points_NPC, known_N = points_at(
        clip.points_TPC[::stride], clip.times_s[::stride], start_s + grid_s
    )
    shift = int(rng.integers(-MAX_SHIFT_FRAMES, MAX_SHIFT_FRAMES + 1))
    frames_M = np.arange(-MAX_LAG_FRAMES, num_frames + MAX_LAG_FRAMES)
    hop_s = hops_of((frames_M - shift) / GRID_FPS) * speed + start_s + offset_s
    bands_HB = _bands_at(clip, hop_s)
    if rng.random() < EXACT_CUT_RATIO:
        bands_HB[: MAX_LAG_FRAMES * HOPS_PER_FRAME] = np.nan
        bands_HB[-MAX_LAG_FRAMES * HOPS_PER_FRAME :] = np.nan
    known_M = np.isfinite(bands_HB[:, 0]).reshape(-1, HOPS_PER_FRAME).all(axis=1)
    return (
        video_features(_moved(points_NPC, rng), pca_XF).astype(np.float32),
        known_N.astype(np.float32),
        _disturbed(bands_HB, other, rng).astype(np.float32),
        known_M.astype(np.float32),
        np.int64(MAX_LAG_FRAMES + shift),
    )


def _bands_at(clip: TalkingClip, hop_s: FloatArray) -> FloatArray:
    """Return the nearest hops; NaN beyond the sound."""
    index = np.rint((hop_s - clip.first_hop_s) / HOP_S).astype(int)
    inside_H = (index >= 0) & (index < len(clip.bands_HB))
    bands_HB = clip.bands_HB[np.clip(index, 0, len(clip.bands_HB) - 1)].astype(np.float64)
    bands_HB[~inside_H] = np.nan
    return bands_HB


def _moved(points_NPC: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Mirror, turn, stretch and shake a face, as the fit of the pose and the mesh do."""
    if rng.random() < 0.5:
        points_NPC = mirrored(points_NPC)
    turned = Rotation.from_rotvec(rng.normal(0, TURN_RAD, 3)).as_matrix()
    points_NPC = points_NPC @ turned * np.exp(rng.normal(0, STRETCH, 3))
    still = rng.normal(0, 1, points_NPC.shape[1:]) * rng.uniform(0, JITTER)
    shaken = rng.normal(0, 1, points_NPC.shape) * rng.uniform(0, JITTER) * (rng.random() < 0.5)
    return np.asarray(points_NPC + still + shaken)


def _disturbed(bands_HB: FloatArray, other: TalkingClip, rng: np.random.Generator) -> FloatArray:
    """Mix another voice, a noise floor and gaps of bands into a sound; give its features."""
    known_H = np.isfinite(bands_HB[:, 0])
    if known_H.any():
        level = np.quantile(bands_HB[known_H].mean(axis=1), 0.9)
        if rng.random() < OTHER_VOICE_RATIO:
            first = rng.integers(max(1, len(other.bands_HB) - len(bands_HB)))
            voice_HB = np.resize(other.bands_HB[first:], bands_HB.shape).astype(np.float64)
            voice_HB = np.nan_to_num(voice_HB, nan=-40.0)
            louder = level - np.quantile(voice_HB.mean(axis=1), 0.9) - rng.uniform(0, 25) * DB
            bands_HB[known_H] = np.logaddexp(bands_HB[known_H], (voice_HB + louder)[known_H])
        if rng.random() < NOISE_RATIO:
            slope_B = np.linspace(-1, 1, NUM_BANDS) * rng.normal(0, 1.5)
            noise_HB = rng.normal(0, 0.5, bands_HB.shape) + slope_B
            noise_HB = noise_HB + level - rng.uniform(3, 35) * DB
            bands_HB[known_H] = np.logaddexp(bands_HB[known_H], noise_HB[known_H])
    features_HB = audio_features(bands_HB) * np.exp(rng.uniform(-0.2, 0.2))
    if rng.random() < BAND_GAP_RATIO:
        first = rng.integers(NUM_BANDS)
        features_HB[:, first : first + rng.integers(1, 9)] = 0
    return np.asarray(features_HB)


def principal_directions(clips: Sequence[TalkingClip], num_parts: int) -> FloatArray:
    """Return the principal directions of mouth movement, (X, num_parts), faces and mirrored faces.

    Every clip counts alike, whatever its length.
    """
    total_XX = np.zeros((195, 195))
    for clip in clips:
        for points_TPC in (clip.points_TPC, mirrored(clip.points_TPC)):
            flat_TX = points_TPC.reshape(len(points_TPC), -1).astype(np.float64)
            flat_TX = flat_TX - flat_TX.mean(axis=0)
            total_XX += flat_TX.T @ flat_TX / len(flat_TX)
    directions_XX = np.linalg.eigh(total_XX)[1][:, ::-1][:, :num_parts]
    # The sign of a direction is arbitrary; the largest entry is made positive.
    sign = np.sign(directions_XX[np.abs(directions_XX).argmax(axis=0), np.arange(num_parts)])
    return np.asarray((directions_XX * sign).astype(np.float32))
