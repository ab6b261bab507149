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

MIN_ACTIVITY_CORRELATION = 0.75
MIN_OVERLAP_VALUES = 20
"""Two seconds: activity over less may run alike by chance."""

_BAND_BITS = 16
_MAX_BUCKET = 256
"""Clips that one band may lead to. Beyond that (hundreds of clips before one backdrop) a copy is
found through its other bands, or not at all; without it a run of them would be quadratic."""

_MIRRORED_BITS = sum(1 << (63 - (8 * row + column)) for row in range(8) for column in (1, 3, 5, 7))
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
    buckets: dict[tuple[int, int], list[int]] = defaultdict(list)
    kept: list[tuple[np.ndarray, np.ndarray]] = []
    kept_ids: list[str] = []
    repeats: dict[str, str] = {}
    for clip in ranked:
        hashes = np.array([int(text, 16) for text in clip.hashes], np.uint64)
        activity = np.array(clip.activity, np.float32)
        mirrored = hashes ^ np.uint64(_MIRRORED_BITS)
        near = sorted({k for key in _bands([*hashes, *mirrored]) for k in buckets.get(key, ())})
        original = next(
            (k for k in near if is_near_duplicate(hashes, activity, *kept[k])), None
        )
        if original is not None:
            repeats[clip.clip_id] = kept_ids[original]
            continue
        for key in _bands(hashes):
            if len(buckets[key]) < _MAX_BUCKET:
                buckets[key].append(len(kept))
        kept.append((hashes, activity))
        kept_ids.append(clip.clip_id)
    return repeats


def is_near_duplicate(
    hashes: np.ndarray,
    activity: np.ndarray,
    other_hashes: np.ndarray,
    other_activity: np.ndarray,
) -> bool:
    """Tell whether two clips show the same footage, at least in part.

    Args:
        hashes: of one clip (H,), uint64.
        activity: of one clip (A,).
        other_hashes: of the other.
        other_activity: of the other.

    Returns:
        True if pictures look alike, as they are or mirrored, and the activity runs alike.
    """
    if len(hashes) == 0 or len(other_hashes) == 0:
        return False
    distance = min(
        _distance(hashes, other_hashes), _distance(hashes ^ np.uint64(_MIRRORED_BITS), other_hashes)
    )
    if distance > MAX_HASH_BITS:
        return False
    return _activity_correlation(activity, other_activity) >= MIN_ACTIVITY_CORRELATION


def _distance(hashes: np.ndarray, others: np.ndarray) -> float:
    bits = np.unpackbits((hashes[:, None] ^ others[None]).view(np.uint8).reshape(-1, 8), axis=1)
    return float(np.median(bits.sum(axis=1).reshape(len(hashes), len(others)).min(axis=1)))


def _activity_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Correlation at the best shift; 1 if nothing moves in either, where the pictures decide."""
    if max(first.max(initial=0), second.max(initial=0)) < 0.1:
        return 1.0
    shorter = min(len(first), len(second))
    least = max(MIN_OVERLAP_VALUES, int(0.6 * shorter))
    if shorter < least:
        return 0.0
    first, second = np.log1p(first).astype(np.float64), np.log1p(second).astype(np.float64)
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
