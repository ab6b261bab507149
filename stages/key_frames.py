"""Key frames: a few pictures of a source, kept from the shared decode for models that look at them.

Models that describe or embed a clip need pictures, and a second decode would cost more than they
do. So one small JPEG is kept every second, in memory, for as long as the source is worked on. The
stage runs only where another needs what it gives.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import cv2
import numpy as np
from pydantic import Field as Setting

from manifests.span import Span
from stages.contract import ClipView, Observer, Stage, StageSettings
from stages.decode import FrameView
from stages.facts import SourceFacts


class KeyFramesSettings(StageSettings):
    """Which pictures are kept, and how.

    Attributes:
        every_s: time between pictures. Their number bounds the memory: a segment of five minutes
            has 300 of about 100 kB.
        max_side_px: longer side of a picture.
        jpeg_quality: quality of the JPEG, 1 to 100.
    """

    every_s: float = Setting(1.0, ge=0.2)
    max_side_px: int = Setting(960, ge=64, le=2048)
    jpeg_quality: int = Setting(92, ge=1, le=100)


@dataclass(frozen=True)
class KeyFrame:
    """One picture.

    Attributes:
        pts: its presentation time, in ticks of the source.
        jpeg: the picture, upright with square pixels, as a JPEG.
    """

    pts: int
    jpeg: bytes


@dataclass(frozen=True)
class KeyFrames:
    """The pictures of a source, or of the segment that is measured.

    Attributes:
        time_base: seconds a tick.
        frames: pictures in order of time.
    """

    time_base: Fraction
    frames: tuple[KeyFrame, ...]

    def within(self, span: Span, num_frames: int) -> tuple[KeyFrame, ...]:
        """Pictures of one clip, evenly placed.

        Args:
            span: the clip, on the clock of the source.
            num_frames: how many are wanted.

        Returns:
            As many, in order; all of the span if it has fewer, and none from outside of it, where
            another shot may begin.
        """
        inside = [frame for frame in self.frames if span.start <= frame.pts < span.end]
        count = min(num_frames, len(inside))
        picks = ((np.arange(count) + 0.5) * len(inside) / max(count, 1)).astype(int)
        return tuple(inside[index] for index in picks)


class KeyFramesObserver(Observer):
    """Keeps the first frame of every slot of ``every_s`` on the source's own clock.

    A segment that begins within a slot keeps none of it, so that segments keep what the whole does.
    """

    def __init__(self, facts: SourceFacts, settings: KeyFramesSettings) -> None:
        self._time_base = facts.video.time_base
        self._start_s = float(facts.video.start_time)
        self._frame_s = float(1 / facts.video.frame_rate)
        self._settings = settings
        self._frames: list[KeyFrame] = []
        self._before_s: float | None = None

    def observe(self, frame: FrameView) -> None:
        """Take one decoded frame."""
        before_s, self._before_s = self._before_s, frame.time_s
        is_first = before_s is None and frame.time_s < self._start_s + self._frame_s / 2
        if before_s is None:
            before_s = frame.time_s - self._frame_s
        if not is_first and self._slot(before_s) == self._slot(frame.time_s):
            return
        picture = frame.thumbnail(self._settings.max_side_px)
        self._frames.append(KeyFrame(frame.pts, encode_jpeg(picture, self._settings.jpeg_quality)))

    def _slot(self, time_s: float) -> int:
        return math.floor(time_s / self._settings.every_s + 1e-6)

    def finish(self) -> KeyFrames:
        """Return the pictures of the source."""
        return KeyFrames(self._time_base, tuple(self._frames))


class KeyFramesStage(Stage[KeyFramesSettings]):
    """Keeps pictures for the stages that show them to a model; measures nothing itself."""

    name = "key_frames"
    version = 1
    settings_type = KeyFramesSettings
    gives = (KeyFrames,)
    needs = (SourceFacts,)
    on_demand = True

    def observer(self, facts: SourceFacts) -> KeyFramesObserver:
        """Return a fresh observer for one source."""
        return KeyFramesObserver(facts, self.settings)

    def measure(self, clips: Sequence[ClipView]) -> list[Any]:
        """Return nothing: there is no measurement, only evidence."""
        return []


def encode_jpeg(picture: np.ndarray, quality: int) -> bytes:
    """Encode a picture.

    Args:
        picture: RGB (H, W, 3), uint8.
        quality: quality of the JPEG, 1 to 100.

    Returns:
        The JPEG.
    """
    options = [cv2.IMWRITE_JPEG_QUALITY, quality]
    _, jpeg = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), options)
    return jpeg.tobytes()


def decode_jpeg(jpeg: bytes, *, is_halved: bool = False) -> np.ndarray:
    """Decode a picture.

    Args:
        jpeg: the JPEG.
        is_halved: at half the size, which the decoder gives for less than the whole.

    Returns:
        RGB (H, W, 3), uint8.
    """
    flags = cv2.IMREAD_REDUCED_COLOR_2 if is_halved else cv2.IMREAD_COLOR
    picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), flags)
    return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
