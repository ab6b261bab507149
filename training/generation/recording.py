"""The driving voice: decoded once to mono 16 kHz on disk, checked, and read in pieces.

Hours of sound never lie in memory. Not in the room: features of it (`audio_features`).
"""

from __future__ import annotations

import math
import os
import tempfile
from pathlib import Path
from typing import IO

import numpy as np

from training.errors import InputError
from training.generation.inputs import Notices
from training.generation.sound import sound_blocks, sound_facts
from training.model.interfaces import AUDIO_SAMPLE_RATE_HZ as RATE_HZ

MIN_DURATION_S = 0.4
"""Shorter sound is refused by SkyReels-V3's `generate_video.py` too."""
MAX_DURATION_S = 3600.0
"""Longer than this is more likely a mistake than a wish: an hour is 90 000 frames. Ours."""
SILENT_DBFS = -60.0
QUIET_DBFS = -40.0
RAISED_DBFS = -20.0
"""Levels of the loudest 20 ms. Ours: curated speech lies between -30 and -3."""
_BLOCK = RATE_HZ // 50
_DOUBTFUL_RATIO = 2.0
"""A header may guess a length wrong, but not by so much; below, what is decoded counts."""


class Recording:
    """Sound of one speaker, mono at 16 kHz.

    Attributes:
        place: file it came from, for messages.
        num_samples: samples of it.
    """

    def __init__(self, place: str, file: IO[bytes], num_channels: int, mix: np.ndarray) -> None:
        """Take over a file of interleaved int16 samples.

        Args:
            place: for messages.
            file: the samples; closed with the recording.
            num_channels: channels in it.
            mix: [channels] factor of each channel in the mono sound.
        """
        self.place = place
        self._file = file
        self._num_channels = num_channels
        self._mix = mix.astype(np.float32)
        self.num_samples = os.fstat(file.fileno()).st_size // (2 * num_channels)

    @classmethod
    def open(
        cls,
        path: str | Path,
        notices: Notices | None = None,
        *,
        max_duration_s: float = MAX_DURATION_S,
        silence_is_fine: bool = False,
    ) -> Recording:
        """Decode and check a file.

        Args:
            path: any file with sound.
            notices: where repairs are said.
            max_duration_s: longer sound is refused.
            silence_is_fine: take silent sound, for a portrait that listens.

        Returns:
            The recording.

        Raises:
            InputError: If it cannot be read, is too short, too long or silent.
        """
        path = Path(path)
        notices = notices or Notices()
        if not path.exists():
            raise InputError(f"{path}: there is no such file")
        facts = sound_facts(path)
        num_channels = min(2, facts.num_channels)
        too_long = InputError(
            f"{path}: longer than {max_duration_s:g} s; cut it, or raise the limit with "
            "--max-audio-s if so many frames are meant"
        )
        if facts.duration_s > _DOUBTFUL_RATIO * max_duration_s:
            raise too_long
        file = tempfile.TemporaryFile()  # noqa: SIM115  (closed with the recording)
        try:
            levels = _Levels(num_channels)
            for block in sound_blocks(path, RATE_HZ, num_channels, notices):
                levels.add(block)
                file.write(np.rint(block.T.clip(-1, 1) * 32767).astype("<i2").tobytes())
                if levels.num_samples > max_duration_s * RATE_HZ:
                    raise too_long
            file.flush()
            duration_s = levels.num_samples / RATE_HZ
            if duration_s < MIN_DURATION_S:
                raise InputError(
                    f"{path}: {duration_s:.2f} s of sound; at least {MIN_DURATION_S} s are needed"
                )
            mix = levels.mix(path, notices, silence_is_fine)
        except InputError:
            file.close()
            raise
        return cls(str(path), file, num_channels, mix)

    @classmethod
    def from_samples(cls, pcm_N: np.ndarray, place: str = "samples") -> Recording:
        """Take samples that are in memory, mono at 16 kHz in [-1, 1], unchecked."""
        file = tempfile.TemporaryFile()  # noqa: SIM115  (closed with the recording)
        file.write(np.rint(np.asarray(pcm_N).clip(-1, 1) * 32767).astype("<i2").tobytes())
        file.flush()
        return cls(place, file, 1, np.ones(1))

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.num_samples / RATE_HZ

    def read(self, first: int, stop: int) -> np.ndarray:
        """Return samples [first, stop) as float32; zeros before the beginning and past the end."""
        pcm = np.zeros(max(0, stop - first), np.float32)
        low, high = max(0, first), min(self.num_samples, stop)
        if high > low:
            width = 2 * self._num_channels
            data = os.pread(self._file.fileno(), (high - low) * width, low * width)
            samples = np.frombuffer(data, "<i2").reshape(-1, self._num_channels)
            pcm[low - first : high - first] = samples.astype(np.float32) / 32767 @ self._mix
        return pcm

    def close(self) -> None:
        """Delete the samples on disk."""
        self._file.close()


