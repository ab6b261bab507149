"""What is asked of inputs before anything is loaded: notices, sizes, frame counts, frame rates.

An input is repaired where that is harmless, and the repair is said aloud as a notice; otherwise it
is refused with an `InputError` that names the place, the rule, the value and the way out. Sound
itself is read in `recording`, pictures in `portrait`, videos in `source_video`.
"""

from __future__ import annotations

import logging
import math
from fractions import Fraction
from typing import NamedTuple

from training.errors import InputError

MODEL_FPS = 25
"""Frames a second that curation packs and the model learns."""

MIN_FPS, MAX_FPS = 20, 31
"""A source in this range keeps its frame rate: audio features are made at the video's own rate, and
a latent frame then lasts 130 to 200 ms against 160 ms in training. Ours; beyond, it is untried."""

MAX_SIDE_RATIO = 3.0
"""Longer side over shorter. Ours: the authors' demos go to 1.9; far beyond, no base was trained."""

MAX_SIDE_PX = 4096
"""Twice 1080p. Ours: beyond, one latent frame alone fills a GPU."""

logger = logging.getLogger("training.generation")


class Notices:
    """What was repaired, in the order in which it was found; each is logged as it comes."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, place: object, what: str) -> None:
        """Note a repair, once.

        Args:
            place: file or option.
            what: what was found and what was done about it.
        """
        sentence = f"{place}: {what}"
        if sentence not in self.said:
            self.said.append(sentence)
            logger.warning(sentence)


class Size(NamedTuple):
    """Width and height in pixels."""

    width_px: int
    height_px: int


def model_size(shown: Size, area_px: int, multiple_px: int, place: object = "size") -> Size:
    """Fit a picture's shape to an area, in multiples of what model and codec need.

    Args:
        shown: size of the picture.
        area_px: pixels wanted, as 480 x 832.
        multiple_px: codec stride times patch of the transformer, 16 for Wan.
        place: for messages.

    Returns:
        The size nearest in area and shape.

    Raises:
        InputError: If the picture is far longer than wide, or the area too small.
    """
    ratio = max(shown) / min(shown)
    if ratio > MAX_SIDE_RATIO:
        raise InputError(
            f"{place}: {shown.width_px}x{shown.height_px} is {ratio:.1f} times as long as wide; "
            f"at most {MAX_SIDE_RATIO:g} is supported: crop it"
        )
    height = math.sqrt(area_px * shown.height_px / shown.width_px)
    width = area_px / height
    fitted = Size(*(max(1, round(side / multiple_px)) * multiple_px for side in (width, height)))
    if min(fitted) < 2 * multiple_px:
        raise InputError(
            f"{place}: {area_px} px in this shape are {fitted.width_px}x{fitted.height_px}, but "
            f"either side needs at least {2 * multiple_px} px; ask for a larger size"
        )
    return fitted


def checked_size(asked: Size, multiple_px: int, notices: Notices) -> Size:
    """Make a size that was asked for divisible.

    Args:
        asked: width and height.
        multiple_px: what both have to be a multiple of.
        notices: where a change is said.

    Returns:
        The nearest size that is.

    Raises:
        InputError: If a side is below two multiples or beyond `MAX_SIDE_PX`.
    """
    if max(asked) > MAX_SIDE_PX:
        raise InputError(
            f"size {asked.width_px}x{asked.height_px}: at most {MAX_SIDE_PX} px a side are made"
        )
    if min(asked) < 2 * multiple_px:
        raise InputError(
            f"size {asked.width_px}x{asked.height_px}: either side needs at least "
            f"{2 * multiple_px} px"
        )
    fitted = Size(*(round(side / multiple_px) * multiple_px for side in asked))
    if fitted != asked:
        notices.say(
            "size",
            f"{asked.width_px}x{asked.height_px} is not divisible by {multiple_px}; "
            f"{fitted.width_px}x{fitted.height_px} is made",
        )
    return fitted


def frame_rate(
    source_fps: Fraction | None, is_constant: bool, place: object, notices: Notices
) -> Fraction:
    """Choose the rate at which a source video is worked on.

    Args:
        source_fps: its average rate; ``None`` if unknown.
        is_constant: whether its frames are evenly spaced.
        place: for messages.
        notices: where a change is said.

    Returns:
        The source's own rate if the model can follow it, else the model's.
    """
    if source_fps is not None and MIN_FPS <= source_fps <= MAX_FPS:
        if not is_constant:
            notices.say(place, f"uneven frame times; shown at {float(source_fps):.3f} a second")
        elif source_fps != MODEL_FPS:
            notices.say(
                place, f"{float(source_fps):.3f} frames a second are kept; sound is aligned to them"
            )
        return source_fps
    shown = "unknown" if source_fps is None else f"{float(source_fps):.3f}"
    notices.say(
        place,
        f"{shown} frames a second are outside of {MIN_FPS} to {MAX_FPS}; "
        f"shown at {MODEL_FPS}, each moment with the frame that shows then",
    )
    return Fraction(MODEL_FPS)


def checked_duration(duration_s: float | None, max_duration_s: float) -> None:
    """Refuse a length that no film has.

    Args:
        duration_s: seconds that are asked for; ``None``: as long as the sound.
        max_duration_s: as much as sound may last.

    Raises:
        InputError: If it is no length, or longer.
    """
    if duration_s is not None and not 0 < duration_s <= max_duration_s:
        raise InputError(
            f"duration {duration_s:g} s: above 0 and at most {max_duration_s:g} s; raise the limit "
            "with --max-audio-s if so many frames are meant"
        )


def frames_for(duration_s: float, fps: Fraction | float) -> tuple[int, int]:
    """Count frames for a length of time.

    Args:
        duration_s: seconds of sound.
        fps: frames a second.

    Returns:
        Frames to write, and frames to generate: the next 4 k + 1, of which the last are dropped.
    """
    wanted = max(1, math.ceil(round(duration_s * float(fps), 6)))
    return wanted, 4 * math.ceil((wanted - 1) / 4) + 1
