"""Demo footage with a known truth: what is made, and what a curation run must decide about it.

Everything is drawn and spoken on the spot: no download, no camera, the same bytes each time. In
this room: the catalogue. Not here: how a talking clip is made (``talking_clip``).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import skimage.data

from curation.face_motion import lips_for
from curation.portrait import Person, Picture
from curation.synth_voice import DEFAULT_TEXT, OTHER_TEXT, Voice, speak
from curation.talking_clip import render_talking_clip, talking_frames, write_clip

TRUTH_FILE = "truth.json"
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


ANNA = Person("Anna", seed=3)
BORIS = Person(
    "Boris",
    mirrored=True,
    face_width=1.12,
    eye_size=0.86,
    nose_size=1.12,
    jaw_width=1.12,
    suit_hue_deg=200,
    hair_tint=(0.50, 0.42, 0.40),
    skin_tint=(0.93, 0.86, 0.82),
    walls=((150, 120, 96), (92, 70, 58)),
    seed=5,
)
CLARA = Person(
    "Clara",
    face_width=0.93,
    eye_size=1.10,
    nose_size=0.90,
    jaw_width=0.92,
    suit_hue_deg=110,
    hair_tint=(0.95, 0.62, 0.45),
    skin_tint=(1.03, 0.98, 0.96),
    walls=((188, 196, 168), (120, 134, 110)),
    seed=8,
)
DAVID = Person(
    "David",
    mirrored=True,
    face_width=1.05,
    eye_size=0.92,
    nose_size=1.08,
    jaw_width=1.16,
    suit_hue_deg=260,
    hair_tint=(0.35, 0.34, 0.38),
    skin_tint=(0.80, 0.70, 0.62),
    walls=((84, 96, 128), (46, 52, 74)),
    seed=13,
)
EMMA = Person(
    "Emma",
    mirrored=True,
    face_width=0.97,
    eye_size=1.05,
    jaw_width=0.95,
    suit_hue_deg=320,
    hair_tint=(1.10, 1.08, 1.02),
    walls=((200, 176, 170), (140, 112, 116)),
    seed=21,
)

_ANNA_VOICE = Voice("en-us+f3", rate_wpm=155, pitch=50, seed=3)
_BORIS_VOICE = Voice("en-us+m3", rate_wpm=145, pitch=35, seed=5)
_CLARA_VOICE = Voice("en-gb-x-rp+f2", rate_wpm=160, pitch=55, seed=8)
_DAVID_VOICE = Voice("en-us+m7", rate_wpm=150, pitch=38, seed=13)
_EMMA_VOICE = Voice("en-us+f4", rate_wpm=150, pitch=52, seed=21)


def make_demo_footage(folder: str | Path) -> tuple[Truth, ...]:
    """Make all demo files and write what is true of them beside them.

    Args:
        folder: where; made if it is not there. Files of the same names are replaced.

    Returns:
        The truths in the order of the catalogue, the same as ``truth.json`` holds.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    truths = []
    for truth, make in CATALOGUE:
        make(folder / truth.file)
        truths.append(truth)
    listed = [dataclasses.asdict(truth) for truth in truths]
    (folder / TRUTH_FILE).write_text(json.dumps(listed, indent=2) + "\n", encoding="utf-8")
    return tuple(truths)


def _good_25fps(path: Path) -> None:
    render_talking_clip(path, seconds=7, size=_SIZE_PX, person=ANNA, voice=_ANNA_VOICE)


def _good_ntsc(path: Path) -> None:
    render_talking_clip(
        path,
        seconds=6.5,
        fps=Fraction(30000, 1001),
        size=_SIZE_PX,
        person=BORIS,
        voice=_BORIS_VOICE,
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
        voice=_CLARA_VOICE,
        text=_from_second_sentence(DEFAULT_TEXT),
    )


def _late_audio(path: Path) -> None:
    render_talking_clip(
        path,
        seconds=8,
        size=_SIZE_PX,
        face_ratio=0.46,
        person=DAVID,
        voice=_DAVID_VOICE,
        text=_from_second_sentence(OTHER_TEXT),
        av_offset_ms=200,
    )


