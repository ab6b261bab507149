"""Voice activity: when somebody speaks, by Silero VAD v6 on onnxruntime.

The network ships with the faster-whisper package (MIT), so nothing is downloaded; that package
itself is not imported. Only time is decided here, on samples; clocks are the caller's.
"""

from __future__ import annotations

import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field as Setting

from stages.audio import SAMPLE_RATE_HZ
from stages.contract import StageSettings
from stages.errors import StageError

HOP = 512
"""Samples a decision: 32 ms, what the network was trained on at 16 kHz."""

CONTEXT = 64
"""Samples of the hop before that the network sees, too (silero_vad/utils_vad.py)."""

BATCH_HOPS = 1024
"""Hops a call of the network; bounds memory, the state is carried over."""

TARGET_LEVEL = 0.05
"""Sound is scaled so that the 99th percentile of its amplitude is this, before it is heard. Chosen
over 36 clips of speech and 4 of music: from 0.05 up, the voiced share of speech stays within
0.02 of its highest but for a few short clips, while loud music is taken for voice the more, the
louder it is (0.17 of a track of music at 0.05, 0.59 as it was)."""

MAX_GAIN = 30.0
"""Most that quiet sound is lifted, 30 dB: more turns the dither of a silent track into a signal."""


class VoiceActivitySettings(StageSettings):
    """How probabilities become voiced segments.

    Defaults are those of ``get_speech_timestamps`` (silero_vad/utils_vad.py, v6), but for the
    shortest segment: 250 ms there, 128 ms here, so that the short words at the ends of a clip
    are not cut off.

    Attributes:
        threshold: probability that starts a segment.
        release: probability below which a segment may end; the threshold less 0.15.
        min_speech_s: shorter segments are dropped.
        min_silence_s: shorter pauses do not end a segment.
        pad_s: time added on either side.
    """

    threshold: float = Setting(0.5, gt=0, lt=1)
    release: float = Setting(0.35, gt=0, lt=1)
    min_speech_s: float = Setting(0.128, ge=0)
    min_silence_s: float = Setting(0.1, ge=0)
    pad_s: float = Setting(0.03, ge=0)


@dataclass(frozen=True)
class Hearing:
    """What the detector heard in one mono signal.

    Attributes:
        probability: probability of speech of each hop of 512 samples, float32.
        segments: voiced segments in samples, [first, last), ascending and apart.
    """

    probability: np.ndarray
    segments: tuple[tuple[int, int], ...]

    @property
    def voiced_s(self) -> float:
        """Seconds of voice."""
        return sum(last - first for first, last in self.segments) / SAMPLE_RATE_HZ


class VoiceDetector:
    """Silero VAD, loaded once a worker, on one thread."""

    def __init__(self, settings: VoiceActivitySettings, batch_hops: int = BATCH_HOPS) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.enable_cpu_mem_arena = False
        options.log_severity_level = 4
        self._settings = settings
        self._batch_hops = batch_hops
        self._session: Any = onnxruntime.InferenceSession(
            str(model_path()), sess_options=options, providers=["CPUExecutionProvider"]
        )

    def hear(self, samples: np.ndarray) -> Hearing:
        """Find the voiced segments of mono sound.

        Args:
            samples: (N,) float32 at 16 kHz.

        Returns:
            Probabilities and segments.
        """
        if not len(samples):
            return Hearing(np.zeros(0, np.float32), ())
        probability = self._probability(samples)
        return Hearing(probability, segments_of(probability, len(samples), self._settings))

    def _probability(self, samples: np.ndarray) -> np.ndarray:
        num_hops = -(-len(samples) // HOP)
        gain = _gain(samples)
        hidden = np.zeros((1, 1, 128), np.float32)
        cell = hidden
        parts = []
        for first_hop in range(0, num_hops, self._batch_hops):
            last_hop = min(num_hops, first_hop + self._batch_hops)
            first = first_hop * HOP - CONTEXT
            padded = np.zeros(CONTEXT + (last_hop - first_hop) * HOP, np.float32)
            part = samples[max(0, first) : last_hop * HOP] * gain
            offset = max(0, -first)
            padded[offset : offset + len(part)] = part
            windows = np.lib.stride_tricks.sliding_window_view(padded, CONTEXT + HOP)[::HOP]
            probability, hidden, cell = self._session.run(
                None, {"input": np.ascontiguousarray(windows), "h": hidden, "c": cell}
            )
            parts.append(probability)
        return np.concatenate(parts)


def segments_of(
    probability: np.ndarray, num_samples: int, settings: VoiceActivitySettings
) -> tuple[tuple[int, int], ...]:
    """Turn probabilities into voiced segments, by two thresholds.

    Args:
        probability: probability of speech of each hop.
        num_samples: length of the sound.
        settings: thresholds and shortest lengths.

    Returns:
        Segments in samples, [first, last), ascending and apart.
    """
    found: list[tuple[int, int]] = []
    start: int | None = None
    quiet_from: int | None = None
    min_silence = settings.min_silence_s * SAMPLE_RATE_HZ
    for hop, value in enumerate(probability):
        position = hop * HOP
        if value >= settings.threshold:
            quiet_from = None
            start = position if start is None else start
        elif start is not None and value < settings.release:
            quiet_from = position if quiet_from is None else quiet_from
            if position + HOP - quiet_from >= min_silence:
                found.append((start, quiet_from))
                start = quiet_from = None
    if start is not None:
        found.append((start, num_samples if quiet_from is None else quiet_from))
    long_enough = [
        (first, last)
        for first, last in found
        if last - first >= settings.min_speech_s * SAMPLE_RATE_HZ
    ]
    return _padded(long_enough, num_samples, round(settings.pad_s * SAMPLE_RATE_HZ))


def model_path() -> Path:
    """Where the network lies.

    Returns:
        Path inside the installed package.

    Raises:
        StageError: faster-whisper is not installed.
    """
    spec = importlib.util.find_spec("faster_whisper")
    folders = spec.submodule_search_locations if spec else None
    path = Path(folders[0], "assets", "silero_vad_v6.onnx") if folders else None
    if path is None or not path.exists():
        raise StageError(
            "voice detection needs the network silero_vad_v6.onnx of the package faster-whisper "
            "(>= 1.2): pip install 'faster-whisper>=1.2'"
        )
    return path


def model_digest() -> str:
    """Digest of the network's file, 16 hex characters."""
    return hashlib.blake2b(model_path().read_bytes(), digest_size=8).hexdigest()


def _gain(samples: np.ndarray) -> float:
    """Scale by the loudest hundredth of the sound, so that one knock does not hold it down."""
    step = max(1, len(samples) // 200_000)
    level = float(np.quantile(np.abs(samples[::step]), 0.99))
    return min(MAX_GAIN, TARGET_LEVEL / max(level, 1e-9))


def _padded(
    segments: list[tuple[int, int]], num_samples: int, pad: int
) -> tuple[tuple[int, int], ...]:
    """Grow segments by ``pad``, but no further than half the pause between two."""
    grown = []
    for number, (first, last) in enumerate(segments):
        before = first if number == 0 else (first - segments[number - 1][1]) // 2
        after = num_samples - last
        if number + 1 < len(segments):
            after = (segments[number + 1][0] - last) // 2
        grown.append((first - min(pad, before), min(last + min(pad, after), num_samples)))
    return tuple(grown)
