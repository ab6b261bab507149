"""Speaker: which of several faces speaks, and whether anybody does who is seen.

Sync is looked at for every face of a clip in overlapping windows (:mod:`stages.speaker_turns` makes
turns of it): a listener, a voice-over, a dub and two people in turn each get their verdict. Where
the weights of LR-ASD are here, that network scores every frame of every face as well; it knows
moving lips at the time of a voice, but not whose voice it is, so that its scores stand beside the
verdict and do not make it.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal, Protocol

import numpy as np
from pydantic import Field as Setting
from pydantic import field_validator

from manifests.measurement import measured
from manifests.reasons import Reason
from stages.contract import ClipView, Resources, Stage, StageSettings
from stages.environment import (
    INSTALL_TORCH,
    check_weights,
    torch_device,
    weights_path,
)
from stages.face_crops import FRAME_RATE_FPS, FaceCrops
from stages.face_track import FaceTrack, FaceTracks
from stages.lr_asd import LrAsd
from stages.optional_network import OptionalNetwork
from stages.speaker_turns import Verdict, share_out, speakers, verdict_of
from stages.speech import Voice
from stages.sync_estimator import SyncEstimate, SyncEstimator, SyncInput


class SpeakerSettings(StageSettings):
    """How the speaker is looked for.

    Attributes:
        window_s: length of the windows in which sync is looked at; below 3 s it tells little.
        step_s: time from one window to the next.
        margin_s: sound before and after a window that may be searched.
        min_presence_ratio: faces seen in less of the clip are no candidates.
        network: ``auto``, LR-ASD scores frames if its weights and torch are here; ``lr_asd``, it
            must; ``none``.
        weights: ``lr-asd``, or a file in its layout.
        device: where the network runs, as torch names it; ``auto`` takes a GPU if there is one.
    """

    window_s: float = Setting(3.0, ge=2.0)
    step_s: float = Setting(1.0, gt=0)
    margin_s: float = Setting(0.7, ge=0)
    min_presence_ratio: float = Setting(0.2, ge=0, le=1)
    network: Literal["auto", "lr_asd", "none"] = "auto"
    weights: str = "lr-asd"
    device: str = "auto"

    _known_weights = field_validator("weights")(check_weights)


@dataclass(frozen=True)
class SpeakerMeasurement:
    """Whose voice a clip has."""

    verdict: str | None = measured(
        "speaks, turns, another_face, off_screen or unknown", other=Reason.ANOTHER_FACE_SPEAKS
    )
    speaking_ratio: float | None = measured(
        "share of the voice that is in sync with this face", low=Reason.ANOTHER_FACE_SPEAKS
    )
    other_ratio: float | None = measured(
        "share of the voice that is in sync with another face", high=Reason.ANOTHER_FACE_SPEAKS
    )
    off_screen_ratio: float | None = measured(
        "share of the voice that is in sync with no face", high=Reason.VOICE_OFF_SCREEN
    )
    num_changes: int | None = measured("changes of speaker", high=Reason.ANOTHER_FACE_SPEAKS)
    network_ratio: float | None = measured(
        "share of the voice during which LR-ASD sees this face speak",
        low=Reason.ANOTHER_FACE_SPEAKS,
    )
    network_other_ratio: float | None = measured(
        "share of the voice during which LR-ASD scores another face higher",
        high=Reason.ANOTHER_FACE_SPEAKS,
    )
    network_scores: tuple[float, ...] | None = measured(
        "score of LR-ASD every 40 ms, above 0 where this face speaks"
    )


class SyncJudge(Protocol):
    """Compares faces' lips with a voice; `SyncEstimator` is one."""

    def estimate(self, inputs: Sequence[SyncInput]) -> list[SyncEstimate]:
        """Return how they go together, one result an input."""


