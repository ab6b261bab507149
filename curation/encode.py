"""Encoding: the frames of one kept span, upright, square pixels, constant frame rate, H.264.

Each output frame shows the source frame nearest in time, so a change of frame rate moves no
picture by more than half a source frame and shifts none on average. Interlaced sources are
deinterlaced, HDR is mapped to BT.709.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av
import numpy as np
from av.filter import Graph
from av.video.frame import VideoFrame

from curation.recipe import PackSettings
from manifests.reasons import Reason
from manifests.span import Span
from manifests.x264 import SAME_BYTES
from stages.decode import DecodeCount, raw_frames
from stages.errors import MediaError
from stages.facts import SourceFacts

HDR_TRANSFERS = {16: "smpte2084", 18: "arib-std-b67"}
"""PQ and HLG by their numbers in ITU-T H.273, table 3, as swscale calls them."""

_TURNS = {90: ("transpose", "clock"), 270: ("transpose", "cclock")}


@dataclass(frozen=True)
class EncodedSpan:
    """One span as H.264 in MP4.

    Attributes:
        data: the file.
        width_px: width of the picture.
        height_px: height of the picture.
        scale: output pixels per shown source pixel, x and y.
        shown_pts: (N,) int64, pts of the source frame each output frame shows.
        num_frames_in_span: source frames inside the span.
    """

    data: bytes
    width_px: int
    height_px: int
    scale: tuple[float, float]
    shown_pts: np.ndarray
    num_frames_in_span: int


def encode_span(
    facts: SourceFacts, span: Span, settings: PackSettings, count: DecodeCount
) -> EncodedSpan:
    """Decode one span and encode it.

    Args:
        facts: the source.
        span: the span, in the time base of the source's video.
        settings: how to pack.
        count: counter of the decode.

    Returns:
        The encoded span: ``floor(duration * frame rate)`` frames.

    Raises:
        MediaError: the span holds no frame.
    """
    width, height = output_size(facts, settings.max_side_px)
    num_wanted = max(1, span.duration * settings.frame_rate_fps // 1)
    reader = _SpanReader(facts, span, count)
    shown: list[int] = []
    # The index is moved to the front at the end, for which FFmpeg opens the file anew.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        _encode(path, facts, reader, settings, (width, height), num_wanted, shown)
        data = path.read_bytes()
    return EncodedSpan(
        data=data,
        width_px=width,
        height_px=height,
        scale=(width / facts.video.width_px, height / facts.video.height_px),
        shown_pts=np.array(shown, np.int64),
        num_frames_in_span=reader.num_frames,
    )


def _encode(
    path: Path,
    facts: SourceFacts,
    reader: _SpanReader,
    settings: PackSettings,
    size: tuple[int, int],
    num_wanted: int,
    shown: list[int],
) -> None:
    """Write the frames to a file; the pts of the frames shown are appended to ``shown``."""
    width, height = size
    frames = nearest(reader.frames(), reader.start, settings.frame_rate_fps, num_wanted)
    first = next(frames, None)
    if first is None:
        raise MediaError(facts.uri, Reason.UNREADABLE, f"no frame from {float(reader.start):.3f} s")
    container_options = {"movflags": "+faststart", "fflags": "+bitexact"}
    with av.open(str(path), "w", format="mp4", options=container_options) as out:
        stream = out.add_stream("libx264", rate=settings.frame_rate_fps)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        keyint = max(1, round(settings.keyframe_every_s * settings.frame_rate_fps))
        structure = (f"keyint={keyint}", f"min-keyint={keyint}", "scenecut=0", "threads=1")
        stream.options = {
            "crf": str(settings.crf),
            "preset": settings.preset,
            "x264-params": ":".join(structure + SAME_BYTES),
        }
        shaper = _Shaper(facts, width, height)
        shaped: VideoFrame | None = None
        for frame in chain([first], frames):
            # A deinterlacer counts in another time base than the stream.
            source_pts = round(_time(frame) / facts.video.time_base)
            if shaped is None or shown[-1] != source_pts:
                shaped = shaper.shape(frame)
            if not shown:
                _tag_colours(stream.codec_context, shaped)
            shaped.pts = len(shown)
            shaped.time_base = Fraction(1, settings.frame_rate_fps)
            shown.append(source_pts)
            out.mux(stream.encode(shaped))
        out.mux(stream.encode(None))


def _tag_colours(context: av.VideoCodecContext, frame: VideoFrame) -> None:
    """Tell players how the numbers are meant, as far as the source said so."""
    context.colorspace = frame.colorspace
    context.color_trc = frame.color_trc
    context.color_primaries = frame.color_primaries
    context.color_range = frame.color_range


def output_size(facts: SourceFacts, max_side_px: int) -> tuple[int, int]:
    """Size of the packed picture: as shown, even, no side above the limit.

    Args:
        facts: the source.
        max_side_px: limit of the longer side, ``0`` for none.

    Returns:
        Width and height.
    """
    width, height = facts.video.width_px, facts.video.height_px
    ratio = min(1.0, max_side_px / max(width, height)) if max_side_px else 1.0
    return (max(2, int(width * ratio / 2) * 2), max(2, int(height * ratio / 2) * 2))


def nearest(
    frames: Iterator[VideoFrame], start: Fraction, rate_fps: int, num_wanted: int
) -> Iterator[VideoFrame]:
    """Choose for each output time the frame nearest to it.

    Args:
        frames: frames with ascending pts.
        start: time of the first output frame, on the clock of the frames.
        rate_fps: output frame rate.
        num_wanted: number of output frames.

    Yields:
        Exactly ``num_wanted`` frames, unless there is none at all; a frame may come repeatedly.
    """
    held: VideoFrame | None = None
    number = 0
    for frame in frames:
        if held is not None:
            middle = (_time(held) + _time(frame)) / 2
            while number < num_wanted and start + Fraction(number, rate_fps) <= middle:
                yield held
                number += 1
        if number >= num_wanted:
            return
        held = frame
    while held is not None and number < num_wanted:
        yield held
        number += 1


def _pts(frame: VideoFrame) -> int:
    assert frame.pts is not None  # readers drop frames without a time stamp
    return frame.pts


def _time(frame: VideoFrame) -> Fraction:
    assert frame.time_base is not None
    return _pts(frame) * frame.time_base


class _SpanReader:
    """Frames of a span, deinterlaced where needed, counted."""

    def __init__(self, facts: SourceFacts, span: Span, count: DecodeCount) -> None:
        self._facts = facts
        self._span = span
        self._count = count
        self.start = span.start_time
        self.num_frames = 0

    def frames(self) -> Iterator[VideoFrame]:
        inside = self._inside()
        return _deinterlaced(inside) if self._facts.video.is_interlaced else inside

    def _inside(self) -> Iterator[VideoFrame]:
        self._count.num_passes += 1
        last = self._span.start - 1
        for frame in raw_frames(self._facts, self._count, start=self._span.start_time):
            if frame.pts is None or frame.pts <= last:
                continue
            if frame.pts >= self._span.end:
                return
            last = frame.pts
            self.num_frames += 1
            yield frame


def _deinterlaced(frames: Iterator[VideoFrame]) -> Iterator[VideoFrame]:
    """One frame out for each frame in; the pts are kept."""
    graph: Graph | None = None
    for frame in frames:
        if graph is None:
            graph = _graph(frame, [("bwdif", "mode=send_frame:deint=all")])
        graph.push(frame)
        yield from _pulled(graph)
    if graph is not None:
        graph.push(None)
        yield from _pulled(graph)


class _Shaper:
    """Brings frames to their final size, orientation, range and colours."""

    def __init__(self, facts: SourceFacts, width: int, height: int) -> None:
        self._video = facts.video
        self._size = (width, height)
        self._key: tuple[int, int, str] | None = None
        self._graph: Graph | None = None

    def shape(self, frame: VideoFrame) -> VideoFrame:
        key = (frame.width, frame.height, frame.format.name)
        if self._graph is None or key != self._key:
            self._graph = _graph(frame, self._filters())
            self._key = key
        self._graph.push(frame)
        return next(_pulled(self._graph))

    def _filters(self) -> list[tuple[str, str]]:
        width, height = self._size
        rotation = self._video.rotation_deg
        if rotation in (90, 270):
            width, height = height, width
        scale = f"{width}:{height}:flags=bicubic+accurate_rnd:out_range=tv"
        if self._video.transfer in HDR_TRANSFERS:
            # swscale of FFmpeg 8 maps tones and gamut itself.
            scale += f":in_transfer={HDR_TRANSFERS[self._video.transfer]}:in_primaries=bt2020"
            scale += ":in_color_matrix=bt2020:out_transfer=bt709:out_primaries=bt709"
            scale += ":out_color_matrix=bt709:intent=perceptual"
        filters = [("scale", scale)]
        if rotation == 180:
            filters += [("hflip", ""), ("vflip", "")]
        elif rotation:
            filters.append(_TURNS[rotation])
        return [*filters, ("setsar", "1"), ("format", "yuv420p")]


def _graph(frame: VideoFrame, filters: list[tuple[str, str]]) -> Graph:
    graph = Graph()
    nodes = [
        graph.add_buffer(
            width=frame.width,
            height=frame.height,
            format=frame.format,
            time_base=frame.time_base,
        ),
        *(graph.add(name, arguments or None) for name, arguments in filters),
        graph.add("buffersink"),
    ]
    graph.link_nodes(*nodes).configure()
    return graph


def _pulled(graph: Graph) -> Iterator[VideoFrame]:
    while True:
        try:
            frame = graph.pull()
            assert isinstance(frame, VideoFrame)
            yield frame
        except (av.BlockingIOError, av.EOFError):
            return
