"""Whether these lips and this voice belong together, and how far apart they are in time.

A small network (`sync_network`) compares the movement of pose-normalised mouth landmarks with
log-mel bands at 25 fps. How well they agree at each shift gives the offset; how high and how
unique the best shift is, and for how long it was seen, the probability.

In the room: from landmarks and PCM to the estimate, and the probability. Not in the room: learning
(`sync_learning`), and the account of data, terms, figures and failures (`sync_net.md`).

Shape letters: T picture frames, N grid frames, P mesh points, C = 3, E entries of a vector, D
candidate offsets.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any, Self

import numpy as np

from stages.landmarks import LIP_MOTION, FloatArray, normalise_pose
from stages.sync_curve import agreement, can_tell, curve_of, frames_in_common, peak_of
from stages.sync_features import (
    GRID_FPS,
    HOPS_PER_FRAME,
    MAX_LAG_FRAMES,
    OFFSETS_MS,
    audio_features,
    heard,
    hops_of,
    log_mel,
    mirrored,
    on_grid,
    video_features,
)
from stages.sync_network import TwoTowers

WEIGHTS = "sync_net.npz"
MIN_HALF_FRAMES = 50
"""Halves shorter than 2 s, the shortest calibrated length, are not asked for their own offset."""
MIN_HALF_CONFIDENCE = 0.7
"""Below it a half cannot tell its offset (sync_net.md)."""
CALIBRATED_FRAMES = (50, 250)
"""Lengths that the confidence was calibrated over (2 to 10 s); outside, the nearest counts."""


@dataclass(frozen=True)
class SyncInput:
    """One face and one voice to compare.

    Attributes:
        landmarks_TPC: (T, 478, 3) in square pixels, NaN where there is no mesh; points that the
            estimate does not use may be NaN throughout.
        times_s: (T,) ascending presentation times, at the native frame rate.
        pcm: mono at 16 kHz in [-1, 1]. Sound up to 0.7 s before and after the picture is used
            where it is given; where it is not, only the overlap counts.
        pcm_start_s: time of the first sample, on the clock of `times_s`.
    """

    landmarks_TPC: FloatArray
    times_s: FloatArray
    pcm: FloatArray
    pcm_start_s: float


@dataclass(frozen=True)
class SyncEstimate:
    """What the lips and the voice of one speaker say about each other.

    All of the optional values but `half_disagreement_ms` are None together, when there is too
    little to compare (no mesh, under about 1 s, silence): that is not the same as out of sync.

    Attributes:
        offset_ms: + = the audio is later than the picture; -600..600, finer than a frame.
        confidence: probability in [0, 1] that the voice belongs to the lips, for even prior odds
            against another speaker's voice, whatever the length; says nothing of the offset's size.
        score: height of the curve's peak.
        margin: the peak minus the median of the curve.
        half_disagreement_ms: |offset of the first half - offset of the second|; large means drift
            or a cut; None below 4 s or if either half cannot tell.
        offsets_ms: (D,) the offsets tried.
        curve: (D,) their scores; NaN where too little overlaps.
    """

    offset_ms: float | None
    confidence: float | None
    score: float | None
    margin: float | None
    half_disagreement_ms: float | None
    offsets_ms: FloatArray
    curve: FloatArray


@dataclass(frozen=True)
class Streams:
    """What the networks read of one input.

    Attributes:
        points_NPC: points of `LIP_MOTION` on the grid, pose-normalised.
        known_N: grid frames that count.
        bands_HB: log-mel bands, from `MAX_LAG_FRAMES` before the first grid frame to as many after
            the last; NaN where there is no sound.
    """

    points_NPC: FloatArray
    known_N: FloatArray
    bands_HB: FloatArray


@dataclass(frozen=True)
class SyncEstimator:
    """The learned estimator: networks whose curves are averaged, and the calibration.

    Attributes:
        networks: one or more.
        logit: weights of `evidence`.
        learned_from: the first 16 characters of the ids of the sources that it was learned from,
            so that nobody reports figures on them by mistake.
    """

    networks: tuple[TwoTowers, ...]
    logit: FloatArray
    learned_from: frozenset[str] = frozenset()

    @classmethod
    def load(cls, path: Path | None = None) -> Self:
        """Read the arrays of `path`, or those that ship with the package; runs no pickles."""
        source = files("stages").joinpath(WEIGHTS) if path is None else path
        with source.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return cls.from_arrays(dict(arrays))

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any]) -> Self:
        """Read what `to_arrays` named."""
        num = len({name.split(".")[0] for name in arrays if name.startswith("network")})
        networks = tuple(TwoTowers.from_arrays(arrays, f"network{n}.") for n in range(num))
        learned_from = frozenset(str(each) for each in arrays.get("learned_from", ()))
        return cls(networks, np.asarray(arrays["logit"], np.float64), learned_from)

    def to_arrays(self) -> dict[str, Any]:
        """Name all arrays; weights in half precision, the calibration in single."""
        arrays: dict[str, Any] = {
            "logit": np.asarray(self.logit, np.float32),
            "learned_from": np.array(sorted(self.learned_from), "S16").astype("U16"),
        }
        for number, network in enumerate(self.networks):
            named = network.to_arrays(f"network{number}.")
            arrays |= {name: value.astype(np.float16) for name, value in named.items()}
        return arrays

    @staticmethod
    def weights_digest(path: Path | None = None) -> str:
        """Return the SHA-256 of the arrays of `path`, or of those that ship, in hex."""
        source = files("stages").joinpath(WEIGHTS) if path is None else path
        return sha256(source.read_bytes()).hexdigest()

    def estimate(self, inputs: Sequence[SyncInput]) -> list[SyncEstimate]:
        """Compare each face with its voice, as one batch; each result is as if it were alone."""
        return [self.judge(found) for found in self.agreements([streams_of(i) for i in inputs])]

    def agreements(self, streams: Sequence[Streams]) -> list[FloatArray]:
        """Return how well each frame agrees with the sound at each offset, (D, N) of each input.

        The mean over the networks, and over the face and its mirror image.
        """
        if not streams:
            return []
        total: list[FloatArray] = []
        audio = [audio_features(each.bands_HB) for each in streams]
        for network in self.networks:
            faces = [each.points_NPC for each in streams]
            features = [
                video_features(face, network.pca_XF) / network.video_spread_F
                if len(face)
                else np.zeros((0, len(network.video_spread_F)))
                for face in [*faces, *(mirrored(face) for face in faces)]
            ]
            seen = network.embed_video(features)
            sounds = network.embed_audio(audio)
            found = []
            for number, each in enumerate(streams):
                video_NE = (seen[number] + seen[number + len(streams)]) / 2
                video_NE[~each.known_N] = np.nan
                audio_ME = sounds[number]
                known_H = np.isfinite(each.bands_HB[:, 0])
                audio_ME[~known_H.reshape(-1, HOPS_PER_FRAME).all(axis=1)] = np.nan
                found.append(agreement(video_NE, audio_ME))
            total = found if not total else [a + b for a, b in zip(total, found, strict=True)]
        return [each / len(self.networks) for each in total]

    def judge(self, agreement_DN: FloatArray) -> SyncEstimate:
        """Make the estimate of one input's agreement."""
        curve = curve_of(agreement_DN)
        if not can_tell(curve):
            return SyncEstimate(None, None, None, None, None, OFFSETS_MS, curve)
        offset_ms, score, margin = peak_of(curve)
        return SyncEstimate(
            offset_ms=offset_ms,
            confidence=self.confidence(score, margin, frames_in_common(agreement_DN, curve)),
            score=score,
            margin=margin,
            half_disagreement_ms=self._half_disagreement_ms(agreement_DN),
            offsets_ms=OFFSETS_MS,
            curve=curve,
        )

    def _half_disagreement_ms(self, agreement_DN: FloatArray) -> float | None:
        middle = agreement_DN.shape[1] // 2
        offsets_ms = []
        for half_DN in (agreement_DN[:, :middle], agreement_DN[:, middle:]):
            curve = curve_of(half_DN)
            if half_DN.shape[1] < MIN_HALF_FRAMES or not can_tell(curve):
                return None
            offset_ms, score, margin = peak_of(curve)
            num_frames = frames_in_common(half_DN, curve)
            if self.confidence(score, margin, num_frames) < MIN_HALF_CONFIDENCE:
                return None
            offsets_ms.append(offset_ms)
        return abs(offsets_ms[0] - offsets_ms[1])

    def confidence(self, score: float, margin: float, num_frames: int) -> float:
        """Return the calibrated probability that a curve comes from a voice and its own lips."""
        return float(1 / (1 + np.exp(-evidence(score, margin, num_frames) @ self.logit)))


