"""PCM: mono sound at 16 kHz on the exact clock of its container."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import floor

import numpy as np

SAMPLE_RATE_HZ = 16_000
"""Rate of the PCM: what voice detection, Whisper and the written clips use."""

SIGNAL_FLOOR = 1e-4
"""Amplitude, -80 dBFS, below which there is no signal: 16-bit dither stays under it."""


@dataclass(frozen=True)
class Pcm:
    """Mono sound on the clock of the container.

    Attributes:
        samples: (N,) float32; full scale is 1, louder samples of lossy codecs are kept.
        start_time: exact time of the first sample, on the clock of the video's pts.
        sample_rate_hz: 16 000.
        missing: stretches within that the track has no sound for, in seconds on the same clock;
            their samples are zero.
    """

    samples: np.ndarray
    start_time: Fraction
    sample_rate_hz: int = SAMPLE_RATE_HZ
    missing: tuple[tuple[float, float], ...] = ()

    @property
    def end_time(self) -> Fraction:
        """Exact time after the last sample."""
        return self.start_time + Fraction(len(self.samples), self.sample_rate_hz)

    @property
    def has_signal(self) -> bool:
        """Some sample is louder than -80 dBFS."""
        return bool(len(self.samples)) and float(np.abs(self.samples).max()) > SIGNAL_FLOOR

    def index(self, time_s: float | Fraction) -> int:
        """Number of the sample nearest to a time; may lie outside of the samples."""
        if isinstance(time_s, float):
            time_s = Fraction(round(time_s * 10**9), 10**9)
        return floor((time_s - self.start_time) * self.sample_rate_hz + Fraction(1, 2))

    def slice(self, start_s: float | Fraction, end_s: float | Fraction) -> np.ndarray:
        """Cut a range out, with zeros where there is no sound.

        Neighbouring ranges neither share nor lose a sample.

        Args:
            start_s: start on the clock of the container.
            end_s: end, exclusive.

        Returns:
            A new array (round((end_s - start_s) * rate) to within one,), float32.
        """
        first, last = self.index(start_s), self.index(end_s)
        part = np.zeros(max(0, last - first), np.float32)
        inside_first, inside_last = max(0, first), min(len(self.samples), last)
        if inside_last > inside_first:
            part[inside_first - first : inside_last - first] = self.samples[
                inside_first:inside_last
            ]
        return part

    def coverage_ratio(self, start_s: float, end_s: float) -> float:
        """Share of a range for which the track has sound, silent or not.

        Args:
            start_s: start on the clock of the container.
            end_s: end, exclusive, after the start.

        Returns:
            A share in [0, 1].
        """
        stretches = [(float(self.start_time), float(self.end_time), 1.0)]
        stretches += [(gap_start, gap_end, -1.0) for gap_start, gap_end in self.missing]
        covered = sum(
            sign * max(0.0, min(end_s, end) - max(start_s, start)) for start, end, sign in stretches
        )
        return min(1.0, max(0.0, covered / (end_s - start_s)))
