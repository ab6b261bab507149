"""Sound of a file as blocks of samples, at any rate, starting at the file's time zero.

Not in the room: what sound is good enough (`recording`) and how it is written (`video_writer`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.audio.resampler import AudioResampler

from training.errors import InputError
from training.generation.inputs import Notices


@dataclass(frozen=True)
class SoundFacts:
    """What the header says of a file's first audio stream."""

    rate_hz: int
    num_channels: int


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
            return SoundFacts(context.sample_rate, max(1, context.layout.nb_channels))
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
        InputError: If nothing of it can be decoded.
    """
    resampler = AudioResampler(
        format="fltp", layout="mono" if num_channels == 1 else "stereo", rate=rate_hz
    )
    num_given = 0
    try:
        with av.open(str(path)) as container:
            stream = container.streams.audio[0]
            begin_s = _begin_s(container)
            skip: int | None = None
            for frame in container.decode(stream):
                if skip is None:
                    skip = round((begin_s - (frame.time or 0.0)) * rate_hz) if begin_s else 0
                    if skip < 0:
                        yield np.zeros((num_channels, -skip), np.float32)
                frame.pts = (
                    None  # The resampler would fill gaps; sound runs on, as players have it.
                )
                for out in resampler.resample(frame):
                    block = out.to_ndarray()
                    if skip > 0:
                        block, skip = block[:, skip:], max(0, skip - block.shape[1])
                    num_given += block.shape[1]
                    yield block
            for out in resampler.resample(None):
                num_given += out.samples
                yield out.to_ndarray()
    except av.error.FFmpegError as error:
        if not num_given:
            raise InputError(f"{path}: its sound cannot be decoded ({error})") from error
        if notices is not None:
            notices.say(path, f"damaged after {num_given / rate_hz:.2f} s; used up to there")


def _begin_s(container: av.container.InputContainer) -> float:
    """Time at which the video begins, 0 for a file without one."""
    if not container.streams.video:
        return 0.0
    video = container.streams.video[0]
    if video.start_time is None or video.time_base is None:
        return 0.0
    return float(video.start_time * video.time_base)
