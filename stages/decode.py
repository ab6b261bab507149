"""The single decode: frames of one source, in order, with cheap views that observers share.

One thread a decode: two cost a fifth more CPU a frame and gain little (design, section 5).
Pictures are reached through :class:`FrameView`, in *shown* geometry: upright, square pixels.
No view converts the whole picture: thumbnails and crops are cut from the YUV planes, so that a
1080p frame costs tenths of a millisecond beyond its decode.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import IO

import av
import cv2
import numpy as np
from av.video.frame import VideoFrame

from manifests.frame_times import with_shown_times
from manifests.reasons import Reason
from stages.errors import MediaError
from stages.facts import SourceFacts, VideoFacts

MAX_VIEW_PX = 2160
"""Planes with a longer side are reduced before any view; bounds the memory of a worker."""

SEEK_BACK_S = 5
"""Where a seek went too far it is tried again from so much earlier."""

_PLANAR_420 = frozenset({"yuv420p", "yuvj420p"})
_ROTATIONS = {
    90: cv2.ROTATE_90_CLOCKWISE,
    180: cv2.ROTATE_180,
    270: cv2.ROTATE_90_COUNTERCLOCKWISE,
}


@dataclass
class DecodeCount:
    """Counts the work of decoding; the proof that every source is decoded once."""

    num_passes: int = 0
    num_frames: int = 0
    num_corrupt: int = 0


@dataclass(frozen=True)
class Crop:
    """A square cut of a frame.

    Attributes:
        picture: RGB (size, size, 3), uint8, upright.
        left_px: left border of the cut, in shown pixels; may lie outside of the picture.
        top_px: upper border, in shown pixels.
        width_px: width of the cut, in shown pixels.
        height_px: height of the cut, in shown pixels.
    """

    picture: np.ndarray
    left_px: float
    top_px: float
    width_px: float
    height_px: float


class FrameView:
    """One decoded frame and its cheap views, each made once and shared by all observers.

    Attributes:
        index: number of the frame in this pass, from 0.
        pts: presentation time in units of the stream's time base.
        time_s: presentation time in seconds.
        is_corrupt: the decoder marked the frame as damaged.
        faces: box (left, top, right, bottom in shown pixels) of every face that is followed into
            this frame, by the number of its track; the tracker writes it, observers after it read.

    Args:
        frame: the decoded frame.
        index: number of the frame in this pass.
        pts: its time stamp.
        video: facts of its stream.
    """

    def __init__(self, frame: VideoFrame, index: int, pts: int, video: VideoFacts) -> None:
        self.index = index
        self.pts = pts
        self.time_s = float(pts * video.time_base)
        self.is_corrupt = bool(frame.is_corrupt)
        self.faces: dict[int, np.ndarray] = {}
        self._frame = frame
        self._video = video
        self._planes: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None
        self._thumbnails: dict[int, np.ndarray] = {}

    def thumbnail(self, max_side_px: int) -> np.ndarray:
        """The whole picture, small.

        Args:
            max_side_px: longer side of the result.

        Returns:
            RGB picture (H, W, 3), uint8, upright with square pixels; do not write into it.
        """
        if max_side_px not in self._thumbnails:
            video = self._video
            ratio = min(1.0, max_side_px / max(video.width_px, video.height_px))
            width = max(2, round(video.width_px * ratio / 2) * 2)
            height = max(2, round(video.height_px * ratio / 2) * 2)
            if video.rotation_deg in (90, 270):
                width, height = height, width
            planes = self._yuv()
            small = _to_rgb(
                *(
                    cv2.resize(
                        plane, (width // step, height // step), interpolation=cv2.INTER_LINEAR
                    )
                    for plane, step in zip(planes, (1, 2, 2), strict=True)
                )
            )
            self._thumbnails[max_side_px] = self._upright(small)
        return self._thumbnails[max_side_px]

    def crop(self, centre_x_px: float, centre_y_px: float, side_px: float, size: int) -> Crop:
        """A square cut from the picture at full resolution; black beyond its border.

        The cut is snapped to even coded pixels (large ones to a number of them that can be halved
        again and again), so that positions found in it map back exactly; the rectangle that was
        really cut comes with it.

        Args:
            centre_x_px: centre of the square, in shown pixels.
            centre_y_px: centre of the square, in shown pixels.
            side_px: side of the square, in shown pixels.
            size: side of the result, even.

        Returns:
            The picture and where it lies.
        """
        planes = self._yuv()
        video = self._video
        rows, columns = planes[0].shape
        sideways = video.rotation_deg in (90, 270)
        to_columns = columns / (video.height_px if sideways else video.width_px)
        to_rows = rows / (video.width_px if sideways else video.height_px)
        x, y = self._to_coded(centre_x_px / video.width_px, centre_y_px / video.height_px)
        shrink = min(side_px * to_columns, side_px * to_rows) / size
        step = 2 << math.floor(math.log2(max(shrink, 1)))
        width = max(4, step * round(side_px * to_columns / step))
        height = max(4, step * round(side_px * to_rows / step))
        left = 2 * round((x * columns - width / 2) / 2)
        top = 2 * round((y * rows - height / 2) / 2)
        luma = _cut(planes[0], left, top, width, height, size, 16)
        chroma = [
            _cut(plane, left // 2, top // 2, width // 2, height // 2, size // 2, 128)
            for plane in planes[1:]
        ]
        corners = [
            self._to_shown(column / columns, row / rows)
            for column, row in ((left, top), (left + width, top + height))
        ]
        xs = sorted(corner[0] * video.width_px for corner in corners)
        ys = sorted(corner[1] * video.height_px for corner in corners)
        picture = self._upright(_to_rgb(luma, *chroma))
        return Crop(picture, xs[0], ys[0], xs[1] - xs[0], ys[1] - ys[0])

    def luma(self) -> np.ndarray:
        """The luma plane as coded (coded height, coded width), uint8; do not write into it."""
        return self._yuv()[0]

    def _to_coded(self, x: float, y: float) -> tuple[float, float]:
        rotation = self._video.rotation_deg
        if rotation == 90:
            return y, 1 - x
        if rotation == 180:
            return 1 - x, 1 - y
        if rotation == 270:
            return 1 - y, x
        return x, y

    def _to_shown(self, x: float, y: float) -> tuple[float, float]:
        rotation = self._video.rotation_deg
        if rotation == 90:
            return 1 - y, x
        if rotation == 180:
            return 1 - x, 1 - y
        if rotation == 270:
            return y, 1 - x
        return x, y

    def _upright(self, picture: np.ndarray) -> np.ndarray:
        rotation = self._video.rotation_deg
        return cv2.rotate(picture, _ROTATIONS[rotation]) if rotation else picture

    def _yuv(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        if self._planes is None:
            frame = self._frame
            longer = max(frame.width, frame.height)
            if frame.format.name not in _PLANAR_420 or longer > MAX_VIEW_PX:
                ratio = min(1.0, MAX_VIEW_PX / longer)
                frame = frame.reformat(
                    width=max(2, round(frame.width * ratio / 2) * 2),
                    height=max(2, round(frame.height * ratio / 2) * 2),
                    format="yuv420p",
                    interpolation="FAST_BILINEAR",
                )
            self._planes = (_plane(frame, 0), _plane(frame, 1), _plane(frame, 2))
        return self._planes


def decode_frames(
    facts: SourceFacts,
    count: DecodeCount,
    *,
    start: Fraction | None = None,
    end: Fraction | None = None,
) -> Iterator[FrameView]:
    """Decode the frames of a source in order of presentation.

    Frames without a time stamp, or whose time stamp does not grow, are skipped. Damage ends in
    fewer frames, not in an error; a source of which no frame can be decoded is an error.

    Args:
        facts: the source.
        count: counter to add to.
        start: first time wanted, on the stream's own clock; ``None`` for the first frame.
        end: time at which to stop, exclusive; ``None`` for the last frame.

    Yields:
        Frames.

    Raises:
        MediaError: not one frame could be decoded.
    """
    video = facts.video
    count.num_passes += 1
    num_yielded = 0
    last_pts: int | None = None
    first_pts = None if start is None else -(-start // video.time_base)
    for frame in raw_frames(facts, count, start=start):
        if frame.pts is None or (last_pts is not None and frame.pts <= last_pts):
            continue
        if first_pts is not None and frame.pts < first_pts:
            continue
        if end is not None and frame.pts * video.time_base >= end:
            break
        last_pts = frame.pts
        yield FrameView(frame, num_yielded, frame.pts, video)
        num_yielded += 1
    if num_yielded == 0 and start is None:
        raise MediaError(facts.uri, Reason.UNREADABLE, "no frame of the video could be decoded")


def raw_frames(
    facts: SourceFacts, count: DecodeCount, *, start: Fraction | None = None
) -> Iterator[VideoFrame]:
    """Decode frames as PyAV gives them, from the key frame at or before ``start``.

    Some containers seek too far (MPEG-TS has no index, open GOPs begin with frames that cannot
    be decoded); then it is tried from further ahead, in the end from the beginning.

    Args:
        facts: the source.
        count: counter to add to.
        start: time to seek to, on the stream's own clock; ``None`` for the beginning.

    Yields:
        Frames, those before ``start`` included.
    """
    targets: list[Fraction | None] = [None]
    if start is not None and start > facts.video.start_time:
        targets = [start, start - SEEK_BACK_S, None]
    for target in targets:
        frames = _frames_from(facts, count, target)
        first = next(frames, None)
        is_early = (
            first is not None
            and first.pts is not None
            and (start is None or first.pts * facts.video.time_base <= start)
        )
        if target is None or is_early:
            if first is not None:
                yield first
            yield from frames
            return


def _frames_from(
    facts: SourceFacts, count: DecodeCount, target: Fraction | None
) -> Iterator[VideoFrame]:
    with open_container(facts.uri) as container:
        stream = container.streams[facts.video.index]
        stream.codec_context.thread_count = 1
        stream.thread_type = "NONE"
        if target is not None:
            container.seek(int(target // facts.video.time_base), stream=stream, backward=True)
        for frame in with_shown_times(_decoded(container, stream), container, stream):
            count.num_frames += 1
            count.num_corrupt += bool(frame.is_corrupt)
            yield frame


def open_container(uri: str) -> av.container.InputContainer:
    """Open a source for reading, local or on any fsspec filesystem.

    Args:
        uri: local path or fsspec URL.

    Returns:
        The open container.

    Raises:
        MediaError: it cannot be opened as media.
    """
    try:
        return av.open(_local_or_file(uri), metadata_errors="replace")
    except av.FFmpegError as error:
        raise MediaError(uri, Reason.UNREADABLE, f"cannot be opened as media: {error}") from error


def _local_or_file(uri: str) -> str | IO[bytes]:
    if "://" not in uri:
        return f"file:{uri}"
    import fsspec

    return fsspec.open(uri, "rb").open()  # type: ignore[no-any-return]


def _decoded(
    container: av.container.InputContainer, stream: av.VideoStream
) -> Iterator[VideoFrame]:
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except av.FFmpegError:
            return
        yield from _decode(packet)


def _decode(packet: av.Packet) -> list[VideoFrame]:
    try:
        return packet.decode()  # type: ignore[return-value]
    except av.FFmpegError:
        return []


def _plane(frame: VideoFrame, number: int) -> np.ndarray:
    plane = frame.planes[number]
    rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
    return rows[: plane.height, : plane.width]


def _to_rgb(y_plane: np.ndarray, u_plane: np.ndarray, v_plane: np.ndarray) -> np.ndarray:
    height, width = y_plane.shape
    packed = np.empty((height * 3 // 2, width), np.uint8)
    packed[:height] = y_plane
    packed[height:].reshape(-1)[: u_plane.size] = u_plane.reshape(-1)
    packed[height:].reshape(-1)[u_plane.size :] = v_plane.reshape(-1)
    return cv2.cvtColor(packed, cv2.COLOR_YUV2RGB_I420)


def _cut(
    plane: np.ndarray, left: int, top: int, width: int, height: int, size: int, fill: int
) -> np.ndarray:
    """Cut a rectangle, which may reach beyond the plane, and scale it to size x size."""
    rows, columns = plane.shape
    x0, y0 = max(0, left), max(0, top)
    x1, y1 = min(columns, left + width), min(rows, top + height)
    if x1 <= x0 or y1 <= y0:
        return np.full((size, size), fill, np.uint8)
    part = plane[y0:y1, x0:x1]
    if part.shape != (height, width):
        whole = np.full((height, width), fill, np.uint8)
        whole[y0 - top : y1 - top, x0 - left : x1 - left] = part
        part = whole
    # Halved by the mean over 2 x 2, then bilinear by less than a half: as free of aliasing as the
    # mean over fractional cells, and ten times as fast.
    while min(part.shape) >= 2 * size:
        half = (part.shape[1] // 2, part.shape[0] // 2)
        part = cv2.resize(part, half, interpolation=cv2.INTER_AREA)
    return cv2.resize(part, (size, size), interpolation=cv2.INTER_LINEAR)
