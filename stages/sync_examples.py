"""Talking clips to learn lip sync from, read out of measured runs.

A run's commits hold the landmarks of every clip's face track and its PCM with a second of sound
around it, also of the clips that no gate let pass; no footage is opened.

Shape letters: T picture frames, P = 65 points of `LIP_MOTION`, C = 3, H hops of 10 ms, B bands.
"""

import csv
import fnmatch
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from manifests.ledger import Ledger
from manifests.storage import Folder
from stages.errors import StageError
from stages.face_track import unpack_track
from stages.landmarks import LIP_MOTION, FloatArray, normalise_pose
from stages.sync_features import HOP_S, heard, log_mel

SURE_CONFIDENCE = 0.8
"""From here on the offset that a run measured is taken as a beginning."""
MIN_LENGTH_S = 2.0
"""Shorter clips say too little to be worth their place in a batch."""


@dataclass(frozen=True)
class TalkingClip:
    """One speaker's face and voice.

    Attributes:
        name: clip id.
        uri: its source.
        source_id: id of the source's content.
        speaker: clips of one speaker are never on both sides of a fold.
        points_TPC: pose-normalised points, float32; no NaN.
        times_s: (T,) ascending.
        bands_HB: log-mel bands, 100 a second, float32; NaN where there is no sound.
        first_hop_s: time of the first hop.
        measured_offset_ms: what the run's sync stage measured, where it was sure.
    """

    name: str
    uri: str
    source_id: str
    speaker: str
    points_TPC: FloatArray
    times_s: FloatArray
    bands_HB: FloatArray
    first_hop_s: float
    measured_offset_ms: float | None = None

    @property
    def length_s(self) -> float:
        """Length of the picture."""
        return float(self.times_s[-1] - self.times_s[0])


def talking_clip(
    name: str,
    uri: str,
    source_id: str,
    speaker: str,
    landmarks_TPC: FloatArray,
    times_s: FloatArray,
    pcm: FloatArray,
    pcm_start_s: float,
    measured_offset_ms: float | None = None,
) -> TalkingClip | None:
    """Make a clip of a mesh and its sound; None if there is too little of either.

    Args:
        name: clip id.
        uri: its source.
        source_id: id of the source's content.
        speaker: who it is.
        landmarks_TPC: (T, 478, 3) in square pixels, NaN where there is no mesh.
        times_s: (T,) ascending.
        pcm: mono at 16 kHz in [-1, 1].
        pcm_start_s: time of its first sample.
        measured_offset_ms: what is known of its offset.

    Returns:
        The clip.
    """
    points_TPC = normalise_pose(landmarks_TPC).points_TPC[:, LIP_MOTION]
    known_T = np.isfinite(points_TPC).all(axis=(1, 2))
    known_s = np.asarray(times_s, np.float64)[known_T]
    pcm, pcm_start_s = heard(pcm, pcm_start_s)
    if len(known_s) < 2 or known_s[-1] - known_s[0] < MIN_LENGTH_S or not len(pcm):
        return None
    num_hops = int(len(pcm) / 16_000 / HOP_S)
    bands_HB = log_mel(pcm, pcm_start_s, pcm_start_s + np.arange(num_hops) * HOP_S)
    return TalkingClip(
        name,
        uri,
        source_id,
        speaker,
        points_TPC[known_T].astype(np.float32),
        known_s,
        bands_HB.astype(np.float32),
        pcm_start_s,
        measured_offset_ms,
    )


def read_run(run: Folder, speakers: Sequence[tuple[str, str]] = ()) -> Iterator[TalkingClip]:
    """Yield the clips of a measured run in the order of their ids.

    Args:
        run: run directory.
        speakers: pattern of a URI and who speaks there; the first that matches counts. What no
            pattern matches is a speaker of its own, source by source.

    Yields:
        Clips of at least 2 s with a mesh and a sound.
    """
    ledger = Ledger(run)
    for source_id in sorted(ledger.source_ids()):
        for commit in ledger.read(source_id, evidence=True):
            for row in commit.clips.to_pylist():
                track = unpack_track(row["face_track_npz"])
                samples, _ = soundfile.read(io.BytesIO(row["audio_flac"]), dtype="float32")
                is_sure = (row.get("sync.confidence") or 0.0) >= SURE_CONFIDENCE
                second = row["time_base_num"] / row["time_base_den"]
                clip = talking_clip(
                    row["clip_id"],
                    row["uri"],
                    source_id,
                    speaker_of(row["uri"], speakers) or source_id,
                    track.landmarks_TPC,
                    track.pts * second,
                    samples,
                    row["audio_start_s"],
                    row.get("sync.offset_ms") if is_sure else None,
                )
                if clip is not None:
                    yield clip


def speaker_of(uri: str, speakers: Sequence[tuple[str, str]]) -> str | None:
    """Return who speaks in a source, by the first pattern that matches its end."""
    for pattern, speaker in speakers:
        if fnmatch.fnmatchcase(uri, f"*{pattern}"):
            return speaker
    return None


def read_speakers(path: Path) -> list[tuple[str, str]]:
    """Read a CSV file with the columns `uri` (a pattern of its end) and `speaker`.

    Args:
        path: the file.

    Returns:
        Patterns and speakers.

    Raises:
        StageError: a column is missing.
    """
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if rows and not {"uri", "speaker"} <= set(rows[0]):
        raise StageError(
            f"{path}: columns {', '.join(rows[0])}; wanted are 'uri' (a pattern such as "
            "'*/s01_*.mp4') and 'speaker'"
        )
    return [(row["uri"], row["speaker"]) for row in rows]
