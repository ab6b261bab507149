"""What the lip-sync network sees: mouth movement at 25 fps and log-mel bands at 100 Hz.

In the room: the two feature streams and the grid they share. Not in the room: the network
(`sync_network`), what is made of it (`sync_estimator`) and learning (`sync_learning`).

Shape letters: T picture frames, N grid frames, H hops of 10 ms, P = 65 points of `LIP_MOTION`,
C = 3, B mel bands, F features, X = 3 P.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from stages.landmarks import INNER_LIP, LIP_MOTION, OUTER_LIP, FloatArray

SAMPLE_RATE_HZ = 16_000
GRID_FPS = 25
"""Rate of the picture's features and of the embeddings, as in SyncNet (Chung and Zisserman,
ACCV-W 2016)."""
MAX_LAG_FRAMES = 15
"""Search range +-600 ms, SyncNet's; a larger lag is not found and reads as low confidence."""
OFFSETS_MS: FloatArray = np.arange(-MAX_LAG_FRAMES, MAX_LAG_FRAMES + 1) * (1000.0 / GRID_FPS)

# Front end of speech recognition (Davis and Mermelstein 1980; the values are HTK's defaults, the
# number of bands Kaldi's): 25 ms windows every 10 ms, so that four hops make a grid frame.
PRE_EMPHASIS = 0.97
WINDOW_SAMPLES = 400
FFT_SAMPLES = 512
HOPS_PER_FRAME = 4
HOP_S = 1 / (GRID_FPS * HOPS_PER_FRAME)
NUM_BANDS = 40
BAND_LOW_HZ, BAND_HIGH_HZ = 60.0, 7600.0
BAND_SPREAD = 3.0
"""Natural-log band power is divided by it after its mean is removed, so that values are about 1."""
FLOOR_BELOW_PEAK = 1e-6
"""Band power is floored 60 dB below the loudest, so that recording level has no influence. Ours."""
SILENCE_PEAK = 1e-4
"""Below -80 dBFS there is no voice to compare: digital silence and what codecs leave of it. Ours:
speech at -58 dB RMS peaks above 1e-3. At either end of the sound it counts as no sound, so that
padding is no evidence."""
MAX_GAP_S = 0.25
"""A mesh missing for this long is interpolated; grid frames in longer gaps do not count. Ours:
covers 8.3 fps, where +-40 ms is still held; beyond, lips move unseen."""

NUM_SHAPES = 7


@lru_cache(maxsize=1)
def mel_filters() -> FloatArray:
    """Return triangular filters, (B, bins), equally spaced in mel = 2595 log10(1 + f / 700)."""
    low_mel, high_mel = (2595 * np.log10(1 + f / 700) for f in (BAND_LOW_HZ, BAND_HIGH_HZ))
    edges_hz = 700 * (10 ** (np.linspace(low_mel, high_mel, NUM_BANDS + 2) / 2595) - 1)
    bins_hz = np.fft.rfftfreq(FFT_SAMPLES, 1 / SAMPLE_RATE_HZ)
    low, centre, high = edges_hz[:-2, None], edges_hz[1:-1, None], edges_hz[2:, None]
    rise, fall = (bins_hz - low) / (centre - low), (high - bins_hz) / (high - centre)
    return np.maximum(0.0, np.minimum(rise, fall))


def log_mel(pcm: FloatArray, pcm_start_s: float, hop_s: FloatArray) -> FloatArray:
    """Return the natural logarithm of band power at given times; NaN where no samples reach.

    Args:
        pcm: mono samples at 16 kHz in [-1, 1].
        pcm_start_s: time of the first sample.
        hop_s: (H,) centres of the windows, on the same clock.

    Returns:
        (H, B) bands.
    """
    bands_HB = np.full((len(hop_s), NUM_BANDS), np.nan)
    first = np.round((hop_s - pcm_start_s) * SAMPLE_RATE_HZ).astype(int) - WINDOW_SAMPLES // 2
    inside_H = (first >= 1) & (first + WINDOW_SAMPLES <= len(pcm))
    if not inside_H.any():
        return bands_HB
    index = first[inside_H][:, None] + np.arange(WINDOW_SAMPLES)
    samples = np.asarray(pcm, np.float32)
    window = np.hamming(WINDOW_SAMPLES).astype(np.float32)
    windows = (samples[index] - np.float32(PRE_EMPHASIS) * samples[index - 1]) * window
    power = np.square(np.abs(np.fft.rfft(windows, FFT_SAMPLES))) @ mel_filters().T
    floor = max(power.max() * FLOOR_BELOW_PEAK, np.finfo(np.float64).tiny)
    bands_HB[inside_H] = np.log(np.maximum(power, floor))
    return bands_HB


