"""A source video as upright frames at a constant rate, read as often as needed.

An edit reads its source several times (faces, condition, pasting) instead of keeping it: a second
decode costs little beside a denoising step, and memory stays that of one frame. Frames are given as
they are stored, for an edit leaves every sample outside of its region as it is; pictures are given
with square pixels, for faces and for the model.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.filter import Graph

from training.errors import InputError
from training.generation.decoding import Damage, decoded
from training.generation.inputs import Notices, Size, frame_rate
from training.generation.pixel_formats import Chroma, Fields

_TURNS = {90: ("cclock",), -90: ("clock",), 180: ("clock", "clock"), -180: ("clock", "clock")}
"""FFmpeg's transpose filters that undo a display rotation, which counts anticlockwise."""
_CHROMA = {
    ("yuv420", "yuvj420", "nv12", "nv21", "p010", "gray", "mono", "yuv410"): Chroma.HALF,
    ("yuv422", "yuvj422", "nv16", "p210", "yuyv", "uyvy", "yvyu"): Chroma.ROWS,
}
"""By the beginning of a pixel format's name; all others keep their colour in 4:4:4 only."""
_BOTTOM_FIRST = (3, 4)
"""FFmpeg's ``AVFieldOrder``: BB and TB, whose bottom field is shown first."""
_SLACK_S = 1e-3
"""Matroska rounds time stamps to 1 ms; a frame this late still counts as shown."""
_EVEN_RATIO = 0.02
"""Frame times may stray by this share of a frame before a video counts as uneven."""
_PROBED_FRAMES = 64


