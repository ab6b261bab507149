"""When a decoded frame is shown, in containers that know only the order of decoding.

AVI counts its pictures in the order in which they are stored. Where B-frames are, that is not the
order in which they are shown, and FFmpeg's guesses are a frame late (MPEG-4, MPEG-2) or out of
order (H.264). Not here: containers with presentation times, which are taken at their word.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

STORED_ORDER_FORMATS = frozenset({"avi"})


def with_shown_times(
    frames: Iterable[VideoFrame], container: InputContainer, stream: VideoStream
) -> Iterator[VideoFrame]:
    """Give decoded frames the times at which they are shown.

    A decoder that holds back n pictures to put them in order gives out a frame when it is fed the
    n-th packet after the one in whose place the frame is shown. So the frame is shown n places
    before that packet; a place is one tick of an AVI's stream, and pictures left out leave
    theirs empty. Each frame is placed on its own, so that damage before it does not move it. The
    same is done by mpv (``crazy_video_pts_stuff`` in ``filters/f_decoder_wrapper.c``).

    Args:
        frames: frames of one stream in the order in which the decoder gives them.
        container: what they are read from.
        stream: their stream; its decoder knows how many pictures it holds back.

    Yields:
        The same frames.
    """
    if container.format.name not in STORED_ORDER_FORMATS:
        yield from frames
        return
    last: int | None = None
    for frame in frames:
        if frame.dts is not None:
            frame.pts = frame.dts - stream.codec_context.reorder_depth
        elif last is not None:  # Held back until the end of the file: no packet let it out.
            frame.pts = last + 1
        last = frame.pts
        yield frame
