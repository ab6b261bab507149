"""Face crops: the square that SyncNet and the active-speaker networks look at, of every face.

Cut from the shared decode, 25 times a second, around each face that is followed, and kept as small
JPEGs until the source is measured: a second decode would cost more. The stage runs only where a
network needs them.

The square is that of the reference's pipeline (``_crop`` in ``syncnet_pipeline.py`` of
syncnet-python 0.2.3, ``crop_video`` in ``run_pipeline.py`` of joonson/syncnet_python, and in
``Columbia_test.py`` of Junhua-Liao/LR-ASD): 2.8 times half the longer side of the face box, its
centre lower than that of the face by 0.4 of that half, steadied by a median over 13 frames, with
grey where it leaves the picture. Where the reference's median takes in zeros beyond the ends of a
track, ours takes what there is. The reference's boxes are those of the S3FD detector; ours bound
the face mesh, from the chin to the upper end of the forehead. How the two compare in size was not
measured.

Shape letters: T frames, W frames of a window, H W C picture; 4 = left, top, right, bottom.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import floor
from typing import Any

import cv2
import numpy as np
from pydantic import Field as Setting

from manifests.span import Span
from stages.contract import ClipView, Observer, Stage, StageSettings
from stages.decode import FrameView
from stages.facts import SourceFacts
from stages.key_frames import decode_jpeg, encode_jpeg

FRAME_RATE_FPS = 25
"""Rate of the crops: the networks were trained at it and know no other."""

CROP_PX = 224
CROP_SCALE = 0.40
"""``crop_scale`` of the reference."""

MEDIAN_FRAMES = 13
BORDER_GREY = 110
_AHEAD = MEDIAN_FRAMES // 2


class FaceCropsSettings(StageSettings):
    """How crops are kept.

    Attributes:
        jpeg_quality: quality of the JPEGs, 1 to 100.
        max_mib: memory for the crops of one source or segment. A face of five minutes takes about
            100 MiB; faces seen after the memory is full have no crops, and no score.
    """

    jpeg_quality: int = Setting(95, ge=1, le=100)
    max_mib: float = Setting(384.0, gt=0)


@dataclass(frozen=True)
class CropRun:
    """Crops of one face over one clip, one every 40 ms.

    Attributes:
        crops_THWC: (T, 224, 224, 3) uint8, red, green, blue.
        start_s: time of the first crop on the clock of the container.
    """

    crops_THWC: np.ndarray
    start_s: float


@dataclass(frozen=True)
class FaceCrops:
    """The crops of a source, or of the segment that is measured.

    Attributes:
        by_track: for each track, its crops by slot; slot ``k`` lies at ``k / 25`` seconds.
        times_s: presentation time of each slot that has a crop.
        is_full: the memory was full before the end.
    """

    by_track: dict[int, dict[int, bytes]]
    times_s: dict[int, float]
    is_full: bool = False

    def slots(self, track: int, span: Span) -> list[int]:
        """Slots of a track within a span, ascending."""
        first_s, last_s = span.start_s, span.end_s
        held = self.by_track.get(track, {})
        return sorted(slot for slot in held if first_s <= self.times_s[slot] < last_s)

    def run(self, track: int, span: Span) -> CropRun | None:
        """The crops of one face over a clip, on an even grid.

        Where a crop is missing the one before it stands in, as a decoder shows the last frame.
        The grid lies where the frames lie on average, so that its start is exact although frames
        are some milliseconds early or late.

        Args:
            track: number of the track.
            span: the clip.

        Returns:
            The crops; ``None`` if there is none.
        """
        held, slots = self.by_track.get(track, {}), self.slots(track, span)
        if not slots:
            return None
        pictures, picture = [], np.zeros(0, np.uint8)
        inside = set(slots)
        for slot in range(slots[0], slots[-1] + 1):
            if slot in inside:
                picture = decode_jpeg(held[slot])
            pictures.append(picture)
        late_s = float(np.mean([self.times_s[slot] - slot / FRAME_RATE_FPS for slot in slots]))
        return CropRun(np.stack(pictures), slots[0] / FRAME_RATE_FPS + late_s)


@dataclass(frozen=True)
class _Waiting:
    """A frame whose crops wait for the boxes after it."""

    slot: int
    frame: FrameView
    faces: dict[int, np.ndarray]


class FaceCropsObserver(Observer):
    """Cuts the crops of a frame as soon as the median over its neighbours is known."""

    def __init__(self, facts: SourceFacts, settings: FaceCropsSettings) -> None:
        self._size = (facts.video.width_px, facts.video.height_px)
        self._settings = settings
        self._waiting: deque[_Waiting] = deque()
        self._before: deque[dict[int, np.ndarray]] = deque(maxlen=_AHEAD)
        self._by_track: dict[int, dict[int, bytes]] = defaultdict(dict)
        self._times_s: dict[int, float] = {}
        self._num_bytes = 0
        self._is_full = False

    def observe(self, frame: FrameView) -> None:
        """Take one decoded frame, the first of every slot."""
        slot = floor(Fraction(frame.time_s) * FRAME_RATE_FPS + Fraction(1, 2))
        if self._waiting and self._waiting[-1].slot == slot:
            return
        self._waiting.append(_Waiting(slot, frame, frame.faces))
        if len(self._waiting) > _AHEAD:
            self._cut_first()

    def finish(self) -> FaceCrops:
        """Return the crops of the source."""
        while self._waiting:
            self._cut_first()
        return FaceCrops(dict(self._by_track), self._times_s, self._is_full)

    def _cut_first(self) -> None:
        first = self._waiting.popleft()
        near = [*self._before, first.faces, *(item.faces for item in self._waiting)]
        self._before.append(first.faces)
        for track in first.faces:
            if self._num_bytes >= self._settings.max_mib * 2**20:
                self._is_full = True
                return
            boxes_W4 = np.array([faces[track] for faces in near if track in faces])
            jpeg = encode_jpeg(
                cut_square(first.frame, square_of(boxes_W4), self._size),
                self._settings.jpeg_quality,
            )
            self._by_track[track][first.slot] = jpeg
            self._times_s[first.slot] = first.frame.time_s
            self._num_bytes += len(jpeg)


class FaceCropsStage(Stage[FaceCropsSettings]):
    """Keeps crops for the networks that look at faces; measures nothing itself."""

    name = "face_crops"
    version = 1
    settings_type = FaceCropsSettings
    gives = (FaceCrops,)
    needs = (SourceFacts,)
    on_demand = True

    def observer(self, facts: SourceFacts) -> FaceCropsObserver:
        """Return a fresh observer for one source; that of the faces must come before it."""
        return FaceCropsObserver(facts, self.settings)

    def measure(self, clips: Sequence[ClipView]) -> list[Any]:
        """Return nothing: there is no measurement, only evidence."""
        return []


def square_of(boxes_W4: np.ndarray) -> np.ndarray:
    """Square to cut out, from the face boxes of a frame and its neighbours.

    With ``r`` half the longer side of a box and ``(x, y)`` its centre, each the median over the
    window: left and right are ``x -+ 1.4 r``, top is ``y - r`` and bottom ``y + 1.8 r``.

    Args:
        boxes_W4: face boxes in pixels, 13 of them but near the ends of a track.

    Returns:
        (4,) float64, which may reach out of the picture.
    """
    left, top, right, bottom = np.asarray(boxes_W4, np.float64).T
    half = np.median(np.maximum(bottom - top, right - left) / 2)
    x, y = np.median((left + right) / 2), np.median((top + bottom) / 2)
    beside, below = half * (1 + CROP_SCALE), half * (1 + 2 * CROP_SCALE)
    return np.array([x - beside, y - half, x + beside, y + below])


def cut_square(frame: FrameView, square: np.ndarray, shown_size: tuple[int, int]) -> np.ndarray:
    """Cut one square out of a frame at the size of the networks' input.

    Args:
        frame: the frame.
        square: left, top, right, bottom in shown pixels.
        shown_size: width and height of the picture in shown pixels.

    Returns:
        RGB (224, 224, 3) uint8, grey beyond the border of the picture.
    """
    left, top, right, bottom = (float(side) for side in square)
    crop = frame.crop((left + right) / 2, (top + bottom) / 2, right - left, CROP_PX)
    columns = crop.left_px + (np.arange(CROP_PX) + 0.5) * crop.width_px / CROP_PX
    rows = crop.top_px + (np.arange(CROP_PX) + 0.5) * crop.height_px / CROP_PX
    is_beside = (columns < 0) | (columns >= shown_size[0])
    is_beyond = (rows < 0) | (rows >= shown_size[1])
    if not (is_beside.any() or is_beyond.any()):
        return crop.picture
    picture = crop.picture.copy()
    picture[:, is_beside] = BORDER_GREY
    picture[is_beyond] = BORDER_GREY
    return picture


def grey_faces(crops_THWC: np.ndarray, side_px: int) -> np.ndarray:
    """The middle of each crop in grey, which is what active-speaker networks look at.

    Args:
        crops_THWC: (T, 224, 224, 3) uint8, red, green, blue.
        side_px: side of the middle square.

    Returns:
        (T, side, side) uint8.
    """
    first = (CROP_PX - side_px) // 2
    middle = slice(first, first + side_px)
    return np.stack([cv2.cvtColor(c, cv2.COLOR_RGB2GRAY)[middle, middle] for c in crops_THWC])
