"""Videos that show results side by side: source, generated, reference, and their sync curves.

Panels run on the generated clip's clock. Nothing is left out for being odd: a panel without a file
says so, a clip that breaks off keeps its last picture.

Shape letters: H W picture, C = red, green, blue.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import repeat
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageDraw, ImageOps

from training.errors import InputError
from training.evaluation.frames import shown_at
from training.evaluation.pairing import IMAGE_SUFFIXES
from training.evaluation.portrait import read_picture
from training.evaluation.results import ClipResult
from training.evaluation.sync import SyncCurve

PANEL_PX = 256
LABEL_PX = 20
CURVE_PX = 56
GAP_PX = 4
MAX_FPS = 30
PANELS = ("source", "generated", "reference")

# Colours of Okabe and Ito (2008), which colour-blind readers can tell apart.
_PAPER, _INK, _QUIET = (24, 27, 32), (236, 238, 242), (150, 158, 168)
_LINE, _BEST, _RULE = (86, 180, 233), (230, 159, 0), (70, 78, 88)


@dataclass(frozen=True)
class Row:
    """One generated clip and what stands beside it.

    Attributes:
        clip: the clip.
        duration_s: how long it is.
        fps: its frames a second.
    """

    clip: ClipResult
    duration_s: float
    fps: float


def row_of(clip: ClipResult) -> Row | None:
    """Make a row of a clip; ``None`` if it cannot be decoded."""
    if clip.duration_s is None:
        return None
    return Row(clip, clip.duration_s, clip.frame_rate_fps or 25.0)


def write_pair(path: Path, row: Row) -> None:
    """Write one clip's panels with its sound.

    Args:
        path: an mp4 file.
        row: the clip.
    """
    fps = min(row.fps, MAX_FPS)
    times_s = (np.arange(max(1, round(row.duration_s * fps))) / fps).tolist()
    _write(path, _row_pictures(row, times_s, curves=False), fps, row.clip.generated)


def write_grid(path: Path, rows: Sequence[Row]) -> None:
    """Write several clips below each other, with their curves and without sound.

    Args:
        path: an mp4 file.
        rows: the clips; shorter ones keep their last picture.
    """
    fps = min(max(row.fps for row in rows), MAX_FPS)
    duration_s = max(row.duration_s for row in rows)
    times_s = (np.arange(max(1, round(duration_s * fps))) / fps).tolist()
    bands = [_row_pictures(row, times_s, curves=True) for row in rows]
    _write(path, (np.concatenate(parts) for parts in zip(*bands, strict=True)), fps, None)


def curve_picture(curve: SyncCurve | None) -> np.ndarray:
    """Draw a sync curve, its best shift and the shift of zero.

    Args:
        curve: the curve; ``None`` leaves the strip empty.

    Returns:
        (CURVE_PX, PANEL_PX, C) uint8.
    """
    strip = Image.new("RGB", (PANEL_PX, CURVE_PX), _PAPER)
    if curve is None:
        return np.asarray(strip)
    draw = ImageDraw.Draw(strip)
    xs, ys = curve_points(curve, PANEL_PX - 1, CURVE_PX - 18)
    best = best_shift(curve)
    zero_x = float(np.interp(0.0, curve.offsets_ms, xs))
    draw.line((zero_x, 0, zero_x, CURVE_PX - 16), fill=_RULE)
    draw.line((xs[best], 0, xs[best], CURVE_PX - 16), fill=_BEST)
    draw.line([(x, y + 1) for x, y in zip(xs, ys, strict=True)], fill=_LINE, width=2)
    text = f"{curve.estimator}: best at {curve.offsets_ms[best]:+.0f} ms"
    draw.text((4, CURVE_PX - 13), text, fill=_QUIET)
    return np.asarray(strip)


def curve_points(curve: SyncCurve, width: float, height: float) -> tuple[np.ndarray, np.ndarray]:
    """Places of a curve's points in a box, the highest value at the top.

    Args:
        curve: the curve.
        width: width of the box.
        height: height of the box.

    Returns:
        x and y of each point.
    """
    offsets, values = np.array(curve.offsets_ms), np.array(curve.values)
    xs = (offsets - offsets[0]) / max(float(np.ptp(offsets)), 1e-9) * width
    ys = (values.max() - values) / max(float(np.ptp(values)), 1e-9) * height
    return xs, ys


def best_shift(curve: SyncCurve) -> int:
    """Number of the shift at which voice and lips go together best."""
    values = np.array(curve.values)
    return int(values.argmin() if curve.estimator == "syncnet" else values.argmax())


def _row_pictures(row: Row, times_s: list[float], *, curves: bool) -> Iterator[np.ndarray]:
    files = {
        "source": row.clip.source,
        "generated": row.clip.generated,
        "reference": row.clip.reference,
    }
    labels = [_label(name, row.clip.stem if name == "generated" else "") for name in PANELS]
    strips = [curve_picture(row.clip.curves.get(name)) for name in PANELS] if curves else None
    panels = [_panel(files[name], times_s) for name in PANELS]
    for pictures in zip(*panels, strict=True):
        columns = []
        for number, one in enumerate(pictures):
            parts = [labels[number], one, *([strips[number]] if strips else [])]
            columns += [np.concatenate(parts), _gap(sum(len(part) for part in parts))]
        yield np.concatenate(columns[:-1], axis=1)


def _panel(path: Path | None, times_s: list[float]) -> Iterator[np.ndarray]:
    """One panel at every time; the last picture stays where a file ends or breaks off."""
    last = np.full((PANEL_PX, PANEL_PX, 3), _PAPER, np.uint8)
    num = 0
    try:
        if path is not None and path.suffix.lower() in IMAGE_SUFFIXES:
            last = _fitted(read_picture(path))
        elif path is not None:
            size_px = _fitted_size(read_picture(path))
            for shown in shown_at(path, times_s, size_px):
                last = _fitted(shown.picture_HWC)
                num += 1
                yield last
    except (InputError, OSError):
        pass  # told in the notes of the clip
    yield from repeat(last, len(times_s) - num)


def _fitted_size(picture_HWC: np.ndarray) -> tuple[int, int]:
    """Width and height of a picture that just fits into a panel."""
    height, width = picture_HWC.shape[:2]
    ratio = PANEL_PX / max(height, width)
    return max(1, round(width * ratio)), max(1, round(height * ratio))


def _fitted(picture_HWC: np.ndarray) -> np.ndarray:
    """Bring a picture into a square, whole."""
    size = (PANEL_PX, PANEL_PX)
    image = ImageOps.contain(Image.fromarray(picture_HWC), size, Image.Resampling.BILINEAR)
    panel = Image.new("RGB", (PANEL_PX, PANEL_PX), _PAPER)
    panel.paste(image, ((PANEL_PX - image.width) // 2, (PANEL_PX - image.height) // 2))
    return np.asarray(panel)


def _label(name: str, stem: str) -> np.ndarray:
    strip = Image.new("RGB", (PANEL_PX, LABEL_PX), _PAPER)
    text = f"{name}  {stem}".encode("latin-1", "replace").decode("latin-1")
    ImageDraw.Draw(strip).text((4, 4), text[:42], fill=_INK)
    return np.asarray(strip)


def _gap(height: int) -> np.ndarray:
    return np.full((height, GAP_PX, 3), _PAPER, np.uint8)


def _write(path: Path, pictures: Iterator[np.ndarray], fps: float, sound_of: Path | None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rate = Fraction(fps).limit_denominator(1001)
    beside = path.with_name(f".{path.name}.part")
    with av.open(str(beside), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        video = container.add_stream("libx264", rate=rate)
        audio = (
            None if sound_of is None else container.add_stream("aac", rate=44_100, layout="mono")
        )
        video.pix_fmt, video.options = (
            "yuv420p",
            {"crf": "26", "preset": "veryfast", "threads": "1"},
        )
        for number, one in enumerate(pictures):
            even = one[: one.shape[0] // 2 * 2, : one.shape[1] // 2 * 2]
            if not number:
                video.height, video.width = even.shape[:2]
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24")
            frame.pts, frame.time_base = number, 1 / rate
            container.mux(video.encode(frame))
        container.mux(video.encode())
        if audio is not None and sound_of is not None:
            for part in _sound(sound_of):
                container.mux(audio.encode(part))
            container.mux(audio.encode())
    beside.replace(path)


def _sound(path: Path) -> Iterator[av.AudioFrame]:
    """Sound of a clip as AAC takes it; none if there is none."""
    resampler = av.AudioResampler(format="fltp", layout="mono", rate=44_100)
    try:
        with av.open(str(path), metadata_errors="replace") as container:
            if container.streams.audio:
                for frame in container.decode(container.streams.audio[0]):
                    yield from resampler.resample(frame)
    except av.FFmpegError:
        return  # what was heard before the damage is there
