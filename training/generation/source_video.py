"""A source video as upright frames with square pixels at a constant rate, read as often as needed.

An edit reads its source several times (faces, condition, pasting) instead of keeping it: a second
decode costs little beside a denoising step, and memory stays that of one frame.
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

_TURNS = {90: ("cclock",), -90: ("clock",), 180: ("clock", "clock")}
"""FFmpeg's transpose filters that undo a display rotation, which counts anticlockwise."""
_EVEN_RATIO = 0.02
"""Frame times may stray by this share of a frame before a video counts as uneven."""
_PROBED_FRAMES = 64


@dataclass(frozen=True)
class SourceVideo:
    """What is known of a source before its frames are read.

    Attributes:
        path: the file.
        size: upright, square pixels.
        fps: rate at which `frames` delivers.
        has_sound: whether it has an audio stream.
        pixel_format: of the frames that `frames` delivers, yuv420p or yuv444p.
        num_turns: quarter turns that make it upright, as names of FFmpeg's transpose filter.
    """

    path: Path
    size: Size
    fps: Fraction
    has_sound: bool
    pixel_format: str
    num_turns: tuple[str, ...]

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
                aspect = stream.sample_aspect_ratio or Fraction(1)
                has_sound = bool(container.streams.audio)
        except (av.error.FFmpegError, OSError) as error:
            raise InputError(f"{path}: cannot be read as video ({error})") from error
        size = Size(first.width, first.height)
        if aspect and aspect != 1:
            size = Size(max(2, round(first.width * aspect / 2) * 2), first.height)
            notices.say(path, f"its pixels are not square; shown as {size[0]}x{size[1]}")
        turns = _TURNS.get(first.rotation, ())
        if turns:
            notices.say(path, f"stored turned by {first.rotation} degrees; turned upright")
        if len(turns) == 1:
            size = Size(size.height_px, size.width_px)
        fps = frame_rate(rate, _is_even(times), path, notices)
        odd = size.width_px % 2 or size.height_px % 2
        full = first.format.name.startswith("yuv444") or odd
        return cls(path, size, fps, has_sound, "yuv444p" if full else "yuv420p", turns)

    def frames(self, num_frames: int | None = None) -> Iterator[av.VideoFrame]:
        """Decode from the first frame on.

        Args:
            num_frames: stop after so many.

        Returns:
            Frames in `size` and `pixel_format`, one each 1 / `fps` s, the nearest in time; over
            what is damaged the frame before stays.
        """
        return itertools.islice(self._shaped(), num_frames)

    def _shaped(self) -> Iterator[av.VideoFrame]:
        graph: Graph | None = None
        with av.open(str(self.path)) as container:
            stream = container.streams.video[0]
            for frame in decoded(container, stream, Damage()):
                if graph is None:
                    graph = self._graph(frame, stream.time_base)
                graph.push(frame)
                yield from _pulled(graph)
            if graph is not None:
                graph.push(None)
                yield from _pulled(graph)

    def _graph(self, frame: av.VideoFrame, time_base: Fraction | None) -> Graph:
        graph = Graph()
        nodes = [
            graph.add_buffer(
                template=None,
                width=frame.width,
                height=frame.height,
                format=frame.format,
                time_base=time_base,
            )
        ]
        nodes += [graph.add("transpose", turn) for turn in self.num_turns]
        shown = self.size if len(self.num_turns) != 1 else self.size[::-1]
        if (frame.width, frame.height) != tuple(shown):
            nodes.append(graph.add("scale", f"{self.size[0]}:{self.size[1]}:flags=bicubic"))
        nodes += [
            graph.add("fps", f"fps={self.fps}:round=near"),
            graph.add("format", self.pixel_format),
            graph.add("buffersink"),
        ]
        for node, following in itertools.pairwise(nodes):
            node.link_to(following)
        graph.configure()
        return graph


def rgb(frame: av.VideoFrame) -> np.ndarray:
    """Return a frame as [H, W, 3] uint8."""
    return frame.to_ndarray(format="rgb24")


def _pulled(graph: Graph) -> Iterator[av.VideoFrame]:
    while True:
        try:
            yield graph.pull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return


def _is_even(times: list[float]) -> bool:
    steps = np.diff(times)
    if len(steps) < 2:
        return True
    return bool(np.abs(steps - np.median(steps)).max() <= max(_EVEN_RATIO * np.median(steps), 2e-3))
