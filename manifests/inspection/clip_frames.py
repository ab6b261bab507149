"""Frames of a clip at a few times: from its packed video, or from its source.

Only the frames asked for are decoded, each from the key frame before it. A source is read only
while its content is still the one that was measured.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import IO, Any

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from PIL import Image

from manifests.errors import DatasetError, ManifestError
from manifests.frame_times import with_shown_times
from manifests.ids import content_id
from manifests.inspection.clip_evidence import read_evidence, read_sample_member
from manifests.inspection.clip_rows import ClipRow
from manifests.inspection.face_series import FaceSeries
from manifests.inspection.place import Place
from manifests.storage import Folder

_SEEK_BACK_S = 5  # open GOPs and containers without an index land too late; then from before
_TURNS = {
    90: Image.Transpose.ROTATE_270,  # Pillow turns the other way round
    180: Image.Transpose.ROTATE_180,
    270: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class ShownFace:
    """The clip's face in one frame.

    Attributes:
        box: left, top, right, bottom, in pixels of the picture.
        is_found: the mesh was found in this very frame, and not filled in from neighbours.
    """

    box: tuple[float, float, float, float]
    is_found: bool


@dataclass(frozen=True)
class ShownFrame:
    """One frame of a clip.

    Attributes:
        time_s: its time from the clip's start.
        picture: RGB, upright, square pixels.
        face: the clip's face; `None` where it is not known.
    """

    time_s: float
    picture: Image.Image
    face: ShownFace | None


def clip_frames(place: Place, clip: ClipRow, num_frames: int) -> list[ShownFrame]:
    """Decode frames that divide a clip evenly.

    Args:
        place: Run or dataset.
        clip: The clip.
        num_frames: How many; the middles of as many equal parts.

    Returns:
        The frames with their faces.

    Raises:
        DatasetError: If neither the shard nor the source gives them; the message says why.
    """
    duration = clip.span.duration
    times = [duration * (2 * number + 1) / (2 * num_frames) for number in range(num_frames)]
    try:
        evidence = read_evidence(place, clip)
        if clip.sample is not None:
            with av.open(io.BytesIO(read_sample_member(place, clip, "mp4"))) as container:
                stream = container.streams.video[0]
                shown = list(_frames_at(container, stream, times))
            pictures = [(time, _picture(frame)) for time, frame in shown]
        else:
            pictures = _source_pictures(clip, evidence.facts or {}, times)
    except (av.FFmpegError, IndexError) as error:
        raise DatasetError(f"clip {clip.clip_id}: cannot be decoded: {error}") from error
    return [
        ShownFrame(float(time), picture, face_at(evidence.faces, float(time)))
        for time, picture in pictures
    ]


def face_at(faces: FaceSeries, time_s: float) -> ShownFace | None:
    """Find the face in the frame of a time.

    Args:
        faces: The clip's face.
        time_s: Time from the clip's start.

    Returns:
        The face nearest in time, if it is at most half a frame away.
    """
    if not len(faces.times_s):
        return None
    nearest = int(np.argmin(np.abs(faces.times_s - time_s)))
    step_s = float(np.median(np.diff(faces.times_s))) if len(faces.times_s) > 1 else 0.0
    if abs(faces.times_s[nearest] - time_s) > 0.5 * step_s + 1e-3:
        return None
    left, top, right, bottom = (float(value) for value in faces.boxes[nearest])
    return ShownFace((left, top, right, bottom), bool(faces.found[nearest]))


def _source_pictures(
    clip: ClipRow, facts: dict[str, Any], times: list[Fraction]
) -> list[tuple[Fraction, Image.Image]]:
    video = facts["video"]
    with _open_source(clip) as file, av.open(file, metadata_errors="replace") as container:
        stream = container.streams[video["index"]]
        if not isinstance(stream, VideoStream):
            raise DatasetError(f"{clip.values['uri']}: stream {video['index']} is no video")
        start = clip.span.start_time
        shown = list(_frames_at(container, stream, [start + time for time in times]))
    size = (video["width_px"], video["height_px"])
    return [(time - start, _upright(frame, video["rotation_deg"], size)) for time, frame in shown]


def _open_source(clip: ClipRow) -> IO[bytes]:
    """Open the source of a clip if it still holds what was measured."""
    uri = clip.values["uri"]
    try:
        folder, name = Folder.split(uri)
        if content_id(folder, name) != clip.values["source_id"]:
            raise DatasetError(f"{uri}: the source has changed since it was measured")
        return folder.open_read(name)
    except DatasetError:
        raise
    except (ManifestError, OSError) as error:
        raise DatasetError(f"the source cannot be read any more: {error}") from error


def _frames_at(
    container: InputContainer, stream: VideoStream, times: list[Fraction]
) -> Iterator[tuple[Fraction, VideoFrame]]:
    """Yield the frame that shows at each time of the stream's clock, and its own time."""
    base = stream.time_base
    assert base is not None
    for time in times:
        wanted = int(time // base)
        best: VideoFrame | None = None
        for target in (wanted, wanted - int(_SEEK_BACK_S / base), None):
            if target is None:
                container.seek(0, any_frame=False)
            else:
                container.seek(target, stream=stream, backward=True)
            best = _last_until(container, stream, wanted)
            if best is not None and best.pts is not None and best.pts <= wanted:
                break
        if best is not None and best.pts is not None:
            yield best.pts * base, best


def _last_until(container: InputContainer, stream: VideoStream, wanted: int) -> VideoFrame | None:
    """Decode on; return the last frame that begins at or before `wanted`, else the first one."""
    best: VideoFrame | None = None
    for frame in with_shown_times(container.decode(stream), container, stream):
        if frame.pts is None:
            continue
        if frame.pts > wanted:
            return best or frame
        best = frame
    return best


def _upright(frame: VideoFrame, rotation_deg: int, size: tuple[int, int]) -> Image.Image:
    picture = _picture(frame)
    if rotation_deg in _TURNS:
        picture = picture.transpose(_TURNS[rotation_deg])
    return picture if picture.size == size else picture.resize(size)


def _picture(frame: VideoFrame) -> Image.Image:
    return Image.fromarray(frame.to_ndarray(format="rgb24"))
