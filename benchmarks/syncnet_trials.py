"""SyncNet on the trials of `stages.sync_trials`: every clip is embedded once, and cut afterwards.

A run keeps no pictures, but it says where they were: each source is decoded once more, here in
the benchmark only, and the crops are cut by the product's own code along the run's face track.
A cut is scored as SyncNet scores a track (`stages.syncnet`): minus the distance of the vectors at
each of 31 shifts. Sound is embedded every 10 ms, as trials shift it by less than a frame.

Shape letters: N windows of five frames, 25 a second; M windows of sound; D entries of a vector.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Protocol

import numpy as np
import soundfile

from manifests.errors import ManifestError
from manifests.ids import content_id
from manifests.ledger import Ledger
from manifests.span import Span
from manifests.storage import Folder
from stages.decode import DecodeCount, decode_frames
from stages.errors import StageError
from stages.face_crops import FaceCropsObserver, FaceCropsSettings
from stages.face_track import unpack_track
from stages.landmarks import FloatArray
from stages.probe import ProbeSettings, probe
from stages.sync_examples import TalkingClip
from stages.sync_features import GRID_FPS, HOP_S, HOPS_PER_FRAME, MAX_LAG_FRAMES, SAMPLE_RATE_HZ

WINDOW_S = 0.2
DISTANCE_EPSILON = 1e-6
"""Added to every difference, as in `stages.syncnet`."""


class Embedder(Protocol):
    """What embeds crops and sound; `stages.syncnet.SyncNet` is one."""

    def embed_lips(self, crops_THWC: np.ndarray) -> np.ndarray:
        """Embed every window of five crops, (T - 4, D)."""

    def embed_voice(self, pcm: np.ndarray) -> np.ndarray:
        """Embed 0.2 s of sound from every 40 ms on, (N, D)."""


@dataclass(frozen=True)
class EmbeddedClip:
    """A clip as SyncNet sees and hears it.

    Attributes:
        lip_ND: one row a frame, of the window that begins with it.
        first_lip_s: time of the first.
        voice_MD: one row every 10 ms, of the sound of the 0.2 s after it.
        first_voice_s: time of the first.
    """

    lip_ND: FloatArray
    first_lip_s: float
    voice_MD: FloatArray
    first_voice_s: float


@dataclass(frozen=True)
class EmbeddedCut:
    """Rows of a picture, and of a sound from 15 frames before it to 15 after; NaN: no sound."""

    lip_ND: FloatArray
    voice_MD: FloatArray


class SyncNetJudge:
    """SyncNet on trial.

    Args:
        embedded: clips by name.
    """

    def __init__(self, embedded: Mapping[str, EmbeddedClip]) -> None:
        self._embedded = embedded

    def cut(
        self,
        clip: TalkingClip,
        voice: TalkingClip,
        start_s: float,
        length_s: float,
        voice_start_s: float,
        spare_s: float,
    ) -> EmbeddedCut:
        """Cut the picture of one clip and the sound of one, as `stages.sync_trials.cut`."""
        seen, heard = self._embedded[clip.name], self._embedded[voice.name]
        time_N = seen.first_lip_s + np.arange(len(seen.lip_ND)) / GRID_FPS
        inside_N = (time_N >= start_s - 1e-6) & (time_N + WINDOW_S <= start_s + length_s + 1e-6)
        first_s = float(time_N[inside_N][0]) if inside_N.any() else start_s
        num = int(inside_N.sum())
        wide_s = first_s + np.arange(-MAX_LAG_FRAMES, num + MAX_LAG_FRAMES) / GRID_FPS
        at_s = wide_s - start_s + voice_start_s
        index_M = np.rint((at_s - heard.first_voice_s) / HOP_S).astype(int)
        known_M = (index_M >= 0) & (index_M < len(heard.voice_MD))
        known_M &= at_s >= voice_start_s - spare_s
        known_M &= at_s + WINDOW_S <= voice_start_s + length_s + spare_s
        voice_MD = heard.voice_MD[np.clip(index_M, 0, len(heard.voice_MD) - 1)].copy()
        voice_MD[~known_M] = np.nan
        return EmbeddedCut(seen.lip_ND[inside_N], voice_MD)

    def agreements(self, cuts: Sequence[EmbeddedCut]) -> list[FloatArray]:
        """Return minus the distance at each offset, (31, N) of each cut."""
        return [_agreement(each) for each in cuts]


def _agreement(each: EmbeddedCut) -> FloatArray:
    num = len(each.lip_ND)
    return np.stack(
        [
            -np.linalg.norm(each.lip_ND - each.voice_MD[lag : lag + num] + DISTANCE_EPSILON, axis=1)
            for lag in range(2 * MAX_LAG_FRAMES + 1)
        ]
    )


def embed_voice(network: Embedder, pcm: np.ndarray) -> FloatArray:
    """Embed a sound every 10 ms, (M, D); none of a sound below 0.2 s and a frame."""
    hop = round(HOP_S * SAMPLE_RATE_HZ)
    phases = [pcm[k * hop :] for k in range(HOPS_PER_FRAME)]
    if len(phases[-1]) < (WINDOW_S + 1 / GRID_FPS) * SAMPLE_RATE_HZ:
        return np.empty((0, 1))
    rows = [network.embed_voice(phase) for phase in phases]
    num = min(len(each) for each in rows)
    return np.stack([each[:num] for each in rows], axis=1).reshape(num * HOPS_PER_FRAME, -1)


def embed_source(
    uri: str, source_id: str, rows: Sequence[Mapping[str, Any]], network: Embedder
) -> dict[str, EmbeddedClip]:
    """Decode a source once and embed its clips.

    Args:
        uri: the source.
        source_id: id of its content when it was measured.
        rows: its clips, as a run's commit holds them with their evidence.
        network: what embeds.

    Returns:
        Clips by name; those without five crops or 0.24 s of sound are missing.

    Raises:
        StageError: the source is gone, has changed or cannot be decoded.
    """
    try:
        folder, name = Folder.split(uri)
        if content_id(folder, name) != source_id:
            raise StageError(f"{uri}: the source has changed since it was measured")
    except (ManifestError, OSError) as error:
        raise StageError(f"{uri}: the source cannot be read any more: {error}") from error
    facts = probe(uri, source_id, 1, ProbeSettings())
    boxes: dict[int, dict[int, np.ndarray]] = {}
    for row in rows:
        track = unpack_track(row["face_track_npz"])
        for pts, box in zip(track.pts.tolist(), track.boxes, strict=True):
            boxes.setdefault(pts, {})[row["track"]] = box
    observer = FaceCropsObserver(facts, FaceCropsSettings())
    for frame in decode_frames(facts, DecodeCount()):
        frame.faces = boxes.get(frame.pts, {})
        observer.observe(frame)
    crops = observer.finish()
    embedded = {}
    for row in rows:
        second = Fraction(row["time_base_num"], row["time_base_den"])
        run = crops.run(row["track"], Span(row["start_pts"], row["end_pts"], second))
        pcm, _ = soundfile.read(io.BytesIO(row["audio_flac"]), dtype="float32")
        voice_MD = embed_voice(network, pcm)
        if run is None or len(run.crops_THWC) * WINDOW_S < 1 or not len(voice_MD):
            continue
        # The reference reads pictures with OpenCV: blue, green, red.
        lip_ND = network.embed_lips(run.crops_THWC[..., ::-1])
        embedded[row["clip_id"]] = EmbeddedClip(lip_ND, run.start_s, voice_MD, row["audio_start_s"])
    return embedded


def embed_runs(
    runs: Sequence[str], names: frozenset[str], network: Embedder
) -> tuple[dict[str, EmbeddedClip], list[str]]:
    """Embed clips of runs.

    Args:
        runs: run directories.
        names: which clips.
        network: what embeds.

    Returns:
        Clips by name, and why others are missing, one line a source.
    """
    embedded: dict[str, EmbeddedClip] = {}
    lost: list[str] = []
    for run in runs:
        ledger = Ledger(Folder(run))
        for source_id in sorted(ledger.source_ids()):
            for commit in ledger.read(source_id, evidence=True):
                rows = [row for row in commit.clips.to_pylist() if row["clip_id"] in names]
                if not rows:
                    continue
                try:
                    embedded |= embed_source(rows[0]["uri"], source_id, rows, network)
                except StageError as error:
                    lost.append(str(error))
    return embedded, lost
