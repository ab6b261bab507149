"""A portrait: opened, turned upright, flattened, fitted to the model's size, its faces found.

Not in the room: what the model makes of it (`window_conditions`).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from training.errors import InputError
from training.generation.faces import FaceFinder
from training.generation.inputs import Notices, Size, model_size

MIN_SIDE_PX = 64
"""A smaller picture holds no face to animate. Ours."""
MAX_PIXELS = 178_956_970
"""Above twice Pillow's ``MAX_IMAGE_PIXELS`` it takes a picture for a decompression bomb."""
SMALL_FACE_PX = 48
"""Fitted faces below are animated badly by every peer (fantasy-talking issues 14 and 26)."""
_GREY = (128, 128, 128)
_EXIF_ORIENTATION = 0x0112


@dataclass(frozen=True)
class Portrait:
    """A picture that fits the model.

    Attributes:
        rgb_HWC: uint8.
        faces: [478, 2] landmarks in its pixels, the largest first; empty if none was looked for.
    """

    rgb_HWC: np.ndarray
    faces: tuple[np.ndarray, ...] = ()

    @property
    def size(self) -> Size:
        """Its size."""
        return Size(self.rgb_HWC.shape[1], self.rgb_HWC.shape[0])


def open_portrait(
    picture: str | Path | Any,
    size: Size | None,
    area_px: int,
    multiple_px: int,
    notices: Notices | None = None,
    *,
    finder: FaceFinder | None = None,
    num_speakers: int = 1,
) -> Portrait:
    """Open and check a portrait.

    Args:
        picture: file, or a PIL picture.
        size: wanted size; ``None``: by area, in the picture's shape.
        area_px: pixels wanted where no size is.
        multiple_px: what sides have to be a multiple of.
        notices: where repairs are said.
        finder: looks for faces; ``None``: they are not looked for.
        num_speakers: faces that are to speak.

    Returns:
        The portrait.

    Raises:
        InputError: If it cannot be read, is too small or too large, or has too few faces.
    """
    notices = notices or Notices()
    place = picture if isinstance(picture, str | Path) else "portrait"
    rgb = _flattened(_opened(picture, place), place, notices)
    shown = Size(rgb.shape[1], rgb.shape[0])
    if min(shown) < MIN_SIDE_PX:
        raise InputError(
            f"{place}: {shown.width_px}x{shown.height_px}; at least {MIN_SIDE_PX} px a side are "
            "needed: give a larger picture"
        )
    size = size or model_size(shown, area_px, multiple_px, place)
    rgb = _fitted(rgb, size, place, notices)
    faces = _faces(rgb, finder, num_speakers, place, notices) if finder else ()
    return Portrait(rgb, faces)


def _opened(picture: str | Path | Any, place: object) -> Any:
    from PIL import Image, UnidentifiedImageError

    if not isinstance(picture, str | Path):
        return picture
    if not Path(picture).exists():
        raise InputError(f"{place}: there is no such file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            opened = Image.open(picture)
            opened.load()
    except Image.DecompressionBombError as error:
        raise InputError(
            f"{place}: more than {MAX_PIXELS // 10**6} million pixels; make it smaller first"
        ) from error
    except (UnidentifiedImageError, OSError) as error:
        raise InputError(f"{place}: cannot be read as a picture ({error})") from error
    return opened


def _flattened(picture: Any, place: object, notices: Notices) -> np.ndarray:
    from PIL import Image, ImageOps

    if getattr(picture, "n_frames", 1) > 1:
        notices.say(place, f"{picture.n_frames} pictures in it; the first is used")
    upright = ImageOps.exif_transpose(picture)
    if picture.getexif().get(_EXIF_ORIENTATION, 1) != 1:
        notices.say(place, "turned upright as its EXIF orientation says")
    if upright.mode in {"I", "I;16", "I;16B", "F"}:
        notices.say(place, f"mode {upright.mode}: its range is brought to 8 bits")
        values = np.asarray(upright, np.float64)
        values = (values - values.min()) / max(np.ptp(values), 1e-9) * 255
        upright = Image.fromarray(values.astype(np.uint8))
    if "A" in upright.getbands() or "transparency" in upright.info:
        laid = upright.convert("RGBA")
        if np.asarray(laid)[..., 3].min() < 255:
            notices.say(place, "transparent in parts; laid on grey")
        ground = Image.new("RGBA", laid.size, (*_GREY, 255))
        upright = Image.alpha_composite(ground, laid)
    return np.asarray(upright.convert("RGB"))


def _fitted(rgb: np.ndarray, size: Size, place: object, notices: Notices) -> np.ndarray:
    """Scale to cover the size and cut what is over, the same on both sides."""
    import cv2

    shown = Size(rgb.shape[1], rgb.shape[0])
    if shown == size:
        return rgb
    ratio = max(size.width_px / shown.width_px, size.height_px / shown.height_px)
    if ratio > 2 or ratio < 0.25:
        what = "enlarged, which makes it soft" if ratio > 2 else "made smaller"
        notices.say(
            place,
            f"{shown.width_px}x{shown.height_px} {what}, to {size.width_px}x{size.height_px}",
        )
    scaled = Size(
        max(size.width_px, round(shown.width_px * ratio)),
        max(size.height_px, round(shown.height_px * ratio)),
    )
    cut_ratio = 1 - size.width_px * size.height_px / (scaled.width_px * scaled.height_px)
    if cut_ratio > 0.05:
        notices.say(place, f"cut to {size.width_px}x{size.height_px}, {cut_ratio:.0%} is left out")
    way = cv2.INTER_AREA if ratio < 1 else cv2.INTER_CUBIC
    large = cv2.resize(rgb, tuple(scaled), interpolation=way)
    left = (scaled.width_px - size.width_px) // 2
    top = (scaled.height_px - size.height_px) // 2
    return large[top : top + size.height_px, left : left + size.width_px]


def _faces(
    rgb: np.ndarray, finder: FaceFinder, num_speakers: int, place: object, notices: Notices
) -> tuple[np.ndarray, ...]:
    faces = finder.find(rgb)
    if len(faces) < num_speakers:
        raise InputError(
            f"{place}: {len(faces) or 'no'} face{'s' * (len(faces) != 1)} found, {num_speakers} "
            "needed; give another portrait, or --no-face-check for what is no human face"
        )
    if len(faces) > num_speakers:
        notices.say(
            place, f"{len(faces)} faces; the largest {num_speakers} will speak, the others not"
        )
    smallest_px = min(float(np.ptp(face[:, 1])) for face in faces[:num_speakers])
    if smallest_px < SMALL_FACE_PX:
        notices.say(
            place,
            f"a face of {smallest_px:.0f} px in the video's size; lips that small are seldom clear,"
            " cut the picture closer or ask for a larger size",
        )
    return tuple(faces)
