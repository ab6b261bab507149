"""Speech: when somebody speaks in a source, and how well a clip's voice can be heard.

The audio is decoded once a source; the PCM and the voiced segments are the evidence for the
cutter and for lip sync. Who speaks, and what, is not decided here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import Field as Setting

from manifests.measurement import measured
from manifests.reasons import Reason
from stages import acoustics
from stages.accompaniment import tonal_level_db
from stages.audio import SAMPLE_RATE_HZ, Pcm
from stages.channels import ChannelChoice, choose_voice
from stages.contract import ClipView, Evidence, Resources, Stage
from stages.facts import SourceFacts
from stages.reverberation import decay_time_s
from stages.voice_activity import HOP, VoiceActivitySettings, VoiceDetector, model_digest

SOUND_MARGIN_S = 1
"""Sound kept before and after a clip, so that packing can shift it; so far a segment is heard
beyond its ends."""


class SpeechSettings(VoiceActivitySettings):
    """How voice is detected and its channel chosen.

    Attributes:
        enough_voice_ratio: share of voice from which no other channel or track is tried; half, as
            a talking portrait speaks for at least half of the time.
    """

    enough_voice_ratio: float = Setting(0.5, gt=0, le=1)


@dataclass(frozen=True)
class Voice:
    """The sound of a source, or of a segment of it, and where voice is heard in it.

    Attributes:
        pcm: the mix that carries the voice, on the clock of the container.
        segments: voiced stretches in seconds on the same clock, ascending and apart.
        probability: probability of speech of each hop, from the first sample on.
        hop_s: length of a hop.
        choice: channel and track that were chosen.
    """

    pcm: Pcm
    segments: tuple[tuple[float, float], ...]
    probability: np.ndarray
    hop_s: float
    choice: ChannelChoice

    def voiced(self, start_s: float, end_s: float) -> list[tuple[float, float]]:
        """Voiced stretches within a range, cut to it."""
        return [
            (max(first, start_s), min(last, end_s))
            for first, last in self.segments
            if last > start_s and first < end_s
        ]


@dataclass(frozen=True)
class SpeechMeasurement:
    """How well the voice of a clip can be heard."""

    speech_ratio: float | None = measured(
        "share of the clip in which voice is heard", low=Reason.LITTLE_SPEECH
    )
    longest_pause_s: float | None = measured(
        "longest stretch without voice, at the ends as well", unit="s", high=Reason.LONG_PAUSE
    )
    snr_db: float | None = measured(
        "ratio of speech to noise or music", unit="dB", low=Reason.NOISY_SPEECH
    )
    loudness_lufs: float | None = measured(
        "integrated loudness of the chosen mono mix (BS.1770)",
        unit="LUFS",
        low=Reason.TOO_QUIET,
        high=Reason.TOO_LOUD,
    )
    peak_dbfs: float | None = measured(
        "highest amplitude", unit="dBFS", low=Reason.TOO_QUIET, high=Reason.TOO_LOUD
    )
    clipping_ratio: float | None = measured(
        "share of samples cut off at a rail, or beyond full scale", high=Reason.CLIPPED_AUDIO
    )
    digital_silence_ratio: float | None = measured(
        "share of the clip that is digital silence", high=Reason.DIGITAL_SILENCE
    )
    bandwidth_hz: float | None = measured(
        "highest frequency with energy, at most 8000", unit="Hz", low=Reason.NARROW_BAND
    )
    tonal_level_db: float | None = measured(
        "level of held notes against all sound: music or hum under the speech",
        unit="dB",
        high=Reason.MUSIC_UNDER_SPEECH,
    )
    decay_time_s: float | None = measured(
        "time in which sound decays by 60 dB after syllables, at least the voice's own",
        unit="s",
        high=Reason.REVERBERANT,
    )
    audio_coverage_ratio: float | None = measured(
        "share of the clip for which the file has sound", low=Reason.AUDIO_INCOMPLETE
    )
    channel: str | None = measured("mix or channel that carries the voice")
    audio_stream: int | None = measured("index of the audio stream that carries the voice")


class SpeechStage(Stage[SpeechSettings]):
    """Voice activity by Silero VAD, and the quality of the sound."""

    name = "speech"
    version = 3
    settings_type = SpeechSettings
    measurement = SpeechMeasurement
    gives = (Voice,)
    needs = (SourceFacts,)
    resources = Resources(memory_gib=0.8)

    def setup(self) -> None:
        """Load the voice detector."""
        self._detector = VoiceDetector(self.settings)

    def weights_digests(self) -> tuple[str, ...]:
        """Digest of the voice detector."""
        return (model_digest(),)

    def examine(self, evidence: Evidence) -> Voice:
        """Decode the sound, choose the channel that carries the voice, find the voice.

        A segment is heard with a second of sound on either side.

        Args:
            evidence: the source and the range of it.

        Returns:
            Sound and voiced segments.

        Raises:
            MediaError: no audio of the source can be decoded.
        """
        pcm, hearing, choice = choose_voice(
            evidence.facts,
            self._detector.hear,
            enough_ratio=self.settings.enough_voice_ratio,
            start=None if evidence.start is None else evidence.start - SOUND_MARGIN_S,
            end=None if evidence.end is None else evidence.end + SOUND_MARGIN_S,
        )
        origin_s = float(pcm.start_time)
        segments = tuple(
            (origin_s + first / SAMPLE_RATE_HZ, origin_s + last / SAMPLE_RATE_HZ)
            for first, last in hearing.segments
        )
        return Voice(pcm, segments, hearing.probability, HOP / SAMPLE_RATE_HZ, choice)

    def measure(self, clips: Sequence[ClipView]) -> list[Any]:
        """Measure the sound of each clip."""
        return [
            measure_speech(view.evidence.get(Voice), view.clip.span.start_s, view.clip.span.end_s)
            for view in clips
        ]


def measure_speech(voice: Voice, start_s: float, end_s: float) -> SpeechMeasurement:
    """Measure the sound of one stretch.

    Args:
        voice: sound and voiced segments.
        start_s: start on the clock of the container.
        end_s: end, exclusive, after the start.

    Returns:
        The measurement; what needs sound is missing where there is none.
    """
    pcm = voice.pcm
    samples = pcm.slice(start_s, end_s)
    stretches = voice.voiced(start_s, end_s)
    is_voiced = np.zeros(len(samples), bool)
    for first, last in stretches:
        is_voiced[pcm.index(first) - pcm.index(start_s) : pcm.index(last) - pcm.index(start_s)] = (
            True
        )
    has_sound = bool(len(samples)) and bool(samples.any())
    return SpeechMeasurement(
        speech_ratio=sum(last - first for first, last in stretches) / (end_s - start_s),
        longest_pause_s=longest_pause_s(stretches, start_s, end_s),
        snr_db=acoustics.snr_db(samples, is_voiced) if has_sound else None,
        loudness_lufs=acoustics.loudness_lufs(samples),
        peak_dbfs=acoustics.peak_dbfs(samples),
        clipping_ratio=acoustics.clipping_ratio(samples),
        digital_silence_ratio=acoustics.digital_silence_ratio(samples),
        bandwidth_hz=acoustics.bandwidth_hz(samples, is_voiced) if has_sound else None,
        tonal_level_db=tonal_level_db(samples) if has_sound else None,
        decay_time_s=decay_time_s(samples) if has_sound else None,
        audio_coverage_ratio=pcm.coverage_ratio(start_s, end_s),
        channel=voice.choice.mix,
        audio_stream=voice.choice.stream_index,
    )


def longest_pause_s(
    stretches: Sequence[tuple[float, float]], start_s: float, end_s: float
) -> float:
    """Longest time without voice between two ends.

    Args:
        stretches: voiced stretches within, ascending and apart.
        start_s: start.
        end_s: end.

    Returns:
        Seconds; all of the time if there is no voice.
    """
    ends = [start_s, *(last for _, last in stretches)]
    starts = [*(first for first, _ in stretches), end_s]
    return max(start - end for start, end in zip(starts, ends, strict=True))
