"""What one picture is like: sharpness, noise, blocks, exposure, bars. Pure functions.

Sharpness, noise and blocks are read from a mosaic of full-resolution tiles, a tenth of a 1080p
picture: they are properties of the pixels, and a thumbnail has lost them. Exposure and bars are
read from the small picture. What is good enough is no question here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

TILE_PX = 64
_MAX_COLUMNS, _MAX_ROWS = 5, 3
_RIM = 8
"""Rim of a tile that the filters spoil; a multiple of the 8 x 8 grid."""

_LAPLACE_PAIR = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
_TO_SIGMA = (np.pi / 2) ** 0.5 / 6

_BAR_LEVEL = 10
_BAR_EDGE = 8
"""Black with the ringing of codecs, in grey levels; and how much brighter at least half of the row
beside a bar is: a dark studio fades to black, a bar ends."""

_FILL_STEP = 4
_FILL_DETAIL = 0.35
"""Step across the edge of a blurred fill, in grey levels, in at least half of its height; and the
most detail beyond the edge, over that between the edges."""


@dataclass(frozen=True)
class PictureSample:
    """One picture, measured.

    Attributes:
        sharpness: detail of 1 to 2 pixels over that of 4 to 8, see :func:`sharpness`.
        fine_detail: detail below 1 pixel over that of 2 to 4; low in upscaled pictures.
        noise: standard deviation of the noise in luma or chroma, whichever is larger, in grey
            levels.
        blockiness: step across the borders of the 8 x 8 grid over the steps between them.
        luma_median: of the small picture without its bars, in grey levels.
        luma_range: 95th minus 5th percentile of the same.
        crushed_ratio: share of its pixels at most 5 levels above black.
        burnt_ratio: share of its pixels at most 5 levels below white.
        colourfulness: mean chroma (largest minus smallest of R, G, B) of the same.
        bar_rows_ratio: share of the height that black bars above and below take.
        bar_columns_ratio: share of the width that black bars left and right take.
        fill_ratio: share of the width or height that a blurred fill on two sides takes.
    """

    sharpness: float
    fine_detail: float
    noise: float
    blockiness: float
    luma_median: float
    luma_range: float
    crushed_ratio: float
    burnt_ratio: float
    colourfulness: float
    bar_rows_ratio: float
    bar_columns_ratio: float
    fill_ratio: float


def examine_picture(
    luma: np.ndarray, small: np.ndarray, crops: Sequence[np.ndarray]
) -> PictureSample:
    """Measure one picture.

    Args:
        luma: luma plane at full resolution (H, W), uint8.
        small: small RGB picture (h, w, 3), uint8, upright.
        crops: RGB cuts at full resolution, from which noise of the chroma is read.

    Returns:
        The measurements.
    """
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    top, bottom = _bar(grey), _bar(grey[::-1])
    left, right = _bar(grey.T), _bar(grey.T[::-1])
    inner = (slice(top, grey.shape[0] - bottom), slice(left, grey.shape[1] - right))
    content = np.ascontiguousarray(grey[inner])
    red, green, blue = cv2.split(np.ascontiguousarray(small[inner]))
    chroma = cv2.max(cv2.max(red, green), blue) - cv2.min(cv2.min(red, green), blue)
    histogram = np.cumsum(cv2.calcHist([content], [0], None, [256], [0, 256])) / content.size
    low, middle, high = (int(np.searchsorted(histogram, part)) for part in (0.05, 0.5, 0.95))
    tiles = tiles_of(luma)
    sharp, fine = sharpness(tiles)
    return PictureSample(
        sharpness=sharp,
        fine_detail=fine,
        noise=noise(tiles, crops),
        blockiness=blockiness(tiles),
        luma_median=float(middle),
        luma_range=float(high - low),
        crushed_ratio=float(histogram[5]),
        burnt_ratio=float(1 - histogram[249]),
        colourfulness=float(cv2.mean(chroma)[0]),
        bar_rows_ratio=(top + bottom) / grey.shape[0],
        bar_columns_ratio=(left + right) / grey.shape[1],
        fill_ratio=0.0 if top + bottom + left + right else blurred_fill(luma),
    )


def tiles_of(luma: np.ndarray) -> np.ndarray:
    """Cut tiles spread evenly over the picture, aligned to the 8 x 8 grid of codecs.

    Args:
        luma: luma plane (H, W), uint8.

    Returns:
        Tiles (N, TILE_PX, TILE_PX), uint8; one smaller tile of a picture that is smaller.
    """
    height, width = luma.shape
    if min(height, width) < TILE_PX:
        return luma[None, : height // 8 * 8, : width // 8 * 8]
    columns = min(_MAX_COLUMNS, width // TILE_PX)
    rows = min(_MAX_ROWS, height // TILE_PX)
    lefts = [_aligned((width - TILE_PX) * (2 * c + 1) / (2 * columns)) for c in range(columns)]
    tops = [_aligned((height - TILE_PX) * (2 * r + 1) / (2 * rows)) for r in range(rows)]
    return np.stack([luma[t : t + TILE_PX, x : x + TILE_PX] for t in tops for x in lefts])


def sharpness(tiles: np.ndarray) -> tuple[float, float]:
    """Sharpness where the focus is, and how much of the finest detail there is.

    Octaves of detail are differences of Gaussians of 0, 1, 2, 4 and 8 pixels; rms in the quarter of
    tiles with most coarse detail. Blur takes the fine octaves before the coarse, and their ratio
    depends little on what is shown: heavy blur gives 0.1, talking heads 0.3 to 0.8. The idea of
    setting a picture against its blurred self is that of Crete et al., "The blur effect" (2007);
    the octaves and their ratio are ours.

    Args:
        tiles: tiles (N, H, W), uint8.

    Returns:
        rms(G1 - G2) / rms(G4 - G8), and rms(I - G1) / rms(G2 - G4).
    """
    count, _, width = tiles.shape
    level = tiles.reshape(-1, width).astype(np.float32)
    powers = []
    for octave in range(4):
        size_px, sigma = (7, 1.0) if octave in (0, 2) else (11, 3.0**0.5)
        blurred = cv2.GaussianBlur(level, (size_px, size_px), sigma)
        rim = max(1, _RIM >> (octave // 2 + octave // 3))
        bands = ((level - blurred) ** 2).reshape(count, -1, level.shape[1])
        powers.append(bands[:, rim:-rim, rim:-rim].mean(axis=(1, 2)))
        level = blurred
        if octave in (1, 2):
            size = (level.shape[1] // 2, level.shape[0] // 2)
            level = cv2.resize(level, size, interpolation=cv2.INTER_AREA)
    most = np.argsort(powers[2] + powers[3])[-max(1, count // 4) :]
    first, second, third, fourth = (float(power[most].mean()) ** 0.5 for power in powers)
    return second / max(fourth, 0.5), first / max(third, 0.5)


def noise(tiles: np.ndarray, crops: Sequence[np.ndarray]) -> float:
    """Standard deviation of noise, after Immerkaer, "Fast noise variance estimation" (1996).

    Args:
        tiles: tiles of luma (N, H, W), uint8; the calmest fifth of the lit ones is taken.
        crops: RGB cuts at full resolution; noise of their colour differences, the median cut.

    Returns:
        The larger of luma's and chroma's, in grey levels.
    """
    inner = tiles[:, _RIM:-_RIM, _RIM:-_RIM]
    pile = np.ascontiguousarray(inner).reshape(-1, inner.shape[2])
    pair = np.abs(cv2.filter2D(pile, cv2.CV_32F, _LAPLACE_PAIR)).reshape(inner.shape)
    noises = pair[:, 1:-1].mean(axis=(1, 2)) * _TO_SIGMA
    level = inner.mean(axis=(1, 2))
    lit = noises[(level > 24) & (level < 232)]
    in_luma = float(np.quantile(lit if len(lit) else noises, 0.2))
    in_chroma = [_chroma_noise(crop) for crop in crops]
    return max(in_luma, float(np.median(in_chroma)) if in_chroma else 0.0)


def _chroma_noise(crop: np.ndarray) -> float:
    red, green, blue = (plane[::2, ::2].astype(np.float32) for plane in cv2.split(crop))
    pile = np.vstack([red - green, blue - green])
    pair = np.abs(cv2.filter2D(pile, -1, _LAPLACE_PAIR)).reshape(2, -1)
    return float(pair.mean(axis=1).max()) * _TO_SIGMA


def blockiness(tiles: np.ndarray) -> float:
    """Mean step across the borders of the 8 x 8 grid over the mean step between them.

    Args:
        tiles: tiles (N, H, W) on the grid, uint8.

    Returns:
        1 without visible blocks; 1.6 and more where the codec left them standing.
    """
    across = cv2.absdiff(tiles[:, :, 1:], tiles[:, :, :-1]).mean(axis=(0, 1))
    down = cv2.absdiff(tiles[:, 1:], tiles[:, :-1]).mean(axis=(0, 2))
    steps = np.zeros(8)
    for part in (across, down):
        steps += part[: len(part) // 8 * 8].reshape(-1, 8).mean(axis=0)
    return float((steps[7] + 0.1) / (steps[:7].mean() + 0.1))


def blurred_fill(luma: np.ndarray) -> float:
    """Share of the width, or of the height, that blurred copies of the picture take on two sides.

    Two straight edges at mirrored places, with detail between them and hardly any beyond.

    Args:
        luma: luma plane (H, W), uint8.

    Returns:
        Share in [0, 1], 0 if there is no such fill.
    """
    step_y, step_x = max(1, luma.shape[0] // 48), max(1, luma.shape[1] // 48)
    in_columns = _fill(np.ascontiguousarray(luma[step_y // 2 :: step_y]))
    return in_columns or _fill(np.ascontiguousarray(luma[:, step_x // 2 :: step_x].T))


def _fill(lines: np.ndarray) -> float:
    steps = cv2.absdiff(lines[:, 1:], lines[:, :-1])
    width = steps.shape[1]
    straight = cv2.reduce((steps >= _FILL_STEP).astype(np.float32), 0, cv2.REDUCE_AVG)[0]
    bends = cv2.absdiff(steps[:, 1:], steps[:, :-1])
    detail = cv2.reduce(bends, 0, cv2.REDUCE_AVG, dtype=cv2.CV_32F)
    mirror = cv2.dilate(straight[None, ::-1], np.ones((1, 5), np.uint8))[0]
    # Beyond and between need a column each, which narrow pictures have not.
    first, last = max(9, int(0.05 * width)), min(int(0.42 * width), (width - 9) // 2)
    if first >= last:
        return 0.0
    mirrored = np.minimum(straight, mirror)[first:last]
    edge = first + int(np.argmax(mirrored))
    if mirrored[edge - first] < 0.5:
        return 0.0
    beyond = max(detail[0, 4 : edge - 4].mean(), detail[0, width - edge + 3 : -4].mean())
    between = detail[0, edge + 4 : width - edge - 5].mean()
    return 2 * (edge + 1) / (width + 1) if beyond < _FILL_DETAIL * between else 0.0


def _aligned(position: float) -> int:
    return int(position) // 8 * 8


def _bar(grey: np.ndarray) -> int:
    """Rows of a black bar at the top: plain black, ended by an edge across."""
    black = grey.max(axis=1) <= _BAR_LEVEL
    rows = int(np.argmin(black))
    if rows == 0 or rows > 0.45 * len(grey):
        return 0
    inside = grey[min(rows + 1, len(grey) - 1)]
    return rows if (inside > _BAR_LEVEL + _BAR_EDGE).mean() >= 0.5 else 0
