"""Sound of a file as blocks of samples, at any rate, starting at the file's time zero.

Not in the room: what sound is good enough (`recording`) and how it is written (`video_writer`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.audio.resampler import AudioResampler

from training.errors import InputError
from training.generation.decoding import Damage, decoded
from training.generation.inputs import Notices

_GAP_S, _LONGEST_GAP_S = 0.1, 60.0
"""Steps in a stream's times that are filled with silence; below, clocks only disagree. Ours."""


@dataclass(frozen=True)
class SoundFacts:
    """What the header says of a file's first audio stream.

    Attributes:
        rate_hz: samples a second.
        num_channels: channels.
        duration_s: length of the file; 0 if it is not told.
    """

    rate_hz: int
    num_channels: int
    duration_s: float = 0.0


def sound_facts(path: Path) -> SoundFacts:
    """Read rate and channels of a file's sound.

    Args:
        path: any file with sound that FFmpeg can read.

    Returns:
        What its header says.

    Raises:
        InputError: If it cannot be read, or has no sound.
    """
    try:
        with av.open(str(path)) as container:
            if not container.streams.audio:
                raise InputError(f"{path}: no sound in it; give a file with an audio stream")
            context = container.streams.audio[0].codec_context
            duration_s = (container.duration or 0) / av.time_base
            return SoundFacts(context.sample_rate, max(1, context.layout.nb_channels), duration_s)
    except (av.error.FFmpegError, OSError) as error:
        raise InputError(f"{path}: cannot be read as sound ({error})") from error


def sound_blocks(
    path: Path, rate_hz: int, num_channels: int, notices: Notices | None = None
) -> Iterator[np.ndarray]:
    """Decode a file's first audio stream.

    A stream that begins after the file's video begins with silence, one that begins before is cut,
    so that sample 0 belongs to frame 0.

    Args:
        path: the file.
        rate_hz: rate to deliver.
        num_channels: 1 or 2; more are mixed down by FFmpeg's matrix.
        notices: where damage in the file is said.

    Yields:
        [channels, samples] float32.

    Raises:
        InputError: If nothing of it can be read.
    """
    damage, num_given = Damage(), 0
    try:
        with av.open(str(path)) as container:
            for block in _blocks(container, rate_hz, num_channels, damage):
                num_given += block.shape[1]
                yield block
    except av.error.FFmpegError as error:
        raise InputError(f"{path}: its sound cannot be read ({error})") from error
    if damage.num_packets and not num_given:
        raise InputError(f"{path}: nothing of its sound can be decoded; give another copy")
    if damage.num_packets and notices is not None:
        notices.say(path, f"{damage.num_packets} damaged pieces of its sound are silent")


def _blocks(
    container: av.container.InputContainer, rate_hz: int, num_channels: int, damage: Damage
) -> Iterator[np.ndarray]:
    layout = "mono" if num_channels == 1 else "stereo"
    resampler = AudioResampler(format="fltp", layout=layout, rate=rate_hz)
    begin_s = _begin_s(container)
    position = 0
    skip = 0
    for index, frame in enumerate(decoded(container, container.streams.audio[0], damage)):
        if index == 0 and begin_s is None:
            begin_s = frame.time or 0.0
        # Silence where the stream begins late or a piece is lost; small steps are only rounding.
        lacking = round(((frame.time or 0.0) - (begin_s or 0.0)) * rate_hz) - position
        if index == 0 and lacking < 0:
            skip = -lacking
        elif lacking > _GAP_S * rate_hz or (index == 0 and lacking > 0):
            silent = min(lacking, round(_LONGEST_GAP_S * rate_hz))
            position += silent
            yield np.zeros((num_channels, silent), np.float32)
        frame.pts = None  # Or the resampler fills gaps by its own rule.
        for out in resampler.resample(frame):
            block: np.ndarray = out.to_ndarray()
            if not np.isfinite(block).all():  # Float formats can hold what is no number.
                block = np.nan_to_num(block, posinf=0.0, neginf=0.0)
                damage.num_packets += 1
            block, skip = block[:, skip:], max(0, skip - block.shape[1])
            position += block.shape[1]
            yield block
    for out in resampler.resample(None):
        yield out.to_ndarray()


def mixed_blocks(paths: Sequence[Path], rate_hz: int, num_channels: int) -> Iterator[np.ndarray]:
    """Decode several files at once and add them up; one that ends is silent.

    Args:
        paths: the files.
        rate_hz: rate to deliver.
        num_channels: 1 or 2.

    Yields:
        [channels, samples] float32, within [-1, 1].
    """
    tracks = [sound_blocks(path, rate_hz, num_channels) for path in paths]
    pending = [np.zeros((num_channels, 0), np.float32) for _ in paths]
    ended = [False] * len(paths)
    while True:
        for index, track in enumerate(tracks):
            while not ended[index] and not pending[index].shape[1]:
                block = next(track, None)
                if block is None:
                    ended[index] = True
                else:
                    pending[index] = block
        lengths = [block.shape[1] for block in pending if block.shape[1]]
        if not lengths:
            return
        length = min(lengths)
        yield sum(block[:, :length] for block in pending if block.shape[1]).clip(-1, 1)  # type: ignore[union-attr]
        pending = [block[:, length:] for block in pending]


def _begin_s(container: av.container.InputContainer) -> float | None:
    """Time at which the video begins; ``None`` for a file without one."""
    if not container.streams.video:
        return None
    video = container.streams.video[0]
    if video.start_time is None or video.time_base is None:
        return None
    return float(video.start_time * video.time_base)