def _dubbed(path: Path) -> None:
    other = speak(OTHER_TEXT, _CLARA_VOICE, seconds=8)
    render_talking_clip(
        path, seconds=8, size=_SIZE_PX, person=EMMA, voice=_EMMA_VOICE, audio_from=other
    )


def _two_shots(path: Path) -> None:
    fps, seconds = Fraction(25), 4.8
    num_frames = round(seconds * fps)
    first = speak(OTHER_TEXT, _EMMA_VOICE, seconds=seconds)
    second = speak(_from_second_sentence(OTHER_TEXT), _BORIS_VOICE, seconds=seconds)
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
    speech = speak(DEFAULT_TEXT, _CLARA_VOICE, seconds=seconds)
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
    speech = speak(OTHER_TEXT, _ANNA_VOICE, seconds=seconds)
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
    lips = lips_for(speak(DEFAULT_TEXT, _EMMA_VOICE, seconds=seconds))
    frames = talking_frames(EMMA, lips, num_frames=100, fps=fps, size_px=_SIZE_PX)
    write_clip(path, frames, fps, None)


def _truncated(path: Path) -> None:
    render_talking_clip(path, seconds=3, size=_SIZE_PX, person=CLARA, voice=_CLARA_VOICE)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 7 // 10])


def _text_file(path: Path) -> None:
    path.write_text("This is a text file that somebody named .mp4.\n" * 40, encoding="ascii")


def _from_second_sentence(text: str) -> str:
    """The same text begun at its second sentence, so that two clips do not say the same."""
    first, rest = text.split(". ", maxsplit=1)
    return f"{rest}{first}. "


CATALOGUE: tuple[tuple[Truth, Callable[[Path], None]], ...] = (
    (
        Truth("good_25fps.mp4", "one person talks, 25 fps, 48 kHz", 1, 1, "done", None, 0.0),
        _good_25fps,
    ),
    (
        Truth(
            "good_ntsc.mp4",
            "another person talks, 30000/1001 fps, 44.1 kHz",
            1,
            1,
            "done",
            None,
            0.0,
        ),
        _good_ntsc,
    ),
    (
        Truth("good_24fps_upright.mp4", "a third person, 480x640, 24 fps", 1, 1, "done", None, 0.0),
        _good_24fps,
    ),
    (
        Truth(
            "late_audio_200ms.mp4",
            "a fourth person talks, and the sound is 200 ms late: to be kept, corrected",
            1,
            1,
            "done",
            None,
            200.0,
        ),
        _late_audio,
    ),
    (
        Truth(
            "dubbed.mp4",
            "the lips say one text, the sound is another voice with another text",
            0,
            0,
            "done",
            "SYNC_NOT_CONFIDENT",
            None,
        ),
        _dubbed,
    ),
    (
        Truth("two_shots.mp4", "two people, one after the other, a cut between", 2, 2, "done", None, 0.0),
        _two_shots,
    ),
    (
        Truth(
            "side_by_side.mp4",
            "two people in the picture, the left one talks, the right one listens",
            0,
            1,
            "done",
            None,
            0.0,
        ),
        _side_by_side,
    ),
    (
        Truth(
            "no_face.mp4", "a cup of coffee with a voice over it", 0, 0, "rejected", "NO_FACE", None
        ),
        _no_face,
    ),
    (
        Truth(
            "no_audio.mp4",
            "a person talks, but the file has no sound",
            0,
            0,
            "rejected",
            "NO_AUDIO_STREAM",
            None,
        ),
        _no_audio,
    ),
    (
        Truth(
            "truncated.mp4",
            "the last 30 % is missing, and the index with it",
            0,
            0,
            "rejected",
            "UNREADABLE",
            None,
        ),
        _truncated,
    ),
    (
        Truth("text_named.mp4", "a text file named .mp4", 0, 0, "rejected", "UNREADABLE", None),
        _text_file,
    ),
)
