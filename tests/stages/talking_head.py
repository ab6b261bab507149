"""A made talking head: a mean face whose jaw drops, and a buzz whose loudness follows."""

from functools import lru_cache

import numpy as np

from stages import landmarks as mesh
from stages.landmarks import FloatArray

SPEECH_S = 6.0
RATE_HZ = 16_000


def opening(time_s: FloatArray, seed: int) -> FloatArray:
    """How far a mouth is open, 0..1: sums of sinusoids at the pace of syllables (1 to 6 Hz)."""
    rng = np.random.default_rng(seed)
    rate_hz, phase = rng.uniform(1, 6, 12), rng.uniform(0, 2 * np.pi, 12)
    wave = np.sin(2 * np.pi * rate_hz * time_s[..., None] + phase).sum(axis=-1)
    return np.asarray(np.clip(0.5 + wave / 8, 0, 1))


@lru_cache
def lips(fps: float, seed: int, length_s: float = SPEECH_S) -> tuple[FloatArray, FloatArray]:
    """A head that nods, at 200 px between the eyes, with a jaw that drops by the opening."""
    times_s = np.arange(int(length_s * fps)) / fps
    face_TPC = np.repeat(mesh.canonical_face()[None], len(times_s), axis=0)
    drop_T = 0.15 * opening(times_s, seed)
    lower = sorted(set(mesh.JAW_CHIN) | set(mesh.OUTER_LIP[1:10]) | set(mesh.INNER_LIP[1:10]))
    face_TPC[:, lower, 1] += drop_T[:, None]
    angle_T = 0.1 * np.sin(2 * np.pi * 0.4 * times_s)
    nod_T33 = np.zeros((len(times_s), 3, 3))
    nod_T33[:, 0, 0] = 1
    nod_T33[:, 1, 1] = nod_T33[:, 2, 2] = np.cos(angle_T)
    nod_T33[:, 1, 2], nod_T33[:, 2, 1] = np.sin(angle_T), -np.sin(angle_T)
    return face_TPC @ nod_T33 * 200 + [500, 400, 0], times_s


@lru_cache
def voice(seed: int, delay_s: float = 0.0, length_s: float = SPEECH_S) -> FloatArray:
    """A buzz of 120 Hz whose loudness and brightness follow the opening, `delay_s` late."""
    time_s = np.arange(int(length_s * RATE_HZ)) / RATE_HZ
    open_N = opening(time_s - delay_s, seed)
    buzz = sum(
        np.sin(2 * np.pi * 120 * k * time_s) * open_N ** (1 + k / 8) / k for k in range(1, 30)
    )
    hiss = np.random.default_rng(seed + 99).standard_normal(len(time_s))
    return np.asarray(0.1 * buzz + 1e-4 * hiss, np.float32)
