"""Whether these lips and this voice belong together, and how far apart they are in time.

A linear estimator, numpy only: canonical correlation analysis (CCA), learned across speakers, maps
the movement of pose-normalised lip, jaw and cheek landmarks on one side and log-mel bands on the
other to pairs of numbers that go together when the voice belongs to the lips. How well they go
together at each shift gives the offset; how high and how unique the best shift is, the confidence.

In the room: features and inference. Not in the room: learning (`sync_fit`), finding faces, and the
account of data, terms, figures and failures (`sync_cca.md`).

Shape letters: T picture frames, N grid frames, P mesh points, C = 3, B mel bands, K canonical
pairs, F features of one grid frame with its neighbours, D candidate offsets.
"""

from dataclasses import dataclass, fields
from functools import lru_cache
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from stages.landmarks import INNER_LIP, LIP_MOTION, OUTER_LIP, FloatArray, normalise_pose

SAMPLE_RATE_HZ = 16_000
GRID_FPS = 25
"""Rate of both feature streams, as in SyncNet (Chung and Zisserman, ACCV-W 2016)."""
MAX_LAG_FRAMES = 15
"""Search range +-600 ms, SyncNet's; a larger lag is not found and reads as low confidence."""
OFFSETS_MS: FloatArray = np.arange(-MAX_LAG_FRAMES, MAX_LAG_FRAMES + 1) * (1000.0 / GRID_FPS)

# Front end of speech recognition (Davis and Mermelstein 1980; the values are HTK's defaults, the
# number of bands Kaldi's): 25 ms windows every 10 ms, four of them averaged for one grid frame.
PRE_EMPHASIS = 0.97
WINDOW_SAMPLES = 400
FFT_SAMPLES = 512
HOPS_PER_FRAME = 4
NUM_BANDS = 40
BAND_LOW_HZ, BAND_HIGH_HZ = 60.0, 7600.0
FLOOR_BELOW_PEAK = 1e-6
"""Band power is floored 60 dB below the loudest, so that recording level has no influence. Ours."""
SILENCE_PEAK = 1e-4
"""Below -80 dBFS there is no voice to compare: digital silence and what codecs leave of it. Ours:
speech at -58 dB RMS peaks above 1e-3. At either end of the sound it counts as no sound, so that
padding is no evidence."""

CONTEXT_FRAMES = 3
"""Neighbours on either side of a grid frame: 7 frames, 280 ms, about a syllable. sync.md 3 C."""
MAX_GAP_S = 0.25
"""A mesh missing for this long is interpolated; grid frames in longer gaps do not count. Ours:
covers 8.3 fps, where +-40 ms is still held; beyond, lips move unseen."""
MIN_FRAMES = 25
"""A shift with less than 1 s of frames in common is not scored; without a scored shift 0 the
estimator cannot tell."""
MIN_HALF_FRAMES = 50
"""Halves shorter than 2 s, the shortest calibrated length, are not asked for their own offset."""
MIN_HALF_CONFIDENCE = 0.7
"""Below it a half cannot tell its offset: at 0.7, 3 to 5 % of held-out segments of 2 to 5 s with
their own voice are off by more than 100 ms, without it 12 to 15 % (sync_cca.md)."""
CALIBRATED_FRAMES = (50, 250)
"""Lengths that the confidence was calibrated over (2 to 10 s); outside, the nearest counts."""


