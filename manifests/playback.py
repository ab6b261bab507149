"""Do a sample's video and audio play, and how long, going by what decodes and not by the header.

Not here: whether the two fit each other, and what is to be seen or heard. PyAV is imported by the
call: every `shards` command imports this module, and few decode.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream


@dataclass(frozen=True)
class Played:
    """Media that decodes.

    Attributes:
        duration: Exact seconds from the start of the first frame to the end of the last.
        frame_duration: Exact seconds of its last frame (for audio, of one sample).
        num_frames: Frames in it, decoded or not (for audio, samples).
    """

    duration: Fraction
    frame_duration: Fraction
    num_frames: int


@dataclass(frozen=True)
class Unplayable:
    """Media that does not decode, and what the decoder said."""

    reason: str


def play_video(data: bytes) -> Played | Unplayable:
    """Decode the first and the last frame of a video, and count all of them.

    The last is reached from the key frame before it, so the cost is one group of pictures, not the
    whole clip. A last frame that ends before the header's duration says so is not the last.

    Args:
        data: The bytes of an mp4.

    Returns:
        How long it plays, or why it does not.
    """
    import av

    try:
        with av.open(io.BytesIO(data), mode="r") as container:
            if not container.streams.video:
                return Unplayable("no video stream")
            num_frames = sum(packet.size > 0 for packet in container.demux(video=0))
            container.seek(0)
            return _play_ends(container, container.streams.video[0], num_frames)
    except av.FFmpegError as error:
        return Unplayable(str(error))


def play_audio(data: bytes) -> Played | Unplayable:
    """Decode all of an audio file and count its samples.

    Args:
        data: The bytes of a flac.

    Returns:
        How long it plays, or why it does not.
    """
    import av

    try:
        with av.open(io.BytesIO(data), mode="r") as container:
            if not container.streams.audio:
                return Unplayable("no audio stream")
            stream = container.streams.audio[0]
            num_samples = sum(frame.samples for frame in container.decode(stream))
            if num_samples == 0:
                return Unplayable("no samples")
            length = Fraction(num_samples, stream.rate)
            return Played(length, Fraction(1, stream.rate), num_samples)
    except av.FFmpegError as error:
        return Unplayable(str(error))


def _play_ends(
    container: InputContainer, stream: VideoStream, num_frames: int
) -> Played | Unplayable:
    # By default the decoder paints over damage; here damage is what we look for.
    stream.codec_context.options = {"err_detect": "explode"}
    first = next(container.decode(stream), None)
    if first is None or stream.time_base is None:
        return Unplayable("no first frame")
    declared_end = None if stream.duration is None else (stream.start_time or 0) + stream.duration
    if declared_end is not None:
        container.seek(declared_end - 1, stream=stream)
    last = max(container.decode(stream), key=_pts, default=first)
    frame_ticks = _frame_ticks(last, stream.average_rate, stream.time_base)
    end = _pts(last) + frame_ticks
    if declared_end is not None and end + frame_ticks < declared_end:
        end_s, declared_s = (float(ticks * stream.time_base) for ticks in (end, declared_end))
        return Unplayable(f"last frame ends at {end_s:.3f} s, but the header says {declared_s:.3f}")
    duration = (end - _pts(first)) * stream.time_base
    return Played(duration, frame_ticks * stream.time_base, num_frames)


def _pts(frame: VideoFrame) -> int:
    return 0 if frame.pts is None else frame.pts  # mp4 gives every frame its time


def _frame_ticks(frame: VideoFrame, rate: Fraction | None, time_base: Fraction) -> Fraction:
    """Return how long a frame shows: what it says itself, else one frame at the average rate."""
    if frame.duration or not rate:
        return Fraction(frame.duration or 0)
    return 1 / (rate * time_base)
