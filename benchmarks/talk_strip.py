"""The picture of `learns_to_talk`: faces over time, and the curves of mouth and voice below them.

Not here: what is in the rows (`talk_report`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

TILE_PX, LABEL_PX, PLOT_PX = 80, 80, 84
NUM_TILES = 14
STEP_FRAMES = 4
NUM_COLOURS = 96
"""Enough for one person's face, and the file stays small."""


def draw_strip(
    path: Path,
    rows: Mapping[str, np.ndarray],
    plots: Sequence[tuple[str, Mapping[str, np.ndarray]]],
    fps: float,
) -> None:
    """Write the strip: every fourth frame of each row, and curves of the same stretch of time.

    Args:
        path: PNG to write.
        rows: frames (T, H, W, 3) uint8 by label, from top to bottom.
        plots: label, and curves (T,) by their own labels, from top to bottom.
        fps: frames a second.
    """
    # Frame 0 is the same everywhere; the next is the middle of the first latent frame.
    shown = 2 + STEP_FRAMES * np.arange(NUM_TILES)
    faces = np.full((len(rows) * TILE_PX, LABEL_PX + NUM_TILES * TILE_PX, 3), 255, np.uint8)
    for at, (label, frames) in enumerate(rows.items()):
        top = at * TILE_PX
        for column, number in enumerate(shown):
            left = LABEL_PX + column * TILE_PX
            faces[top : top + TILE_PX, left : left + TILE_PX] = cv2.resize(
                frames[number], (TILE_PX, TILE_PX), interpolation=cv2.INTER_CUBIC
            )
        for line, word in enumerate(label.split("\n")):
            place = (4, top + TILE_PX // 2 + 16 * line)
            font, black = cv2.FONT_HERSHEY_SIMPLEX, (0, 0, 0)
            cv2.putText(faces, word, place, font, 0.42, black, 1, cv2.LINE_AA)
    picture = Image.fromarray(np.concatenate([faces, _drawn(plots, fps, shown)]))
    picture.quantize(NUM_COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)


def _drawn(
    plots: Sequence[tuple[str, Mapping[str, np.ndarray]]], fps: float, shown: np.ndarray
) -> np.ndarray:
    """All plots (H, W, 3); the middle of a column of faces is the time of its frame."""
    width_px, height_px = LABEL_PX + NUM_TILES * TILE_PX, len(plots) * PLOT_PX + 24
    frames = np.arange(shown[0], shown[-1] + 1)
    figure = Figure(figsize=(width_px / 100, height_px / 100), dpi=100)
    canvas = FigureCanvasAgg(figure)
    for at, (label, curves) in enumerate(plots):
        bottom = (height_px - (at + 1) * PLOT_PX + 4) / height_px
        left = LABEL_PX / width_px
        axes = figure.add_axes((left, bottom, 1 - left, (PLOT_PX - 8) / height_px))
        for name, curve in curves.items():
            axes.plot(frames / fps, curve[frames], label=name, linewidth=1.5)
        axes.set_xlim(
            (shown[0] - STEP_FRAMES / 2) / fps, (shown[-1] + STEP_FRAMES / 2) / fps
        )  # half a column
        axes.set_ylabel(label, fontsize=9)
        axes.tick_params(labelsize=7, direction="in", labelbottom=at == len(plots) - 1)
        axes.legend(fontsize=7, loc="upper right", ncols=len(curves), framealpha=0.6)
    canvas.draw()
    return np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3])
