"""Which clips of a run show the same footage; a pure function of their fingerprints.

Candidates share a band of a hash, so that no clip is compared with all others; a candidate is a
near-duplicate if its pictures look alike and its activity runs alike.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

MAX_HASH_BITS = 12
"""Bits of 64 in which the hashes of a copy may differ, in the median. imagehash's author calls
fewer than 10 the same picture; a logo in a corner and a mirrored copy cost a few more."""

MIN_ACTIVITY_CORRELATION = 0.85
"""Copies of real clips (scaled, mirrored, another frame rate, strong compression) reach 0.97 to
0.99; two halves of one shot that look alike at most 0.75 at the best shift."""

MIN_OVERLAP_VALUES = 20
"""Two seconds: activity over less may run alike by chance."""

_BAND_BITS = 16
_MAX_BUCKET = 64
"""Clips that one band may lead to. Beyond that (hundreds of clips before one backdrop) a copy is
found through its other bands, or not at all; without it a run of them would be quadratic."""

_MIRRORED = np.uint64(
    sum(1 << (63 - (8 * row + column)) for row in range(8) for column in (1, 3, 5, 7))
)
"""Mirroring turns the sign of the odd horizontal frequencies of the cosine transform, and so the
bits of the odd columns of the hash, row by row from the highest bit."""


@dataclass(frozen=True)
class Fingerprint:
    """What near-duplicates are told by.

    Attributes:
        clip_id: id of the clip.
        hashes: perceptual hashes, 16 hexadecimal letters each.
        activity: change of the picture every tenth of a second.
        quality: by which the better of two copies is chosen, larger is better; for example
            (height of the face in pixels, sharpness, duration).
    """

    clip_id: str
    hashes: tuple[str, ...]
    activity: tuple[float, ...]
    quality: tuple[float, ...]


def near_duplicates(clips: Sequence[Fingerprint]) -> dict[str, str]:
    """Find the clips that repeat a better one.

    Args:
        clips: fingerprints, in any order.

    Returns:
        Clip id of each near-duplicate to that of the best clip it repeats, which is itself no
        near-duplicate. The better is the one of higher quality, then of smaller id.
    """
    ranked = sorted(clips, key=lambda clip: ([-value for value in clip.quality], clip.clip_id))
    num_hashes = max((len(clip.hashes) for clip in ranked), default=0)
    buckets: dict[tuple[int, int], list[int]] = defaultdict(list)
    kept: list[Fingerprint] = []
    kept_hashes = np.zeros((len(ranked), num_hashes), np.uint64)
    repeats: dict[str, str] = {}
    for clip in ranked:
        if not clip.hashes:
            continue
        hashes = np.array([int(text, 16) for text in clip.hashes], np.uint64)
        keys = _bands([*hashes, *(hashes ^ _MIRRORED)])
        near = sorted({k for key in keys for k in buckets.get(key, ())})
        alike = np.array(near, np.int64)[_distance(hashes, kept_hashes[near]) <= MAX_HASH_BITS]
        activity = np.array(clip.activity, np.float64)
        original = next((kept[k].clip_id for k in alike if same_activity(activity, kept[k])), None)
        if original is not None:
            repeats[clip.clip_id] = original
            continue
        for key in sorted(_bands(hashes)):
            if len(buckets[key]) < _MAX_BUCKET:
                buckets[key].append(len(kept))
        kept_hashes[len(kept)] = np.resize(hashes, num_hashes)
        kept.append(clip)
    return repeats


def same_activity(activity: np.ndarray, other: Fingerprint) -> bool:
    """Tell whether the activity of a clip runs like that of another, in step or shifted.

    Args:
        activity: of one clip (A,).
        other: the other clip.

    Returns:
        True if it does over most of the shorter clip.
    """
    others = np.array(other.activity, np.float64)
    return _activity_correlation(activity, others) >= MIN_ACTIVITY_CORRELATION


def _distance(hashes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Median over a clip's hashes (H,) of the bits to the nearest of each other clip's (N, M)."""
    found = []
    for variant in (hashes, hashes ^ _MIRRORED):
        bits = np.bitwise_count(variant[None, :, None] ^ others[:, None, :])
        found.append(np.median(bits.min(axis=2), axis=1))
    return np.minimum(*found)


def _activity_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Correlation at the best shift; 1 if nothing moves in either, where the pictures decide."""
    if max(first.max(initial=0), second.max(initial=0)) < 0.1:
        return 1.0
    shorter = min(len(first), len(second))
    least = max(MIN_OVERLAP_VALUES, int(0.6 * shorter))
    if shorter < least:
        return 0.0
    first, second = (
        np.convolve(np.log1p(part), (0.25, 0.5, 0.25), "same") for part in (first, second)
    )
    shifts = np.arange(least - len(second), len(first) - least + 1)
    starts, ends = np.maximum(shifts, 0), np.minimum(shifts + len(second), len(first))
    count = ends - starts
    products = np.correlate(first, second, "full")[shifts + len(second) - 1]
    sum_a, power_a = _sums(first, starts, ends)
    sum_b, power_b = _sums(second, starts - shifts, ends - shifts)
    spread = (power_a - sum_a**2 / count) * (power_b - sum_b**2 / count)
    together = products - sum_a * sum_b / count
    return float((together / np.sqrt(np.maximum(spread, 1e-9))).max())


def _sums(
    values: np.ndarray, starts: np.ndarray, ends: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    total, power = (np.r_[0.0, np.cumsum(part)] for part in (values, values * values))
    return total[ends] - total[starts], power[ends] - power[starts]


def _bands(hashes: Iterable[np.uint64]) -> set[tuple[int, int]]:
    mask = (1 << _BAND_BITS) - 1
    return {
        (band, int(value) >> (band * _BAND_BITS) & mask)
        for value in hashes
        for band in range(64 // _BAND_BITS)
    }
