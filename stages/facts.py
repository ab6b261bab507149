"""Facts: what the header of a source says, before anything of it is decoded."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any


@dataclass(frozen=True)
class VideoFacts:
    """The video stream that is used.

    ``coded_*`` is the picture as it is stored; ``width_px`` and ``height_px`` the picture as a
    player shows it: square pixels, upright.

    Attributes:
        index: stream index in the container.
        codec: codec name.
        pixel_format: pixel format name.
        coded_width_px: stored width.
        coded_height_px: stored height.
        width_px: shown width.
        height_px: shown height.
        rotation_deg: clockwise rotation a player applies, one of 0, 90, 180, 270.
        pixel_aspect: width of a pixel over its height.
        frame_rate: average frames per second.
        time_base: seconds per pts unit.
        start_time: time of the first frame, on the container's clock.
        is_interlaced: the first frames say that they hold two fields.
        transfer: transfer characteristic (ITU-T H.273), 16 for PQ, 18 for HLG.
    """

    index: int
    codec: str
    pixel_format: str
    coded_width_px: int
    coded_height_px: int
    width_px: int
    height_px: int
    rotation_deg: int
    pixel_aspect: Fraction
    frame_rate: Fraction
    time_base: Fraction
    start_time: Fraction
    is_interlaced: bool
    transfer: int


@dataclass(frozen=True)
class AudioFacts:
    """One audio stream.

    Attributes:
        index: stream index in the container.
        codec: codec name.
        sample_rate_hz: stored sample rate.
        num_channels: number of channels.
        layout: channel layout name.
        language: language tag, empty if none.
    """

    index: int
    codec: str
    sample_rate_hz: int
    num_channels: int
    layout: str
    language: str


@dataclass(frozen=True)
class SourceFacts:
    """One readable source, or one segment of it.

    Attributes:
        uri: where the source lies.
        source_id: id derived from its content.
        num_bytes: size.
        container: container format name.
        duration_s: duration according to the header; ``None`` if it says nothing.
        video: the video stream that is used.
        audio: every audio stream.
    """

    uri: str
    source_id: str
    num_bytes: int
    container: str
    duration_s: float | None
    video: VideoFacts
    audio: tuple[AudioFacts, ...]


def facts_to_json(facts: SourceFacts) -> dict[str, Any]:
    """Facts as plain values; fractions become ``"num/den"``."""
    return json.loads(json.dumps(asdict(facts), default=str))  # type: ignore[no-any-return]


def facts_from_json(values: dict[str, Any]) -> SourceFacts:
    """Read what :func:`facts_to_json` wrote."""
    video = dict(values["video"])
    for name in ("pixel_aspect", "frame_rate", "time_base", "start_time"):
        video[name] = Fraction(video[name])
    audio = tuple(AudioFacts(**stream) for stream in values["audio"])
    return SourceFacts(**{**values, "video": VideoFacts(**video), "audio": audio})