class SpeakerStage(Stage[SpeakerSettings]):
    """Finds the speaker among the faces of a clip.

    Args:
        settings: settings of the stage.
        estimator: judges sync; ``None`` for the one that ships with the package.
    """

    name = "speaker"
    version = 1
    settings_type = SpeakerSettings
    measurement = SpeakerMeasurement
    needs: tuple[type, ...] = (FaceTracks, Voice)

    def __init__(self, settings: SpeakerSettings, estimator: SyncJudge | None = None) -> None:
        super().__init__(settings)
        self._estimator = estimator
        self._network: LrAsd | None = None
        self._choice = OptionalNetwork.look(
            settings.network, ("torch",), (settings.weights,), INSTALL_TORCH
        )
        self.uses_network = self._choice.is_used
        if self.uses_network:
            self.costly, self.packages = True, ("torch",)
            self.needs = (*SpeakerStage.needs, FaceCrops)
            self.resources = Resources(memory_gib=1.8)

    def setup(self) -> None:
        """Load the estimator of sync, and the network if it is to be used."""
        self._estimator = self._estimator or SyncEstimator.load()
        if self.uses_network:
            path = weights_path(self.settings.weights)
            self._network = LrAsd.load(path, torch_device(self.settings.device))

    def close(self) -> None:
        """Free the network."""
        self._network = None

    def remark(self) -> str | None:
        """Say whether the network looks, and what would make it."""
        alone = "the speaker from sync alone, without an active-speaker network"
        return self._choice.remark("the speaker from sync, and LR-ASD scores every frame", alone)

    def lacking(self) -> str | None:
        """What is missing for a network that the recipe demands."""
        return self._choice.lacking()

    def weights_digests(self) -> tuple[str, ...]:
        """Digests of the estimator of sync, and of the network if it is used."""
        return (SyncEstimator.weights_digest(), *self._choice.digests())

    def shaping_settings(self) -> dict[str, Any]:
        """All but where the network is and runs; the weights have their digest."""
        chosen = self.settings.model_dump(mode="json", exclude={"network", "weights", "device"})
        return {**chosen, "uses_network": self.uses_network}

    def measure(self, clips: Sequence[ClipView]) -> list[Any]:
        """Find the speaker of each clip."""
        return [self._measure(clip) for clip in clips]

    def _measure(self, view: ClipView) -> SpeakerMeasurement:
        span = view.clip.span
        evidence = view.evidence.get(FaceTracks)
        first, last = np.searchsorted(evidence.frame_pts, [span.start, span.end])
        parts = [track.within(span) for track in evidence.tracks]
        faces = [
            part
            for part in parts
            if part.number == view.clip.track
            or len(part.pts) > self.settings.min_presence_ratio * (last - first)
        ]
        own = next(n for n, part in enumerate(faces) if part.number == view.clip.track)
        voice = view.evidence.get(Voice)
        starts_s = window_starts_s(span.start_s, span.end_s, self.settings)
        length_s = min(self.settings.window_s, span.duration_s)
        step_s = min(self.settings.step_s, length_s)
        confidence_WK = self._confidences(faces, voice, span.time_base, starts_s, length_s)
        middles_s = (starts_s[1:] + starts_s[:-1] + length_s) / 2
        edges_s = [span.start_s, *middles_s.tolist(), span.end_s]
        voiced_W = np.array(
            [
                sum(last_s - first_s for first_s, last_s in voice.voiced(left_s, right_s))
                for left_s, right_s in itertools.pairwise(edges_s)
            ]
        )
        speaker_W = speakers(confidence_WK, max(1.0, length_s / step_s))
        shares = share_out(speaker_W, voiced_W, own)
        is_known = bool(np.isfinite(confidence_WK).any())
        verdict = verdict_of(shares, is_known=is_known)
        told = verdict is not Verdict.UNKNOWN and shares is not None
        return SpeakerMeasurement(
            verdict=str(verdict),
            speaking_ratio=shares.own if told and shares else None,
            other_ratio=shares.other if told and shares else None,
            off_screen_ratio=shares.nobody if told and shares else None,
            num_changes=int(np.count_nonzero(np.diff(speaker_W))) if told else None,
            **self._by_network(view, faces, own),
        )

    def _confidences(
        self,
        faces: Sequence[FaceTrack],
        voice: Voice,
        time_base: Fraction,
        starts_s: np.ndarray,
        length_s: float,
    ) -> np.ndarray:
        """Confidence of every face in every window (W, K), all judged at once; NaN for unknown."""
        confidence_WK = np.full((len(starts_s), len(faces)), np.nan)
        places, inputs = [], []
        for row, start_s in enumerate(starts_s.tolist()):
            sound_start_s = start_s - self.settings.margin_s
            sound = voice.pcm.slice(sound_start_s, start_s + length_s + self.settings.margin_s)
            for column, face in enumerate(faces):
                times_s = face.times_s(time_base)
                first, last = np.searchsorted(times_s, [start_s, start_s + length_s])
                if last - first < 2:
                    continue
                part = slice(int(first), int(last))
                places.append((row, column))
                inputs.append(
                    SyncInput(face.landmarks_TPC[part], times_s[part], sound, sound_start_s)
                )
        if self._estimator is None or not inputs:
            return confidence_WK
        for place, estimate in zip(places, self._estimator.estimate(inputs), strict=True):
            if estimate.confidence is not None:
                confidence_WK[place] = estimate.confidence
        return confidence_WK

    def _by_network(self, view: ClipView, faces: Sequence[FaceTrack], own: int) -> dict[str, Any]:
        if self._network is None:
            return {}
        crops, voice, span = view.evidence.get(FaceCrops), view.evidence.get(Voice), view.clip.span
        num_slots = round(span.duration_s * FRAME_RATE_FPS)
        scores_KT = np.full((len(faces), num_slots), -np.inf)
        for row, face in enumerate(faces):
            run = crops.run(face.number, span)
            if run is None:
                continue
            end_s = run.start_s + len(run.crops_THWC) / FRAME_RATE_FPS
            scores_T = self._network.score(run.crops_THWC, voice.pcm.slice(run.start_s, end_s))
            first = max(0, round((run.start_s - span.start_s) * FRAME_RATE_FPS))
            scores_T = scores_T[: num_slots - first]
            scores_KT[row, first : first + len(scores_T)] = scores_T
        return network_record(scores_KT, own, voiced_slots(voice, span.start_s, num_slots))