class LedRecording(Recording):
    """A recording with some sound before it: that of the frames a video goes on from."""

    def __init__(self, recording: Recording, lead_N: np.ndarray) -> None:
        """Put sound before a recording.

        Args:
            recording: what follows; it stays open.
            lead_N: float32 samples.
        """
        self.place = recording.place
        self.num_samples = len(lead_N) + recording.num_samples
        self._recording, self._lead = recording, lead_N.astype(np.float32)

    def read(self, first: int, stop: int) -> np.ndarray:
        """Return samples [first, stop) of both."""
        begin = len(self._lead)
        pcm = self._recording.read(first - begin, stop - begin)
        low, high = max(0, first), min(begin, stop)
        if high > low:
            pcm[low - first : high - first] = self._lead[low:high]
        return pcm

    def close(self) -> None:
        """Delete the samples on disk."""
        self._recording.close()


class _Levels:
    """Power of each channel, of their mean and of the loudest moment, as sound passes."""

    def __init__(self, num_channels: int) -> None:
        self.num_samples = 0
        self._power = np.zeros(num_channels)
        self._mean_power = 0.0
        self._loudest = np.zeros(num_channels)
        self._loudest_mean = 0.0

    def add(self, block: np.ndarray) -> None:
        self.num_samples += block.shape[1]
        self._power += np.square(block).sum(axis=1)
        mean = block.mean(axis=0)
        self._mean_power += float(np.square(mean).sum())
        for start in range(0, block.shape[1], _BLOCK):
            piece = block[:, start : start + _BLOCK]
            level = np.square(piece).mean(axis=1) * piece.shape[1] / _BLOCK
            self._loudest = np.maximum(self._loudest, level)
            level_mean = np.square(mean[start : start + _BLOCK]).mean()
            self._loudest_mean = max(self._loudest_mean, level_mean * piece.shape[1] / _BLOCK)

    def mix(self, path: Path, notices: Notices, silence_is_fine: bool) -> np.ndarray:
        """Choose the factor of each channel."""
        mix, loudest = self._channels(path, notices)
        level_dbfs = 10 * math.log10(max(loudest, 1e-12))
        if level_dbfs < SILENT_DBFS:
            if not silence_is_fine:
                raise InputError(
                    f"{path}: silent, its loudest 20 ms have {level_dbfs:.0f} dBFS; at least "
                    f"{SILENT_DBFS:g} are needed. Give a voice, or --allow-silence for a portrait "
                    "that listens"
                )
        elif level_dbfs < QUIET_DBFS:
            notices.say(path, f"very quiet ({level_dbfs:.0f} dBFS); raised to {RAISED_DBFS:g}")
            mix = mix * 10 ** ((RAISED_DBFS - level_dbfs) / 20)
        return mix

    def _channels(self, path: Path, notices: Notices) -> tuple[np.ndarray, float]:
        if len(self._power) == 1:
            return np.ones(1), float(self._loudest[0])
        louder = int(np.argmax(self._power))
        only = np.zeros(2)
        only[louder] = 1
        name = ("left", "right")[louder]
        if self._power.min() < 1e-3 * self._power.max():
            notices.say(path, f"only the {name} channel has sound; it is used")
            return only, float(self._loudest[louder])
        if self._mean_power < 0.05 * self._power.mean():
            notices.say(path, f"its channels cancel out; the {name} one is used")
            return only, float(self._loudest[louder])
        notices.say(path, "stereo; the mean of both channels drives the lips")
        return np.full(2, 0.5), self._loudest_mean
