"""Probe: what the header of a source says; refuses what cannot become a clip.

Gives the facts of a source. Nothing is decoded but the first frame, which alone knows rotation
and interlacing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
from pydantic import Field as Setting

from manifests.frame_times import with_shown_times
from manifests.measurement import measured
from manifests.reasons import Reason
from stages.contract import ClipView, Stage, StageSettings
from stages.decode import open_container
from stages.errors import MediaError
from stages.facts import AudioFacts, SourceFacts, VideoFacts

ATTACHED_PICTURE = 0x400
"""AV_DISPOSITION_ATTACHED_PIC: cover art, not a video."""

STILL_FORMATS = frozenset({"image2", "png_pipe", "jpeg_pipe", "webp_pipe", "bmp_pipe", "gif"})
"""Demuxers of still pictures (and of GIF, which carries no sound)."""


class ProbeSettings(StageSettings):
    """Limits beyond which a source is refused unread.

    Attributes:
        max_pixels: largest coded picture; 8192 x 4320 (8K) by default. A 16384 x 8640 frame
            takes 212 MB decoded.
        min_duration_s: shorter sources hold no clip.
        min_side_px: smaller pictures hold no usable face.
    """

    max_pixels: int = Setting(8192 * 4320, gt=0)
    min_duration_s: float = Setting(1.0, ge=0)
    min_side_px: int = Setting(96, ge=16)


@dataclass(frozen=True)
class ProbeMeasurement:
    """What the source of a clip is."""

    width_px: int | None = measured(
        "shown width of the picture", unit="px", low=Reason.PICTURE_TOO_SMALL
    )
    height_px: int | None = measured(
        "shown height of the picture", unit="px", low=Reason.PICTURE_TOO_SMALL
    )
    short_side_px: int | None = measured(
        "shorter side of the shown picture", unit="px", low=Reason.PICTURE_TOO_SMALL
    )
    frame_rate_fps: float | None = measured(
        "average frame rate",
        unit="fps",
        low=Reason.FRAME_RATE_TOO_LOW,
        high=Reason.FRAME_RATE_TOO_HIGH,
    )
    video_codec: str | None = measured("codec of the video stream")
    audio_codec: str | None = measured("codec of the first audio stream")
    audio_rate_hz: int | None = measured(
        "highest sample rate of the audio streams", unit="Hz", low=Reason.NARROW_BAND
    )
    num_audio_streams: int | None = measured("number of audio streams")
    is_interlaced: bool | None = measured("the first frame holds two fields")
    is_hdr: bool | None = measured("PQ or HLG transfer")


class ProbeStage(Stage[ProbeSettings]):
    """Facts of a source, copied to each of its clips."""

    name = "probe"
    version = 2
    settings_type = ProbeSettings
    measurement = ProbeMeasurement
    needs = (SourceFacts,)

    def measure(self, clips: Sequence[ClipView]) -> list[Any]:
        """Copy the facts of the source to its clips."""
        return [_measurement(clip.evidence.facts) for clip in clips]


def probe(uri: str, source_id: str, num_bytes: int, settings: ProbeSettings) -> SourceFacts:
    """Read the header of a source.

    Args:
        uri: local path or fsspec URL.
        source_id: id of its content.
        num_bytes: its size.
        settings: limits.

    Returns:
        The facts.

    Raises:
        MediaError: the source can hold no clip; the error carries the typed reason.
    """
    if num_bytes == 0:
        raise MediaError(uri, Reason.EMPTY_FILE, "the file has no bytes", measured=0, limit=1)
    with open_container(uri) as container:
        if container.format.name in STILL_FORMATS:
            raise MediaError(
                uri, Reason.NOT_A_VIDEO, f"it is a still picture ({container.format.name})"
            )
        stream = _video_stream(container, uri)
        audio = tuple(_audio_facts(s) for s in container.streams.audio if s.codec_context)
        if not audio:
            raise MediaError(uri, Reason.NO_AUDIO_STREAM, "it has no audio stream")
        context = stream.codec_context
        _check_size(uri, context.width, context.height, settings)
        duration_s = _duration_s(container, stream)
        if duration_s is not None and duration_s < settings.min_duration_s:
            raise MediaError(
                uri,
                Reason.SOURCE_TOO_SHORT,
                f"it lasts {duration_s:.2f} s",
                measured=duration_s,
                limit=settings.min_duration_s,
            )
        return SourceFacts(
            uri=uri,
            source_id=source_id,
            num_bytes=num_bytes,
            container=container.format.name,
            duration_s=duration_s,
            video=_video_facts(uri, container, stream),
            audio=audio,
        )


def _video_stream(container: av.container.InputContainer, uri: str) -> av.VideoStream:
    candidates = [
        stream
        for stream in container.streams.video
        if not int(stream.disposition) & ATTACHED_PICTURE and stream.codec_context is not None
    ]
    if not candidates:
        raise MediaError(uri, Reason.NO_VIDEO_STREAM, "it has no video stream")
    return max(
        candidates, key=lambda s: (bool(int(s.disposition) & 1), s.codec_context.width, -s.index)
    )


def _check_size(uri: str, width: int, height: int, settings: ProbeSettings) -> None:
    if width * height > settings.max_pixels:
        raise MediaError(
            uri,
            Reason.PICTURE_TOO_LARGE,
            f"a frame has {width} x {height} pixels",
            measured=width * height,
            limit=settings.max_pixels,
        )
    if min(width, height) < settings.min_side_px:
        raise MediaError(
            uri,
            Reason.PICTURE_TOO_SMALL,
            f"a frame has {width} x {height} pixels",
            measured=min(width, height),
            limit=settings.min_side_px,
        )


def _duration_s(container: av.container.InputContainer, stream: av.VideoStream) -> float | None:
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return container.duration / av.time_base if container.duration else None


def _video_facts(
    uri: str, container: av.container.InputContainer, stream: av.VideoStream
) -> VideoFacts:
    context = stream.codec_context
    context.thread_count = 1
    frame = _first_frame(container, stream)
    if frame is None or stream.time_base is None:
        raise MediaError(uri, Reason.UNREADABLE, "no frame of the video could be decoded")
    width, height = frame.width, frame.height
    aspect = Fraction(stream.sample_aspect_ratio or context.sample_aspect_ratio or 1)
    if not Fraction(1, 8) <= aspect <= 8:
        aspect = Fraction(1)
    shown_width, shown_height = round(width * aspect), height
    # frame.rotation is counter-clockwise in [-180, 180]; players turn the other way round.
    rotation = (-round(frame.rotation / 90) * 90) % 360
    if rotation in (90, 270):
        shown_width, shown_height = shown_height, shown_width
    rate = stream.average_rate or stream.guessed_rate or Fraction(25)
    return VideoFacts(
        index=stream.index,
        codec=context.name,
        pixel_format=frame.format.name,
        coded_width_px=width,
        coded_height_px=height,
        width_px=shown_width,
        height_px=shown_height,
        rotation_deg=rotation,
        pixel_aspect=aspect,
        frame_rate=Fraction(rate),
        time_base=Fraction(stream.time_base),
        start_time=Fraction(frame.pts or 0) * Fraction(stream.time_base),
        is_interlaced=bool(frame.interlaced_frame),
        transfer=int(frame.color_trc),
    )


def _first_frame(
    container: av.container.InputContainer, stream: av.VideoStream
) -> av.VideoFrame | None:
    try:
        return next(with_shown_times(container.decode(stream), container, stream), None)
    except av.FFmpegError:
        return None


def _audio_facts(stream: av.AudioStream) -> AudioFacts:
    context = stream.codec_context
    return AudioFacts(
        index=stream.index,
        codec=context.name,
        sample_rate_hz=context.sample_rate or 0,
        num_channels=context.layout.nb_channels,
        layout=context.layout.name,
        language=stream.language or "",
    )


def _measurement(facts: SourceFacts) -> ProbeMeasurement:
    video = facts.video
    return ProbeMeasurement(
        width_px=video.width_px,
        height_px=video.height_px,
        short_side_px=min(video.width_px, video.height_px),
        frame_rate_fps=float(video.frame_rate),
        video_codec=video.codec,
        audio_codec=facts.audio[0].codec,
        audio_rate_hz=max(audio.sample_rate_hz for audio in facts.audio),
        num_audio_streams=len(facts.audio),
        is_interlaced=video.is_interlaced,
        is_hdr=video.transfer in (16, 18),
    )
