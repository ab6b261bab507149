"""The frames of a crop: found by key frame, decoded up to the last one used, cut and scaled.

Frames before the crop are decoded only from the last key frame before it, frames behind it never,
and only frames of the crop are turned into RGB. Not here: which frames to take (`speech_crops.py`).
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import av
import torch
from av.container import InputContainer
from av.filter import Graph
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from training.data.books import BadReason, BadSampleError, ReadWork
from training.data.picture_fit import PictureFit

_UNBIASED = "bilinear+accurate_rnd"
"""Of chroma while turning into RGB; without accurate rounding red comes out one level too high."""


@dataclass(frozen=True)
class PackedVideo:
    """What the header of a packed video says.

    Attributes:
        fps: frames a second, constant.
        num_frames: frames in it.
        width_px: width of the picture.
        height_px: height of the picture.
    """

    fps: Fraction
    num_frames: int
    width_px: int
    height_px: int


class VideoReader:
    """A packed video, opened once for its header and its frames.

    Args:
        data: bytes of the mp4.

    Raises:
        BadSampleError: it cannot be opened.
    """

    def __init__(self, data: bytes) -> None:
        try:
            self._container: InputContainer = av.open(io.BytesIO(data), mode="r")
            self._stream: VideoStream = self._container.streams.video[0]
        except (av.FFmpegError, IndexError) as error:
            raise BadSampleError(BadReason.VIDEO_UNREADABLE, str(error)) from error
        # One thread a worker and many workers; by default the decoder paints over damage.
        self._stream.thread_type = "NONE"
        self._stream.codec_context.thread_count = 1
        self._stream.codec_context.options = {"err_detect": "explode"}
        if self._stream.average_rate is None or self._stream.time_base is None:
            raise BadSampleError(BadReason.VIDEO_UNREADABLE, "no frame rate in its header")
        self.header = PackedVideo(
            self._stream.average_rate,
            self._stream.frames,
            self._stream.codec_context.width,
            self._stream.codec_context.height,
        )

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(self, *exception: object) -> None:
        self._container.close()

    def read(self, first: int, num: int, fit: PictureFit, work: ReadWork) -> torch.Tensor:
        """Decode consecutive frames.

        Args:
            first: number of the first one, from 0.
            num: T, how many.
            fit: how the picture is brought to its size.
            work: the frames decoded and used are added to it.

        Returns:
            [3, T, H, W] uint8, RGB.

        Raises:
            BadSampleError: a frame is missing or damaged.
        """
        frames_THWC = torch.empty(num, fit.height_px, fit.width_px, 3, dtype=torch.uint8)
        shape = FrameShaper(fit)
        found = 0
        try:
            for number, frame in self._from(first, work):
                if number < first:
                    continue
                if number != first + found:
                    break
                frames_THWC[found] = shape(frame)
                found += 1
                if found == num:
                    break
        except av.FFmpegError as error:
            detail = f"after frame {first + found}: {error}"
            raise BadSampleError(BadReason.VIDEO_UNREADABLE, detail) from error
        if found < num:
            raise BadSampleError(
                BadReason.TOO_FEW_FRAMES,
                f"frame {first + found} is missing of frames {first} to {first + num - 1}",
            )
        work.num_frames_used += num
        return frames_THWC.permute(3, 0, 1, 2)

    def _from(self, first: int, work: ReadWork) -> Iterator[tuple[int, VideoFrame]]:
        """Yield numbers and frames from the key frame at or before ``first`` on."""
        stream = self._stream
        assert stream.time_base is not None
        origin = stream.start_time or 0
        ticks = 1 / (self.header.fps * stream.time_base)
        if first > 0:
            self._container.seek(origin + int(first * ticks), stream=stream, backward=True)
        for frame in self._container.decode(stream):
            work.num_frames_decoded += 1
            if frame.pts is not None:
                yield round((frame.pts - origin) / ticks), frame


class FrameShaper:
    """Cuts, scales and mirrors the frames of one video, turning them into RGB last.

    Scaling YUV 4:2:0 and turning the result into RGB takes about half of the time of doing both at
    once.

    Args:
        fit: what is cut out, and its size afterwards.
    """

    def __init__(self, fit: PictureFit) -> None:
        self._fit = fit
        self._graph: Graph | None = None

    def __call__(self, frame: VideoFrame) -> torch.Tensor:
        """Bring one frame to its size, [H, W, 3] uint8 RGB."""
        if self._graph is None:
            self._graph = _graph(frame, self._fit)
        self._graph.push(frame)
        shaped = self._graph.pull()
        assert isinstance(shaped, VideoFrame)
        return torch.from_numpy(shaped.to_ndarray())


def _graph(frame: VideoFrame, fit: PictureFit) -> Graph:
    filters = [
        ("crop", f"{fit.cut_width_px}:{fit.cut_height_px}:{fit.left_px}:{fit.top_px}"),
        ("scale", f"{fit.width_px}:{fit.height_px}:flags=bicubic"),
        ("format", "yuv420p"),
        ("scale", f"flags={_UNBIASED}"),
        ("format", "rgb24"),
        *([("hflip", None)] if fit.is_mirrored else []),
    ]
    graph = Graph()
    graph.threads = 1
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base
    )
    made = [graph.add(name, arguments) for name, arguments in filters]
    graph.link_nodes(source, *made, graph.add("buffersink")).configure()
    return graph
