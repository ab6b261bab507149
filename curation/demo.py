"""Demo footage with a known truth: what is made, and what a curation run must decide about it.

Everything is drawn and spoken on the spot: no download, no camera, the same bytes each time. In
this room: the catalogue. Not here: how a talking clip is made (``talking_clip``).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import skimage.data

from curation.cast import (
    ANNA,
    ANNA_VOICE,
    BORIS,
    BORIS_VOICE,
    CLARA,
    CLARA_VOICE,
    DAVID,
    DAVID_VOICE,
    EMMA,
    EMMA_VOICE,
)
from curation.face_motion import lips_for
from curation.portrait import Picture
from curation.synth_voice import DEFAULT_TEXT, OTHER_TEXT, speak
from curation.talking_clip import render_talking_clip, talking_frames, write_clip

TRUTH_FILE = "truth.json"
HELD_OUT_FILE = "held_out.mp4"
PORTRAIT_FILE = "portrait.png"
_HELD_OUT_TEXT = (
    "Four painters bought a map of the moon, and now both of them move above the open window. "
    "Perhaps you may follow the small path home before the baker opens, or wait for my brother. "
)
_SIZE_PX = (640, 480)


@dataclass(frozen=True, slots=True)
class Truth:
    """What is known of one demo file because we made it.

    Attributes:
        file: its name in the folder.
        made: how it was made, in a sentence.
        min_kept, max_kept: bounds of the number of clips that a run may keep of it.
        state: of the source after the run.
        reason: why it, or its only clip, is refused; None where something may be kept.
        av_offset_ms: how much later the sound is than the picture; None where they do not belong
            together or one is missing.
    """

    file: str
    made: str
    min_kept: int
    max_kept: int
    state: Literal["done", "rejected"]
    reason: str | None
    av_offset_ms: float | None


def make_demo_footage(
    folder: str | Path, *, only: Collection[str] | None = None
) -> tuple[Truth, ...]:
    """Make demo files and write what is true of them beside them.

    Args:
        folder: where; made if it is not there. Files of the same names are replaced.
        only: names of the files to make; None for all, about 40 s on one core.

    Returns:
        The truths in the order of the catalogue, the same as ``truth.json`` holds.

    Raises:
        ValueError: ``only`` names a file that the catalogue does not have.
    """
    unknown = set(only or ()) - {truth.file for truth, _ in CATALOGUE}
    if unknown:
        known = ", ".join(truth.file for truth, _ in CATALOGUE)
        raise ValueError(f"no demo file is named {', '.join(sorted(unknown))}; there are {known}")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    truths = []
    for truth, make in CATALOGUE:
        if only is None or truth.file in only:
            make(folder / truth.file)
            truths.append(truth)
    listed = [dataclasses.asdict(truth) for truth in truths]
    (folder / TRUTH_FILE).write_text(json.dumps(listed, indent=2) + "\n", encoding="utf-8")
    return tuple(truths)


def make_held_out(folder: str | Path) -> None:
    """Write what no demo file shows or says: a clip, and its first frame as a portrait.

    A model that was trained on the demo footage is driven by its sound and compared with it.

    Args:
        folder: where; made if it is not there.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    render_talking_clip(
        folder / HELD_OUT_FILE,
        seconds=5,
        size=(256, 256),
        face_ratio=0.6,  # from close by, as a small model is trained
        person=ANNA,
        voice=ANNA_VOICE,
        text=_HELD_OUT_TEXT,
    )
    picture = cv2.VideoCapture(str(folder / HELD_OUT_FILE)).read()[1]
    cv2.imwrite(str(folder / PORTRAIT_FILE), picture)


def _good_25fps(path: Path) -> None:
    render_talking_clip(path, seconds=7, size=_SIZE_PX, person=ANNA, voice=ANNA_VOICE)


def _good_ntsc(path: Path) -> None:
    render_talking_clip(
        path,
        seconds=6.5,
        fps=Fraction(30000, 1001),
        size=_SIZE_PX,
        person=BORIS,
        voice=BORIS_VOICE,
        text=OTHER_TEXT,
        sample_rate_hz=44_100,
    )


def _good_24fps(path: Path) -> None:
    render_talking_clip(
        path,
        seconds=8,
        fps=24,
        size=(480, 640),
        face_ratio=0.36,
        person=CLARA,
        voice=CLARA_VOICE,
        text=_from_second_sentence(DEFAULT_TEXT),
    )


def _late_audio(path: Path) -> None:
    render_talking_clip(
        path,
        seconds=8,
        size=_SIZE_PX,
        face_ratio=0.46,
        person=DAVID,
        voice=DAVID_VOICE,
        text=_from_second_sentence(OTHER_TEXT),
        av_offset_ms=200,
    )


def _dubbed(path: Path) -> None:
    other = speak(OTHER_TEXT, CLARA_VOICE, seconds=8)
    render_talking_clip(
        path, seconds=8, size=_SIZE_PX, person=EMMA, voice=EMMA_VOICE, audio_from=other
    )