def streams_of(each: SyncInput) -> Streams:
    """Lay a face and a voice on the grid that they share."""
    points_TPC = normalise_pose(each.landmarks_TPC).points_TPC[:, LIP_MOTION]
    return streams_on_grid(points_TPC, each.times_s, each.pcm, each.pcm_start_s)


def streams_on_grid(
    points_TPC: FloatArray, times_s: FloatArray, pcm: FloatArray, pcm_start_s: float
) -> Streams:
    """As `streams_of`, for points that are pose-normalised already, (T, 65, 3)."""
    grid_s, points_NPC, known_N = on_grid(points_TPC, times_s)
    num = len(grid_s)
    if not num:
        return Streams(points_NPC, known_N, np.full((2 * MAX_LAG_FRAMES * 4, 40), np.nan))
    pcm, pcm_start_s = heard(pcm, pcm_start_s)
    wide_s = grid_s[0] + np.arange(-MAX_LAG_FRAMES, num + MAX_LAG_FRAMES) / GRID_FPS
    return Streams(points_NPC, known_N, log_mel(pcm, pcm_start_s, hops_of(wide_s)))


def evidence(score: float, margin: float, num_frames: int) -> FloatArray:
    """Return what the confidence is a logistic function of, (6,)."""
    log_s = np.log(np.clip(num_frames, *CALIBRATED_FRAMES) / GRID_FPS)
    return np.array([1.0, score, margin, log_s, score * log_s, margin * log_s])
