"""Frames of a video file for the metrics: one at a time, upright, on the file's own clock.

A frame is never kept longer than a metric needs it, so that a clip of any length fits. Two files
of different frame rates are compared at equal times, each with the frame that shows then. Pixels
are those that are stored: a file whose pixels are not square is not stretched.

Shape letters: H W picture, C = red, green, blue.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.video.frame import VideoFrame

from training.errors import InputError

SLACK_S = 1e-3
"""Matroska rounds time stamps to 1 ms; a frame this late still counts as shown."""


@dataclass(frozen=True)
class Shown:
    """One frame.

    Attributes:
        time_s: seconds from the first frame of the file.
        picture_HWC: uint8, upright.
    """

    time_s: float
    picture_HWC: np.ndarray


def iter_frames(path: Path) -> Iterator[tuple[float, VideoFrame]]:
    """Decode a video once, in the order of presentation; what is damaged is passed over.

    How much is damaged, the curation run tells (`picture.corrupt_ratio`).

    Args:
        path: the file.

    Yields:
        Seconds from the first frame, and the frame.

    Raises:
        InputError: it cannot be decoded, or holds no picture.
    """
    first_s: float | None = None
    try:
        with av.open(str(path), metadata_errors="replace") as container:
            if not container.streams.video:
                raise InputError(f"{path}: holds no video stream")
            stream = container.streams.video[0]
            stream.thread_count = 1
            for packet in container.demux(stream):
                try:
                    frames = packet.decode()
                except av.error.InvalidDataError:
                    continue
                for frame in frames:
                    if frame.time is None:
                        continue
                    first_s = frame.time if first_s is None else first_s
                    yield frame.time - first_s, frame
    except av.FFmpegError as error:
        raise InputError(f"{path}: cannot be decoded: {error}; check it with `ffprobe`") from error
    if first_s is None:
        raise InputError(f"{path}: holds no frame")


def picture(frame: VideoFrame, size_px: tuple[int, int] | None = None) -> np.ndarray:
    """Convert a frame to RGB, upright.

    Args:
        frame: decoded frame.
        size_px: width and height wanted, after turning; the frame's own by default.

    Returns:
        (H, W, C) uint8.
    """
    turns = (getattr(frame, "rotation", 0) // 90) % 4
    width, height = size_px or (None, None)
    if turns % 2:
        width, height = height, width
    made = frame.to_ndarray(format="rgb24", width=width, height=height, interpolation="AREA")
    return np.ascontiguousarray(np.rot90(made, turns)) if turns else made


def shown_at(
    path: Path, times_s: Sequence[float], size_px: tuple[int, int] | None = None
) -> Iterator[Shown]:
    """Yield the frame that shows at each of several times.

    Args:
        path: the file.
        times_s: ascending seconds from the first frame; those beyond the last frame's time give
            the last frame.
        size_px: width and height wanted.

    Yields:
        One frame a time, in order.
    """
    wanted = iter(times_s)
    time_s = next(wanted, None)
    last: VideoFrame | None = None
    made: np.ndarray | None = None
    for at_s, frame in iter_frames(path):
        while time_s is not None and last is not None and at_s > time_s + SLACK_S:
            made = picture(last, size_px) if made is None else made
            yield Shown(time_s, made)
            time_s = next(wanted, None)
        if time_s is None:
            return
        last, made = frame, None
    while time_s is not None and last is not None:
        made = picture(last, size_px) if made is None else made
        yield Shown(time_s, made)
        time_s = next(wanted, None)