def _two_shots(path: Path) -> None:
    fps, seconds = Fraction(25), 4.8
    num_frames = round(seconds * fps)
    first = speak(OTHER_TEXT, EMMA_VOICE, seconds=seconds)
    second = speak(_from_second_sentence(OTHER_TEXT), BORIS_VOICE, seconds=seconds)
    shots = (
        talking_frames(
            person,
            lips_for(speech),
            num_frames=num_frames,
            fps=fps,
            size_px=_SIZE_PX,
            face_ratio=face_ratio,
        )
        for person, speech, face_ratio in (
            (dataclasses.replace(EMMA, walls=((206, 206, 200), (150, 150, 148))), first, 0.46),
            (dataclasses.replace(BORIS, walls=((58, 84, 70), (30, 44, 38))), second, 0.38),
        )
    )
    write_clip(path, chain.from_iterable(shots), fps, np.concatenate([first.pcm, second.pcm]))


def _side_by_side(path: Path) -> None:
    fps, seconds, half_px = Fraction(25), 6.0, (_SIZE_PX[0] // 2, _SIZE_PX[1])
    num_frames = round(seconds * fps)
    speech = speak(DEFAULT_TEXT, CLARA_VOICE, seconds=seconds)
    walls = ((120, 132, 150), (80, 88, 104))
    halves = [
        talking_frames(
            dataclasses.replace(person, walls=walls),
            lips,
            num_frames=num_frames,
            fps=fps,
            size_px=half_px,
            face_ratio=0.36,
        )
        for person, lips in ((CLARA, lips_for(speech)), (DAVID, None))
    ]
    frames = (np.hstack(pair) for pair in zip(*halves, strict=True))
    write_clip(path, frames, fps, speech.pcm)


def _no_face(path: Path) -> None:
    fps, seconds = Fraction(25), 5.0
    speech = speak(OTHER_TEXT, ANNA_VOICE, seconds=seconds)
    pictures = _panned(skimage.data.coffee(), round(seconds * fps))
    write_clip(path, pictures, fps, speech.pcm)


def _panned(picture: Picture, num_frames: int) -> Iterator[Picture]:
    """A slow camera move over a still picture, with a little sensor noise."""
    width_px, height_px = _SIZE_PX
    growth = 1.15 * max(width_px / picture.shape[1], height_px / picture.shape[0])
    spare_px = growth * picture.shape[1] - width_px
    rng = np.random.default_rng(0)
    for index in range(num_frames):
        left_px = spare_px * index / num_frames
        move = np.array([[growth, 0, -left_px], [0, growth, -12]], np.float32)
        shown = cv2.warpAffine(picture, move, _SIZE_PX, flags=cv2.INTER_LINEAR)
        yield cv2.add(shown, rng.integers(0, 5, shown.shape, dtype=np.uint8))


def _no_audio(path: Path) -> None:
    fps, seconds = Fraction(25), 4.0
    lips = lips_for(speak(DEFAULT_TEXT, EMMA_VOICE, seconds=seconds))
    frames = talking_frames(EMMA, lips, num_frames=100, fps=fps, size_px=_SIZE_PX)
    write_clip(path, frames, fps, None)


def _truncated(path: Path) -> None:
    render_talking_clip(path, seconds=3, size=_SIZE_PX, person=CLARA, voice=CLARA_VOICE)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 7 // 10])


def _text_file(path: Path) -> None:
    path.write_text("This is a text file that somebody named .mp4.\n" * 40, encoding="ascii")


def _from_second_sentence(text: str) -> str:
    """The same text begun at its second sentence, so that two clips do not say the same."""
    first, rest = text.split(". ", maxsplit=1)
    return f"{rest}{first}. "


def _kept(
    file: str, made: str, *, clips: int = 1, at_least: int | None = None, av_offset_ms: float = 0.0
) -> Truth:
    """The truth of a file that gives ``clips`` clips, or from ``at_least`` to so many."""
    min_kept = clips if at_least is None else at_least
    return Truth(file, made, min_kept, clips, "done", None, av_offset_ms)


def _refused(
    file: str, made: str, reason: str, state: Literal["done", "rejected"] = "rejected"
) -> Truth:
    """The truth of a file that gives no clip; ``done`` if it is the clip that is refused."""
    return Truth(file, made, 0, 0, state, reason, None)


CATALOGUE: tuple[tuple[Truth, Callable[[Path], None]], ...] = (
    (_kept("good_25fps.mp4", "one person talks, 25 fps, 48 kHz"), _good_25fps),
    (_kept("good_ntsc.mp4", "another person talks, 30000/1001 fps, 44.1 kHz"), _good_ntsc),
    (_kept("good_24fps_upright.mp4", "a third person talks, 480x640, 24 fps"), _good_24fps),
    (
        _kept(
            "late_audio_200ms.mp4",
            "a fourth person talks, and the sound is 200 ms late: to be kept, corrected",
            av_offset_ms=200.0,
        ),
        _late_audio,
    ),
    (
        _refused(
            "dubbed.mp4",
            "the lips say one text, the sound is another voice with another text",
            "SYNC_NOT_CONFIDENT",
            "done",
        ),
        _dubbed,
    ),
    (_kept("two_shots.mp4", "two people one after the other, a cut between", clips=2), _two_shots),
    (
        _kept(
            "side_by_side.mp4",
            "two people in the picture, the left one talks, the right one listens",
            at_least=0,
        ),
        _side_by_side,
    ),
    (_refused("no_face.mp4", "a cup of coffee with a voice over it", "NO_FACE"), _no_face),
    (
        _refused("no_audio.mp4", "somebody talks in a file without sound", "NO_AUDIO_STREAM"),
        _no_audio,
    ),
    (_refused("truncated.mp4", "the last 30 % and the index are lost", "UNREADABLE"), _truncated),
    (_refused("text_named.mp4", "a text file named .mp4", "UNREADABLE"), _text_file),
)