def window_starts_s(start_s: float, end_s: float, settings: SpeakerSettings) -> np.ndarray:
    """Starts of the windows of a clip: evenly apart, the first and the last at its ends.

    Args:
        start_s: start of the clip.
        end_s: its end.
        settings: length and step of the windows.

    Returns:
        (W,) at least one.
    """
    room_s = end_s - start_s - settings.window_s
    if room_s <= 0:
        return np.array([start_s])
    return start_s + np.linspace(0, room_s, 1 + max(1, round(room_s / settings.step_s)))


def voiced_slots(voice: Voice, start_s: float, num_slots: int) -> np.ndarray:
    """Which slots of 40 ms have voice in their middle, (T,) bool."""
    end_s = start_s + num_slots / FRAME_RATE_FPS
    middles_s = start_s + (np.arange(num_slots) + 0.5) / FRAME_RATE_FPS
    is_voiced = np.zeros(num_slots, bool)
    for first_s, last_s in voice.voiced(start_s, end_s):
        is_voiced |= (middles_s >= first_s) & (middles_s < last_s)
    return is_voiced


def network_record(scores_KT: np.ndarray, own: int, is_voiced_T: np.ndarray) -> dict[str, Any]:
    """Sum up the scores of the network.

    Args:
        scores_KT: score of each face every 40 ms; -inf where a face is not seen.
        own: row of the clip's own face.
        is_voiced_T: where there is voice.

    Returns:
        Values of the measurement; nothing if the face was never seen, no ratios without voice.
    """
    own_T = scores_KT[own]
    if not np.isfinite(own_T).any():
        return {}
    record: dict[str, Any] = {
        "network_scores": tuple(float(v) for v in np.maximum(own_T, -100.0).round(2))
    }
    if not is_voiced_T.any():
        return record
    others_T = np.delete(scores_KT, own, axis=0).max(axis=0, initial=-np.inf)
    is_other = (others_T > 0) & (others_T > own_T)
    record["network_ratio"] = float(((own_T > 0) & ~is_other)[is_voiced_T].mean())
    record["network_other_ratio"] = float(is_other[is_voiced_T].mean())
    return record