def heard(pcm: FloatArray, pcm_start_s: float) -> tuple[FloatArray, float]:
    """Cut silence off both ends; nothing is left of a sound that is silent throughout."""
    loud = np.flatnonzero(np.abs(pcm) >= SILENCE_PEAK)
    if not len(loud):
        return pcm[:0], pcm_start_s
    return pcm[loud[0] : loud[-1] + 1], pcm_start_s + loud[0] / SAMPLE_RATE_HZ


def hops_of(grid_s: FloatArray) -> FloatArray:
    """Return the centres of the hops of grid frames: four a frame, symmetric about its time."""
    within_s = (np.arange(HOPS_PER_FRAME) - (HOPS_PER_FRAME - 1) / 2) * HOP_S
    return np.asarray((grid_s[:, None] + within_s).ravel())


def audio_features(bands_HB: FloatArray) -> FloatArray:
    """Return bands less their mean over what is heard (the channel), (H, B); missing hops are 0."""
    known_H = np.isfinite(bands_HB[:, 0])
    if not known_H.any():
        return np.zeros_like(bands_HB)
    centred_HB = (bands_HB - bands_HB[known_H].mean(axis=0)) / BAND_SPREAD
    return np.where(known_H[:, None], centred_HB, 0.0)


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
    return (grid_s, *points_at(known_TPC, known_s, grid_s))


def points_at(
    points_TPC: FloatArray, times_s: FloatArray, at_s: FloatArray
) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Interpolate points linearly; beyond the ends, the end frame.

    Args:
        points_TPC: (T, P, 3), T at least 2, no NaN.
        times_s: (T,) ascending.
        at_s: (N,) wanted times.

    Returns:
        points (N, P, 3), and usable_N: False inside gaps above `MAX_GAP_S` and beyond the ends.
    """
    left = np.clip(np.searchsorted(times_s, at_s + 1e-9, side="right") - 1, 0, len(times_s) - 2)
    step_s = np.maximum(times_s[left + 1] - times_s[left], 1e-6)
    part_N = (at_s - times_s[left]) / step_s
    inside_N = (part_N >= -1e-6) & (part_N <= 1 + 1e-6)
    part = np.clip(part_N, 0.0, 1.0)[:, None, None].astype(points_TPC.dtype)
    points_NPC = points_TPC[left] * (1 - part) + points_TPC[left + 1] * part
    return points_NPC, (step_s <= MAX_GAP_S) & inside_N


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


def video_features(points_NPC: FloatArray, pca_XF: FloatArray) -> FloatArray:
    """Return (N, F): principal components of the movement, their slope, and mouth measures.

    Means over the segment are removed, so that the person's own face has no influence.
    """
    flat_NX = points_NPC.reshape(len(points_NPC), -1)
    parts_NF = (flat_NX - flat_NX.mean(axis=0)) @ pca_XF
    shape_NF = mouth_shape(points_NPC)
    slope_NF = np.gradient(parts_NF, axis=0)
    return np.hstack([parts_NF, slope_NF, shape_NF - shape_NF.mean(axis=0)])


@lru_cache(maxsize=1)
def mirror_order() -> NDArray[np.intp]:
    """Return, for every point of `LIP_MOTION`, the place of its partner across the midline."""
    from stages.landmarks import canonical_face

    face_PC = canonical_face()[list(LIP_MOTION)]
    across = np.linalg.norm((face_PC * [-1, 1, 1])[:, None] - face_PC[None], axis=2)
    return np.asarray(across.argmin(axis=1))


def mirrored(points_NPC: FloatArray) -> FloatArray:
    """Return the points of the face seen in a mirror, in the order of `LIP_MOTION`."""
    flip = np.array([-1, 1, 1], points_NPC.dtype)
    return np.asarray(points_NPC[:, mirror_order()] * flip)
