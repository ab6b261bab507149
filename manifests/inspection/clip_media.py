"""What the page shows of one clip: its thumbnail, its sound, its series, its measurements.

Made when asked for and kept in bounded number. A clip is found by its id in the table; no name
that comes from outside is ever made part of a path.
"""

from __future__ import annotations

import io
import threading
import wave
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from manifests.errors import ManifestError
from manifests.inspection.clip_evidence import read_evidence
from manifests.inspection.clip_frames import clip_frames
from manifests.inspection.clip_index import ClipIndex
from manifests.inspection.clip_rows import ClipRow
from manifests.inspection.clip_view import clip_view
from manifests.inspection.place import Place
from manifests.inspection.plot_series import plot_series
from manifests.shards import MemberPlace

THUMBNAIL_PX = 240
NUM_PEAKS = 800
_NUM_THUMBNAILS, _NUM_SERIES, _NUM_SOUNDS = 2048, 64, 16
_NUM_DECODERS = 4
_QUALITY = 78
_DRAWN = {"paper": (38, 42, 48), "frame": (92, 100, 110), "face": (240, 228, 66)}


class ClipMedia:
    """Pictures, sound and series of the clips of a place.

    Args:
        place: The run or dataset.
        index: Its clips.
    """

    def __init__(self, place: Place, index: ClipIndex) -> None:
        self._place, self._index = place, index
        self._decoders = threading.BoundedSemaphore(_NUM_DECODERS)
        self.thumbnail: Callable[[str], bytes] = lru_cache(_NUM_THUMBNAILS)(self._thumbnail)
        self.series: Callable[[str], dict[str, Any]] = lru_cache(_NUM_SERIES)(self._series)
        self.stored_sound: Callable[[str], bytes] = lru_cache(_NUM_SOUNDS)(self._stored_sound)

    def member(self, clip_id: str, ext: str) -> tuple[str, MemberPlace] | None:
        """Find a member of a packed clip.

        Args:
            clip_id: A clip of the place.
            ext: The member's extension.

        Returns:
            Name of the shard and place in it; `None` if the clip is not packed or has no such one.
        """
        sample = self._index.clip(clip_id).sample
        if sample is None:
            return None
        for member in sample["members"]:
            if member["ext"] == ext:
                return sample["shard"], MemberPlace(ext, member["offset"], member["size"])
        return None

    def describe(self, clip_id: str) -> dict[str, Any]:
        """Say all that is stored of a clip besides its media.

        Args:
            clip_id: A clip of the place.

        Returns:
            The record of `clip_view`, its measurements without those that are lists.
        """
        clip = self._index.clip(clip_id)
        lists = dict.fromkeys(name for name in self._place.fields if name not in clip.values)
        view = clip_view(self._place, ClipRow({**lists, **clip.values}, clip.sample))
        single = [item for item in view["measurements"] if item["name"] in self._index.fields]
        return {**view, "measurements": single}

    def _series(self, clip_id: str) -> dict[str, Any]:
        clip = self._index.clip(clip_id)
        clip.values.update(self._index.curves(clip_id))
        with self._decoders:
            series = plot_series(self._place, clip)
        faces, sync = series.faces, series.sync
        return {
            "duration_s": series.duration_s,
            "peaks": peaks(series.sound.samples, NUM_PEAKS).tolist(),
            "sound_s": len(series.sound.samples) / series.sound.rate_hz,
            "shifted_by_ms": series.sound.shifted_by_ms,
            "active": np.flatnonzero(series.is_active).tolist(),
            "times_s": _rounded(faces.times_s),
            "mouth_opening": _rounded(faces.mouth_opening),
            "boxes": [_rounded(box) for box in faces.boxes],
            "words": [[word.text, word.start_s, word.end_s] for word in series.words],
            "sync": None
            if sync is None
            else {
                "offsets_ms": _rounded(sync.offsets_ms),
                "scores": _rounded(sync.scores),
                "peak_ms": sync.peak_ms,
                "max_abs_offset_ms": sync.max_abs_offset_ms,
            },
        }

    def _stored_sound(self, clip_id: str) -> bytes:
        """Sound of a clip that is not packed as WAV, cut to the clip."""
        sound = read_evidence(self._place, self._index.clip(clip_id)).sound
        buffer = io.BytesIO()
        with wave.open(buffer, "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(sound.rate_hz)
            file.writeframes(np.rint(sound.samples * 32767).astype("<i2").tobytes())
        return buffer.getvalue()

    def _thumbnail(self, clip_id: str) -> bytes:
        clip = self._index.clip(clip_id)
        with self._decoders:
            try:
                picture = clip_frames(self._place, clip, 1)[0].picture.convert("RGB")
            except (ManifestError, IndexError):
                picture = self._drawing(clip)
        picture.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=_QUALITY)
        return buffer.getvalue()

    def _drawing(self, clip: ClipRow) -> Image.Image:
        """Draw where the face was, for a clip whose picture cannot be had any more."""
        size = (clip.values.get("probe.width_px"), clip.values.get("probe.height_px"))
        width, height = (int(side) if side else THUMBNAIL_PX for side in size)
        scale = THUMBNAIL_PX / max(width, height)
        picture = Image.new("RGB", (round(width * scale), round(height * scale)), _DRAWN["paper"])
        draw = ImageDraw.Draw(picture)
        draw.rectangle((0, 0, picture.width - 1, picture.height - 1), outline=_DRAWN["frame"])
        try:
            boxes = read_evidence(self._place, clip).faces.boxes
        except ManifestError:
            return picture
        if len(boxes):
            left, top, right, bottom = np.median(boxes, axis=0) * scale
            draw.ellipse((left, top, right, bottom), outline=_DRAWN["face"], width=2)
        return picture


def peaks(samples: np.ndarray, num: int) -> np.ndarray:
    """Lowest and highest value of each part of a sound.

    Args:
        samples: (N,) in [-1, 1].
        num: Parts wanted.

    Returns:
        (min(num, N), 2) int8, -127 to 127.
    """
    if not len(samples):
        return np.zeros((0, 2), np.int8)
    starts = np.unique(np.linspace(0, len(samples), num, endpoint=False).astype(int))
    both = (np.minimum.reduceat(samples, starts), np.maximum.reduceat(samples, starts))
    return np.rint(np.clip(np.stack(both, axis=1), -1, 1) * 127).astype(np.int8)


def _rounded(values: np.ndarray) -> list[float | None]:
    return [float(f"{value:.5g}") if np.isfinite(value) else None for value in values]
