"""Audio: the sound of a source as PCM at 16 kHz on the exact clock of its container.

A track is decoded and resampled as it streams; what is kept is 16 kHz only. Every run of
unbroken sound is laid where its time stamps say, on the clock of the video's ``pts * time_base``:
missing stretches become zeros and are recorded, overlaps are dropped. Which channels of which
track carry the voice is decided elsewhere (:mod:`stages.channels`).

Bounds, measured with clicks: the position of a sample is right to less than one sample of
16 kHz, from 8, 11.025, 16, 22.05, 32, 44.1, 48 and 96 kHz, except that no container is more exact
than its time base (Matroska: 1 ms). Swresample's filter has no delay of its own: it centres itself
on the first sample and holds back its tail until it is flushed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import floor

import av
import numpy as np
from av.audio.frame import AudioFrame

from manifests.reasons import Reason
from stages.decode import open_container
from stages.errors import MediaError
from stages.facts import AudioFacts, SourceFacts
from stages.pcm import SAMPLE_RATE_HZ, Pcm

__all__ = ["SAMPLE_RATE_HZ", "Pcm", "Track", "read_track"]

MAX_JUMP = Fraction(40, 1000)
"""A time stamp further than this from where the samples say is a gap or an overlap, in seconds."""

MAX_DRIFT_S = 0.015
"""A deviation of the mean time stamp of about one second that is followed, too: one lost AAC
frame is 21 to 23 ms for the rest of the file, while jitter averages out."""

MAX_GAP_S = 600
"""A longer jump forward ends the track: it is a broken clock, and its zeros would fill memory."""

MAX_CHANNELS = 8
"""Channels kept of a track; 7.1 is eight. 5 minutes of eight channels take 154 MB."""

PREROLLS_S = (Fraction(1, 2), Fraction(30))
"""How far before a wanted range decoding starts (decoders settle within 0.1 s), and the second
try for containers that seek too late."""


@dataclass(frozen=True)
class Track:
    """One audio track, all its channels.

    Attributes:
        stream_index: index of the stream in the container.
        channels: name of each channel as FFmpeg has it, ``FL``, ``FC``, ...; ``NONE`` where the
            file does not say.
        rows: (channels, N) float32 at 16 kHz.
        start_time: exact time of the first sample.
        missing: stretches without sound, in seconds.
    """

    stream_index: int
    channels: tuple[str, ...]
    rows: np.ndarray
    start_time: Fraction
    missing: tuple[tuple[float, float], ...] = ()


def read_track(
    facts: SourceFacts,
    audio: AudioFacts,
    *,
    start: Fraction | None = None,
    end: Fraction | None = None,
) -> Track:
    """Decode one audio track, or a range of it.

    Damaged packets are skipped; what they held is missing. A track of which nothing can be
    decoded, or that has nothing in the range, has no samples.

    Args:
        facts: the source.
        audio: the track.
        start: first time wanted, on the clock of the container; ``None`` for its beginning.
        end: time at which to stop, exclusive; ``None`` for its end.

    Returns:
        The track; its first sample is at or less than a sample after ``start``.

    Raises:
        MediaError: the container cannot be opened.
    """
    prerolls = PREROLLS_S if start is not None else (Fraction(0),)
    for preroll in prerolls:
        assembler = _Assembler()
        seek_time = None if start is None else start - preroll
        for frame in _audio_frames(facts.uri, audio.index, seek_time):
            if end is not None and frame.pts is not None and _time_of(frame) >= end + MAX_JUMP:
                break
            if not assembler.add(frame):
                break
        assembler.close_run()
        if start is None or (assembler.pieces and assembler.grid_time <= start):
            break
    return assembler.track(audio.index, start, end)


class _Assembler:
    """Lays runs of unbroken sound on the 16 kHz grid that the first sample defines."""

    def __init__(self) -> None:
        self.pieces: list[tuple[int, np.ndarray]] = []
        self.grid_time = Fraction(0)
        self._layout: av.AudioLayout | None = None
        self._resampler: av.AudioResampler | None = None
        self._format: tuple[int, str, str] | None = None
        self._run_time = Fraction(0)
        self._run_inputs = 0
        self._next_index = 0
        self._covered = 0
        self._gaps: list[tuple[int, int]] = []
        self._drift_s = 0.0

    def add(self, frame: AudioFrame) -> bool:
        """Take a decoded frame; return whether the track goes on."""
        rate = frame.sample_rate
        if not rate or not frame.samples:
            return True
        expected = self._run_time + Fraction(self._run_inputs, rate)
        time = expected if frame.pts is None else _time_of(frame)
        frame_format = (rate, frame.format.name, frame.layout.name)
        if self._resampler is None:
            breaks = True
        else:
            deviation = time - expected
            weight = min(1.0, frame.samples / rate)
            self._drift_s += (float(deviation) - self._drift_s) * weight
            breaks = (
                frame_format != self._format
                or abs(deviation) > MAX_JUMP
                or (abs(self._drift_s) > MAX_DRIFT_S and abs(deviation) > MAX_DRIFT_S / 2)
            )
        if breaks:
            if not self._open_run(time, Fraction(frame.samples, rate), frame):
                return float(time - self._end_time()) <= MAX_GAP_S
            self._format = frame_format
        self._run_inputs += frame.samples
        frame.pts = None
        assert self._resampler is not None
        self._keep(self._resampler.resample(frame))
        return True

    def close_run(self) -> None:
        """Flush the resampler, at a break and at the end."""
        if self._resampler is not None:
            self._keep(self._resampler.resample(None))
            self._resampler = None

    def track(self, stream_index: int, start: Fraction | None, end: Fraction | None) -> Track:
        """Join the pieces and cut them to the wanted range."""
        first, last = 0, self._covered
        if start is not None:
            first = max(0, -floor(-(start - self.grid_time) * SAMPLE_RATE_HZ))
        if end is not None:
            last = min(last, -floor(-(end - self.grid_time) * SAMPLE_RATE_HZ))
        names = tuple(c.name for c in self._layout.channels) if self._layout else ()
        names = names[:MAX_CHANNELS]
        rows = np.zeros((len(names), max(0, last - first)), np.float32)
        for position, piece in self.pieces:
            left, right = max(position, first), min(position + piece.shape[1], last)
            if right > left:
                rows[:, left - first : right - first] = piece[:, left - position : right - position]
        seconds = [
            (max(a, first), min(b, last)) for a, b in self._gaps if min(b, last) > max(a, first)
        ]
        return Track(
            stream_index=stream_index,
            channels=names,
            rows=rows,
            start_time=self._time_at(first),
            missing=tuple((float(self._time_at(a)), float(self._time_at(b))) for a, b in seconds),
        )

    def _open_run(self, time: Fraction, duration: Fraction, frame: AudioFrame) -> bool:
        self.close_run()
        if self._layout is None:
            self._layout = frame.layout
            self.grid_time = time
        elif time + duration <= self._end_time() or float(time - self._end_time()) > MAX_GAP_S:
            return False
        self._resampler = av.AudioResampler("fltp", self._layout.name, SAMPLE_RATE_HZ)
        self._run_time, self._run_inputs, self._drift_s = time, 0, 0.0
        self._next_index = floor((time - self.grid_time) * SAMPLE_RATE_HZ + Fraction(1, 2))
        if self._next_index > self._covered:
            self._gaps.append((self._covered, self._next_index))
        return True

    def _keep(self, frames: list[AudioFrame]) -> None:
        for frame in frames:
            samples = frame.to_ndarray()[:MAX_CHANNELS]
            overlap = max(0, self._covered - self._next_index)
            if samples.shape[1] > overlap:
                self.pieces.append((self._next_index + overlap, samples[:, overlap:].copy()))
            self._next_index += samples.shape[1]
            self._covered = max(self._covered, self._next_index)

    def _time_at(self, index: int) -> Fraction:
        return self.grid_time + Fraction(index, SAMPLE_RATE_HZ)

    def _end_time(self) -> Fraction:
        return self._time_at(self._covered)


def _time_of(frame: AudioFrame) -> Fraction:
    assert frame.pts is not None and frame.time_base is not None
    return frame.pts * Fraction(frame.time_base)


def _audio_frames(uri: str, index: int, start: Fraction | None) -> Iterator[AudioFrame]:
    with open_container(uri) as container:
        stream = container.streams[index]
        if not isinstance(stream, av.AudioStream) or stream.time_base is None:
            raise MediaError(uri, Reason.NO_AUDIO_STREAM, f"stream {index} is not audio")
        stream.codec_context.thread_count = 1
        if start is not None:
            _seek(container, stream, start)
        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets, None)
            except av.FFmpegError:
                return
            if packet is None:
                return
            try:
                frames = packet.decode()
            except av.FFmpegError:
                continue
            yield from frames  # type: ignore[misc]


def _seek(container: av.container.InputContainer, stream: av.AudioStream, time: Fraction) -> None:
    assert stream.time_base is not None
    try:
        container.seek(int(time // stream.time_base), stream=stream, backward=True)
    except av.FFmpegError:
        return  # before the first packet, or not seekable: it is read from where it stands