@dataclass(frozen=True)
class SourceVideo:
    """What is known of a source before its frames are read.

    Attributes:
        path: the file.
        size: of `pictures`: upright, square pixels.
        stored: of `frames`: upright, pixels as they are stored.
        pixel_aspect: width over height of an upright stored pixel.
        fps: rate at which both come.
        duration_s: seconds, as the header says; 0 if it does not.
        has_sound: whether it has an audio stream.
        chroma: colour resolution of `frames`.
        bits: of a sample of `frames`, 8 or 10.
        fields: of an interlaced source; ``None``: it is none.
        turns: quarter turns that make it upright, as names of FFmpeg's transpose filter.
        is_retimed: whether frames are repeated or left out to come at a constant rate.
    """

    path: Path
    size: Size
    stored: Size
    pixel_aspect: Fraction
    fps: Fraction
    duration_s: float
    has_sound: bool
    chroma: Chroma
    bits: int
    fields: Fields | None
    turns: tuple[str, ...]
    is_retimed: bool

    @classmethod
    def open(cls, path: str | Path, notices: Notices | None = None) -> SourceVideo:
        """Read the header and the first frames.

        Args:
            path: the file.
            notices: where repairs are said.

        Returns:
            The source.

        Raises:
            InputError: If it cannot be read or holds no picture.
        """
        path, notices = Path(path), notices or Notices()
        if not path.exists():
            raise InputError(f"{path}: there is no such file")
        try:
            with av.open(str(path)) as container:
                if not container.streams.video:
                    raise InputError(f"{path}: no picture in it; give a video")
                stream = container.streams.video[0]
                times = []
                first: av.VideoFrame | None = None
                for frame in decoded(container, stream, Damage()):
                    first = first or frame
                    if frame.time is not None:
                        times.append(frame.time)
                    if len(times) == _PROBED_FRAMES:
                        break
                if first is None:
                    raise InputError(f"{path}: no frame of it can be decoded")
                rate = stream.average_rate
                field_order = stream.codec_context.field_order
                aspect = stream.sample_aspect_ratio or Fraction(1)
                has_sound = bool(container.streams.audio)
                duration_s = (container.duration or 0) / av.time_base
        except (av.error.FFmpegError, OSError) as error:
            raise InputError(f"{path}: cannot be read as video ({error})") from error
        stored, turns = Size(first.width, first.height), _TURNS.get(first.rotation, ())
        if turns:
            notices.say(path, f"stored turned by {first.rotation} degrees; turned upright")
        if len(turns) == 1:
            stored, aspect = Size(stored.height_px, stored.width_px), 1 / aspect
        size = _square(stored, aspect)
        if size != stored:
            notices.say(
                path,
                f"its pixels are not square; {stored[0]}x{stored[1]} are seen as "
                f"{size[0]}x{size[1]}",
            )
        fields = None
        if first.interlaced_frame and not turns:
            fields = Fields.BOTTOM_FIRST if field_order in _BOTTOM_FIRST else Fields.TOP_FIRST
            notices.say(path, "interlaced; stays so, and a player shows it as it shows the source")
        bits = 10 if first.format.components[0].bits > 8 else 8
        if bits > 8:
            notices.say(path, "more than 8 bits a sample; 10 are kept, which not all players show")
        is_even = _is_even(times)
        fps = frame_rate(rate, is_even, path, notices)
        return cls(
            path,
            size,
            stored,
            aspect,
            fps,
            duration_s,
            has_sound,
            _chroma(first.format.name, stored),
            bits,
            fields,
            turns,
            is_retimed=not is_even or fps != rate,
        )

    @property
    def pixel_format(self) -> str:
        """Of `frames`, in FFmpeg's words."""
        return self.chroma.pixel_format(self.bits)

    def frames(self, num_frames: int | None = None) -> Iterator[av.VideoFrame]:
        """Decode from the first frame on.

        Args:
            num_frames: stop after so many.

        Returns:
            Frames in `stored` size and `pixel_format`, one each 1 / `fps` s, with the matrix and
            range of the source; of a source at another rate each the one that shows then; over
            what is damaged the frame before stays.
        """
        return itertools.islice(self._shaped(), num_frames)

    def pictures(self, num_frames: int | None = None) -> Iterator[np.ndarray]:
        """Decode the same frames as pictures.

        Args:
            num_frames: stop after so many.

        Yields:
            [H, W, 3] uint8 in `size`.
        """
        width, height = self.size
        for frame in self.frames(num_frames):
            yield frame.to_ndarray(
                format="rgb24", width=width, height=height, interpolation="BICUBIC"
            )

    def _shaped(self) -> Iterator[av.VideoFrame]:
        graph: Graph | None = None
        with av.open(str(self.path)) as container:
            stream = container.streams.video[0]
            for frame in decoded(container, stream, Damage()):
                if graph is None:
                    graph = self._graph(frame, stream.time_base or Fraction(1, 1000))
                graph.push(frame)
                yield from _pulled(graph)
            if graph is not None:
                graph.push(None)
                yield from _pulled(graph)

    def _graph(self, frame: av.VideoFrame, time_base: Fraction) -> Graph:
        graph = Graph()
        buffer = (
            f"video_size={frame.width}x{frame.height}:pix_fmt={frame.format.name}:"
            f"time_base={time_base}:colorspace={frame.colorspace}:range={frame.color_range}"
        )
        # The fps filter gives each moment the frame nearest to it, which is right where frames only
        # stray. Where they are repeated or left out, times are put off by half a frame, so that it
        # gives the frame that shows then.
        late_s = max(0.0, 0.5 / float(self.fps) - _SLACK_S) if self.is_retimed else 0.0
        nodes = [
            graph.add("buffer", buffer),
            graph.add("setpts", f"PTS-STARTPTS+{late_s:.6f}/TB"),
            *(graph.add("transpose", turn) for turn in self.turns),
            graph.add("fps", f"fps={self.fps}:round=near:start_time=0"),
            graph.add("format", self.pixel_format),
            graph.add("buffersink"),
        ]
        for node, following in itertools.pairwise(nodes):
            node.link_to(following)
        graph.configure()
        return graph


def _pulled(graph: Graph) -> Iterator[av.VideoFrame]:
    while True:
        try:
            yield graph.pull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return


def _chroma(pixel_format: str, stored: Size) -> Chroma:
    named = (kept for names, kept in _CHROMA.items() if pixel_format.startswith(names))
    chroma = next(named, Chroma.FULL)
    return chroma if chroma.fits(stored) else Chroma.FULL


def _square(stored: Size, aspect: Fraction) -> Size:
    """Size with square pixels: the height stays, for lines are what is sharpest of old video."""
    if aspect == 1:
        return stored
    return Size(max(2, round(stored.width_px * aspect / 2) * 2), stored.height_px)


def rgb(frame: av.VideoFrame) -> np.ndarray:
    """Return a frame as [H, W, 3] uint8."""
    return frame.to_ndarray(format="rgb24")


def _is_even(times: list[float]) -> bool:
    steps = np.diff(times)
    if len(steps) < 2:
        return True
    return bool(np.abs(steps - np.median(steps)).max() <= max(_EVEN_RATIO * np.median(steps), 2e-3))
