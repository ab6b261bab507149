"""The series that a clip's plot shows, as arrays; drawing them is `plot`'s."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from manifests.gates import Gate
from manifests.inspection.clip_evidence import Sound, read_evidence
from manifests.inspection.clip_rows import ClipRow
from manifests.inspection.face_series import FaceSeries
from manifests.inspection.place import Place
from manifests.inspection.words import Word, read_transcript

HOP_S = 0.032
"""Seconds a value of the sound level."""

ACTIVE_MARGIN_DB = 15.9
"""Sound is active down to so far below the mean level of what is active (ITU-T P.56, method B)."""

_FLOOR_DBFS = -96.0  # the level of 16-bit silence
_GAP_RATIO = 1.5  # a step between frames longer than so many usual ones is a gap


@dataclass(frozen=True)
class SyncCurve:
    """The sync score over offsets, as the sync stage stored it.

    Attributes:
        offsets_ms: (K,) offsets, + = audio later than picture.
        scores: (K,) score at each.
        peak_ms: measured offset; `None` if it is not known.
        confidence: of the sync stage; `None` if it is not known.
        max_abs_offset_ms: the gate's limit; `None` if there is no gate.
    """

    offsets_ms: np.ndarray
    scores: np.ndarray
    peak_ms: float | None
    confidence: float | None
    max_abs_offset_ms: float | None


@dataclass(frozen=True)
class PlotSeries:
    """Everything a clip's plot shows. Times are seconds from the clip's start.

    Attributes:
        duration_s: length of the clip.
        sound: the sound.
        level_dbfs: (H,) level of each hop of `HOP_S` seconds.
        is_active: (H,) whether the hop is louder than the threshold.
        threshold_dbfs: that threshold; `None` where all is silence.
        speech_ratio: what the speech stage measured; `None` if it did not.
        words: words with their times.
        faces: the face, with NaN rows where frames are missing between its parts.
        min_face_height_px: the gate's limit; `None` if there is no gate.
        sync: the sync curve; `None` if it was not measured.
    """

    duration_s: float
    sound: Sound
    level_dbfs: np.ndarray
    is_active: np.ndarray
    threshold_dbfs: float | None
    speech_ratio: float | None
    words: tuple[Word, ...]
    faces: FaceSeries
    min_face_height_px: float | None
    sync: SyncCurve | None


def plot_series(place: Place, clip: ClipRow) -> PlotSeries:
    """Gather what a plot shows.

    Args:
        place: Run or dataset.
        clip: The clip, packed or not.

    Returns:
        The series.
    """
    evidence = read_evidence(place, clip)
    level = level_dbfs(evidence.sound)
    threshold = active_threshold_dbfs(level)
    transcript = read_transcript((clip.sample or {}).get("transcript"))
    return PlotSeries(
        duration_s=clip.span.duration_s,
        sound=evidence.sound,
        level_dbfs=level,
        is_active=np.zeros(len(level), bool) if threshold is None else level >= threshold,
        threshold_dbfs=threshold,
        speech_ratio=clip.values.get("speech.speech_ratio"),
        words=() if transcript is None else transcript.words,
        faces=with_gaps(evidence.faces),
        min_face_height_px=_limit(place.gates, "faces.height_px", "min"),
        sync=_sync_curve(place, clip),
    )


def level_dbfs(sound: Sound) -> np.ndarray:
    """Measure the level of a sound.

    Args:
        sound: The sound.

    Returns:
        (H,) RMS level of each whole hop in dB below full scale, at least -96.
    """
    hop = round(HOP_S * sound.rate_hz)
    num_hops = len(sound.samples) // hop
    power = np.square(sound.samples[: num_hops * hop].reshape(num_hops, hop)).mean(axis=1)
    return 10 * np.log10(np.maximum(power, 10 ** (_FLOOR_DBFS / 10)))


def active_threshold_dbfs(level: np.ndarray) -> float | None:
    """Find the level that divides active sound from pauses.

    The threshold `c` at which the mean power of all hops at or above `c` is `ACTIVE_MARGIN_DB` dB
    over `c` (ITU-T P.56, method B, on hops instead of its envelope and without its hangover).

    Args:
        level: (H,) levels in dBFS.

    Returns:
        The threshold in dBFS; `None` for silence.
    """
    loudest_first = np.sort(level[level > _FLOOR_DBFS])[::-1]
    if not len(loudest_first):
        return None
    power = np.cumsum(10 ** (loudest_first / 10)) / np.arange(1, len(loudest_first) + 1)
    # The mean falls more slowly than the hops it is taken over: they cross once.
    threshold = 10 * np.log10(power) - ACTIVE_MARGIN_DB
    below = np.flatnonzero(loudest_first <= threshold)
    num_active = int(below[0]) if len(below) else len(loudest_first)
    return float(threshold[num_active - 1])


def with_gaps(faces: FaceSeries) -> FaceSeries:
    """Insert a NaN row wherever frames without a face lie between two with one.

    Args:
        faces: A face over time.

    Returns:
        The same, so that lines drawn through it break there.
    """
    steps = np.diff(faces.times_s)
    if not len(steps):
        return faces
    after = np.flatnonzero(steps > _GAP_RATIO * np.median(steps)) + 1
    middles = (faces.times_s[after - 1] + faces.times_s[after]) / 2
    return FaceSeries(
        times_s=np.insert(faces.times_s, after, middles),
        boxes=np.insert(faces.boxes.astype(float), after, np.nan, axis=0),
        found=np.insert(faces.found, after, False),
        yaw_deg=np.insert(faces.yaw_deg.astype(float), after, np.nan),
        mouth_opening=np.insert(faces.mouth_opening.astype(float), after, np.nan),
    )


def _sync_curve(place: Place, clip: ClipRow) -> SyncCurve | None:
    scores = clip.values.get("sync.curve")
    offsets_ms = clip.values.get("sync.curve_offsets_ms")
    if not scores or not offsets_ms:
        return None
    return SyncCurve(
        offsets_ms=np.array(offsets_ms, float),
        scores=np.array(scores, float),
        peak_ms=clip.values.get("sync.offset_ms"),
        confidence=clip.values.get("sync.confidence"),
        max_abs_offset_ms=_limit(place.gates, "sync.abs_offset_ms", "max"),
    )


def _limit(gates: tuple[Gate, ...], name: str, bound: str) -> float | None:
    limits = [gate.limit for gate in gates if (gate.field.name, gate.bound) == (name, bound)]
    return limits[0] if limits else None