@dataclass(frozen=True)
class SyncEstimate:
    """What the lips and the voice of one speaker say about each other.

    All of the optional values but `half_disagreement_ms` are None together, when there is too
    little to compare (no mesh, under about 1 s, silence): that is not the same as out of sync.

    Attributes:
        offset_ms: + = the audio is later than the picture; -600..600, finer than a frame.
        confidence: probability in [0, 1] that the voice belongs to the lips, for even prior odds
            against another speaker's voice, whatever the length; says nothing of the offset's size.
        score: height of the curve's peak, a weighted mean of correlations, -1..1.
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


@lru_cache(maxsize=1)
def mel_filters() -> FloatArray:
    """Return triangular filters, (B, bins), equally spaced in mel = 2595 log10(1 + f / 700)."""
    low_mel, high_mel = (2595 * np.log10(1 + f / 700) for f in (BAND_LOW_HZ, BAND_HIGH_HZ))
    edges_hz = 700 * (10 ** (np.linspace(low_mel, high_mel, NUM_BANDS + 2) / 2595) - 1)
    bins_hz = np.fft.rfftfreq(FFT_SAMPLES, 1 / SAMPLE_RATE_HZ)
    low, centre, high = edges_hz[:-2, None], edges_hz[1:-1, None], edges_hz[2:, None]
    rise, fall = (bins_hz - low) / (centre - low), (high - bins_hz) / (high - centre)
    return np.maximum(0.0, np.minimum(rise, fall))


def log_mel(pcm: FloatArray, pcm_start_s: float, grid_s: FloatArray) -> FloatArray:
    """Return log-mel bands at given times, (N, B); NaN where the samples do not reach.

    Args:
        pcm: mono samples at 16 kHz in [-1, 1].
        pcm_start_s: time of the first sample.
        grid_s: (N,) centres of the grid frames, on the same clock.

    Returns:
        (N, B) bands.
    """
    bands_NB = np.full((len(grid_s), NUM_BANDS), np.nan)
    hop_frames = (np.arange(HOPS_PER_FRAME) + 0.5) / HOPS_PER_FRAME - 0.5
    centre_s = grid_s[:, None] + hop_frames / GRID_FPS
    first = np.round((centre_s - pcm_start_s) * SAMPLE_RATE_HZ).astype(int) - WINDOW_SAMPLES // 2
    inside_N = ((first >= 1) & (first + WINDOW_SAMPLES <= len(pcm))).all(axis=1)
    if not inside_N.any():
        return bands_NB
    index = first[inside_N][..., None] + np.arange(WINDOW_SAMPLES)
    samples = np.asarray(pcm, np.float64)
    windows = (samples[index] - PRE_EMPHASIS * samples[index - 1]) * np.hamming(WINDOW_SAMPLES)
    power = np.square(np.abs(np.fft.rfft(windows, FFT_SAMPLES))) @ mel_filters().T
    floor = max(power.max() * FLOOR_BELOW_PEAK, np.finfo(np.float64).tiny)
    bands_NB[inside_N] = np.log(np.maximum(power, floor)).mean(axis=1)
    return bands_NB


def on_grid(
    points_TPC: FloatArray, times_s: FloatArray
) -> tuple[FloatArray, FloatArray, NDArray[np.bool_]]:
    """Interpolate points linearly to the 25 fps grid that starts at the first frame with a mesh.

    Args:
        points_TPC: (T, P, 3) at native times, NaN where there is no mesh.
        times_s: (T,) ascending.

    Returns:
        grid_s (N,), points (N, P, 3), and usable_N: False inside gaps above `MAX_GAP_S`.
        N is 0 if fewer than two frames have a mesh.
    """
    known_T = np.isfinite(points_TPC).all(axis=(1, 2))
    known_s, known_TPC = np.asarray(times_s, np.float64)[known_T], points_TPC[known_T]
    if len(known_s) < 2:
        return np.empty(0), np.empty((0, *points_TPC.shape[1:])), np.empty(0, bool)
    num = int((known_s[-1] - known_s[0]) * GRID_FPS + 1e-6) + 1
    grid_s = known_s[0] + np.arange(num) / GRID_FPS
    left = np.clip(np.searchsorted(known_s, grid_s + 1e-9, side="right") - 1, 0, len(known_s) - 2)
    step_s = np.maximum(known_s[left + 1] - known_s[left], 1e-6)
    part = np.clip((grid_s - known_s[left]) / step_s, 0.0, 1.0)[:, None, None]
    return grid_s, known_TPC[left] * (1 - part) + known_TPC[left + 1] * part, step_s <= MAX_GAP_S


def mouth_shape(points_NPC: FloatArray) -> FloatArray:
    """Return seven hand-made measures of the mouth, (N, 7), from the points of `LIP_MOTION`.

    Inner and outer height, inner and outer width, jaw drop (chin to nose base), how far the lips
    stand out before the nose base, and inner height times width.
    """

    def distance(a: int, b: int) -> FloatArray:
        ends = points_NPC[:, LIP_MOTION.index(a)] - points_NPC[:, LIP_MOTION.index(b)]
        return np.asarray(np.linalg.norm(ends, axis=1))

    height, width = distance(13, 14), distance(78, 308)
    lips = slice(0, len(OUTER_LIP) + len(INNER_LIP))
    stand_out = points_NPC[:, lips, 2].mean(axis=1) - points_NPC[:, LIP_MOTION.index(2), 2]
    measures = (height, distance(0, 17), width, distance(61, 291), distance(152, 2), stand_out)
    return np.stack([*measures, height * width], axis=1)


def with_context(frames_NF: FloatArray) -> FloatArray:
    """Stack each frame with its neighbours; the ends are repeated."""
    padded = np.pad(frames_NF, ((CONTEXT_FRAMES, CONTEXT_FRAMES), (0, 0)), mode="edge")
    spans = [padded[i : i + len(frames_NF)] for i in range(2 * CONTEXT_FRAMES + 1)]
    return np.concatenate(spans, axis=1)


def video_features(points_NPC: FloatArray, pca_XF: FloatArray) -> FloatArray:
    """Return (N, F): principal components of the movement, their slope, and mouth measures.

    Means over the segment are removed, so that the person's own face has no influence.
    """
    flat_NX = points_NPC.reshape(len(points_NPC), -1)
    parts_NF = (flat_NX - flat_NX.mean(axis=0)) @ pca_XF
    shape_NF = mouth_shape(points_NPC)
    slope_NF = np.gradient(parts_NF, axis=0)
    return with_context(np.hstack([parts_NF, slope_NF, shape_NF - shape_NF.mean(axis=0)]))


def audio_features(bands_NB: FloatArray) -> FloatArray:
    """Return (N, F): bands less their mean over the segment (the channel); missing rows 0."""
    known_N = np.isfinite(bands_NB[:, 0])
    return with_context(np.where(known_N[:, None], bands_NB - bands_NB[known_N].mean(axis=0), 0.0))


def correlation_curve(
    video_NK: FloatArray, audio_MK: FloatArray, weight_K: FloatArray
) -> FloatArray:
    """Correlate two streams of canonical variates at every shift of the search range.

    `curve(d) = sum_k w_k corr_n(video[n, k], audio[n + d, k]) / sum_k w_k`, over the frames that
    both have. Correlations, not dot products, so that lively and calm speakers score alike.

    Args:
        video_NK: NaN rows where there is no mesh.
        audio_MK: M = N + 2 * MAX_LAG_FRAMES, starting at the lag -MAX_LAG_FRAMES; NaN rows where
            there is no sound.
        weight_K: weights of the pairs.

    Returns:
        (D,) in [-1, 1]; NaN with fewer than `MIN_FRAMES` frames in common.
    """
    num = len(video_NK)
    curve = np.full(len(OFFSETS_MS), np.nan)
    for lag in range(len(curve)):
        audio_NK = audio_MK[lag : lag + num]
        both_N = np.isfinite(video_NK[:, 0]) & np.isfinite(audio_NK[:, 0])
        if both_N.sum() < MIN_FRAMES:
            continue
        v, a = video_NK[both_N], audio_NK[both_N]
        v, a = v - v.mean(axis=0), a - a.mean(axis=0)
        power = np.square(v).sum(axis=0) * np.square(a).sum(axis=0)
        curve[lag] = ((v * a).sum(axis=0) / np.sqrt(power + 1e-12)) @ weight_K / weight_K.sum()
    return curve


def peak_of(curve: FloatArray) -> tuple[float, float, float]:
    """Return offset in ms (by a parabola through the peak), height, and height above the median."""
    best = int(np.nanargmax(curve))
    shift = 0.0
    if 0 < best < len(curve) - 1 and np.isfinite(curve[best - 1 : best + 2]).all():
        before, top, after = curve[best - 1 : best + 2]
        bend = before - 2 * top + after
        shift = 0.5 * (before - after) / bend if bend < 0 else 0.0
    offset_ms = float(OFFSETS_MS[best] + shift * 1000.0 / GRID_FPS)
    return offset_ms, float(curve[best]), float(curve[best] - np.nanmedian(curve))


@dataclass(frozen=True)
class CcaSync:
    """The learned estimator.

    Attributes:
        canonical_PC: (478, 3) frontal mean face that poses are fitted to.
        pca_XF: (195, 16) principal directions of lip movement.
        video_FK: (273, K) canonical directions of the picture.
        audio_FK: (280, K) canonical directions of the sound.
        weight_K: weights of the pairs in the score: squares of their canonical correlations.
        logit: weights of (1, score, margin, ln seconds, score * ln s, margin * ln s).
    """

    canonical_PC: FloatArray
    pca_XF: FloatArray
    video_FK: FloatArray
    audio_FK: FloatArray
    weight_K: FloatArray
    logit: FloatArray

    @classmethod
    def load(cls, path: Path | None = None) -> Self:
        """Read the arrays of `path`, or those that ship with the package; runs no pickles."""
        source = files("stages").joinpath("sync_cca.npz") if path is None else path
        with source.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return cls(**{f.name: arrays[f.name].astype(np.float64) for f in fields(cls)})

    @staticmethod
    def weights_digest() -> str:
        """Return the SHA-256 of the arrays that ship with the package, in hex."""
        return sha256(files("stages").joinpath("sync_cca.npz").read_bytes()).hexdigest()

    def estimate(
        self, landmarks_TPC: FloatArray, times_s: FloatArray, pcm: FloatArray, pcm_start_s: float
    ) -> SyncEstimate:
        """Compare one face's lips with one voice.

        Args:
            landmarks_TPC: (T, 478, 3) in square pixels, NaN where there is no mesh.
            times_s: (T,) ascending presentation times, at the native frame rate.
            pcm: mono at 16 kHz in [-1, 1]. Sound up to 0.7 s before and after the picture is used
                where it is given; where it is not, only the overlap counts.
            pcm_start_s: time of the first sample, on the clock of `times_s`.

        Returns:
            The estimate.
        """
        points_TPC = normalise_pose(landmarks_TPC, self.canonical_PC).points_TPC[:, LIP_MOTION]
        return self.compare(*self.variates(points_TPC, times_s, pcm, pcm_start_s))

    def variates(
        self, points_TPC: FloatArray, times_s: FloatArray, pcm: FloatArray, pcm_start_s: float
    ) -> tuple[FloatArray, FloatArray]:
        """Project both streams: video (N, K) and audio (N + 30, K), NaN where there is nothing.

        Args:
            points_TPC: (T, 65, 3) the points of `LIP_MOTION`, pose-normalised.
            times_s: as for `estimate`.
            pcm: as for `estimate`.
            pcm_start_s: as for `estimate`.

        Returns:
            The video's and the audio's variates.
        """
        grid_s, points_NPC, usable_N = on_grid(points_TPC, times_s)
        num, pairs = len(grid_s), len(self.weight_K)
        audio_MK = np.full((num + 2 * MAX_LAG_FRAMES, pairs), np.nan)
        if usable_N.sum() < MIN_FRAMES:
            return np.full((num, pairs), np.nan), audio_MK
        video_NK = video_features(points_NPC, self.pca_XF) @ self.video_FK
        video_NK[~usable_N] = np.nan
        loud = np.flatnonzero(np.abs(pcm) >= SILENCE_PEAK)
        if not len(loud):
            return video_NK, audio_MK
        pcm, pcm_start_s = pcm[loud[0] : loud[-1] + 1], pcm_start_s + loud[0] / SAMPLE_RATE_HZ
        wide_s = grid_s[0] + np.arange(-MAX_LAG_FRAMES, num + MAX_LAG_FRAMES) / GRID_FPS
        bands_MB = log_mel(pcm, pcm_start_s, wide_s)
        known_M = np.isfinite(bands_MB[:, 0])
        if known_M.any():
            audio_MK[known_M] = (audio_features(bands_MB) @ self.audio_FK)[known_M]
        return video_NK, audio_MK

    def compare(self, video_NK: FloatArray, audio_MK: FloatArray) -> SyncEstimate:
        """Judge two projected streams, as `variates` returns them."""
        curve = correlation_curve(video_NK, audio_MK, self.weight_K)
        if not np.isfinite(curve[MAX_LAG_FRAMES]):
            return SyncEstimate(None, None, None, None, None, OFFSETS_MS, curve)
        offset_ms, score, margin = peak_of(curve)
        return SyncEstimate(
            offset_ms=offset_ms,
            confidence=self.confidence(score, margin, frames_in_common(video_NK, audio_MK, curve)),
            score=score,
            margin=margin,
            half_disagreement_ms=self.half_disagreement_ms(video_NK, audio_MK),
            offsets_ms=OFFSETS_MS,
            curve=curve,
        )

    def half_disagreement_ms(self, video_NK: FloatArray, audio_MK: FloatArray) -> float | None:
        """Return how far the offsets of the two halves lie apart; None if a half cannot tell."""
        middle = len(video_NK) // 2
        offsets_ms = []
        for half in (slice(0, middle), slice(middle, len(video_NK))):
            part_NK = video_NK[half]
            heard_MK = audio_MK[half.start : half.stop + 2 * MAX_LAG_FRAMES]
            curve = correlation_curve(part_NK, heard_MK, self.weight_K)
            if len(part_NK) < MIN_HALF_FRAMES or not np.isfinite(curve[MAX_LAG_FRAMES]):
                return None
            offset_ms, score, margin = peak_of(curve)
            num_frames = frames_in_common(part_NK, heard_MK, curve)
            if self.confidence(score, margin, num_frames) < MIN_HALF_CONFIDENCE:
                return None
            offsets_ms.append(offset_ms)
        return abs(offsets_ms[0] - offsets_ms[1])

    def confidence(self, score: float, margin: float, num_frames: int) -> float:
        """Return the calibrated probability that a curve comes from a voice and its own lips."""
        return float(1 / (1 + np.exp(-evidence(score, margin, num_frames) @ self.logit)))


def frames_in_common(video_NK: FloatArray, audio_MK: FloatArray, curve: FloatArray) -> int:
    """Return how many frames the best shift of a curve rests on."""
    best = int(np.nanargmax(curve))
    heard_N = np.isfinite(audio_MK[best : best + len(video_NK), 0])
    return int((np.isfinite(video_NK[:, 0]) & heard_N).sum())


def evidence(score: float, margin: float, num_frames: int) -> FloatArray:
    """Return what the confidence is a logistic function of, (6,)."""
    log_s = np.log(np.clip(num_frames, *CALIBRATED_FRAMES) / GRID_FPS)
    return np.array([1.0, score, margin, log_s, score * log_s, margin * log_s])
