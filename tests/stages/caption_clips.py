"""Clips with pictures and measurements, as the caption stage gets them."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from manifests.records import Clip
from manifests.span import Span
from stages.contract import ClipView, Evidence
from stages.faces import FacesMeasurement
from stages.facts import SourceFacts, VideoFacts
from stages.key_frames import KeyFrame, KeyFrames, encode_jpeg
from stages.picture_records import PictureMeasurement
from stages.speech import SpeechMeasurement

LENGTH_S = 4

FACTS = SourceFacts(
    uri="film.mp4",
    source_id="0" * 20,
    num_bytes=1,
    container="mp4",
    duration_s=400.0,
    video=VideoFacts(
        index=0,
        codec="h264",
        pixel_format="yuv420p",
        coded_width_px=320,
        coded_height_px=240,
        width_px=320,
        height_px=240,
        rotation_deg=0,
        pixel_aspect=Fraction(1),
        frame_rate=Fraction(25),
        time_base=Fraction(1),
        start_time=Fraction(0),
        is_interlaced=False,
        transfer=1,
    ),
    audio=(),
)


def clip_views(num_clips: int, *, has_pictures: bool = True) -> list[ClipView]:
    """Clips of 4 s one after the other, with a picture every second."""
    frames = tuple(
        KeyFrame(second, encode_jpeg(np.full((48, 64, 3), second % 256, np.uint8), 90))
        for second in range(num_clips * LENGTH_S if has_pictures else 0)
    )
    evidence = Evidence(FACTS)
    evidence.put(KeyFrames(Fraction(1), frames))
    views = []
    for number in range(num_clips):
        span = Span(number * LENGTH_S, (number + 1) * LENGTH_S, Fraction(1))
        view = ClipView(Clip(FACTS.source_id, span, 0), evidence)
        for record in (
            FacesMeasurement(height_ratio=0.4, yaw_deg=3.0, num_others=0, head_speed=0.1),
            SpeechMeasurement(speech_ratio=0.8, snr_db=25.0),
            PictureMeasurement(camera_motion=0.2),
        ):
            view.measurements[type(record)] = record
        views.append(view)
    return views
