"""Talking footage as much as is asked for: the demo's cast says sentences that nobody else says.

Not here: what is learned of it (`learns_audio.py`).
"""

from __future__ import annotations

import dataclasses
import random
from pathlib import Path

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
from curation.talking_clip import render_talking_clip

_CAST = (
    (ANNA, ANNA_VOICE),
    (BORIS, BORIS_VOICE),
    (CLARA, CLARA_VOICE),
    (DAVID, DAVID_VOICE),
    (EMMA, EMMA_VOICE),
)
_WHO = "my mother|the baker|a pilot|our teacher|the young woman|his brother|every farmer|a pale boy"
_DID = "bought|found|moved|painted|remembered|gave away|opened|photographed|borrowed|washed"
_WHAT = (
    "a warm coat|five apples|the blue boat|an old map|both windows|some fresh bread|a big umbrella|"
    "the paper bag|many small bells|a wooden box|the open book|four yellow lamps"
)
_WHERE = (
    "above the harbour|before the movie|by the river|in the park|among the mountains|at a museum|"
    "over the bridge|near the fire|behind the apartment|on the way home"
)
_WHEN = "in the evening|on Monday|before noon|at five|all summer|after the war|every other month"


def make_sentences(seed: int, num_sentences: int) -> str:
    """Return sentences that are drawn word by word; another seed gives others."""
    draw = random.Random(seed)
    parts = [part.split("|") for part in (_WHO, _DID, _WHAT, _WHERE, _WHEN)]
    sentences = []
    for _ in range(num_sentences):
        who, did, what, where, when = (draw.choice(part) for part in parts)
        sentences.append(f"{who} {did} {what} {where} {when}.".capitalize())
    return " ".join(sentences)


def make_footage(folder: Path, numbers: range, *, seconds: float, side_px: int) -> None:
    """Write clips of persons in turn, each with sentences of its own; those there are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        path = folder / f"talk{number:03d}.mp4"
        if path.is_file():
            continue
        person, voice = _CAST[number % len(_CAST)]
        part = path.with_suffix(".part.mp4")
        render_talking_clip(
            part,
            seconds=seconds,
            size=(side_px, side_px),
            person=dataclasses.replace(person, seed=100 + number),
            voice=dataclasses.replace(voice, seed=100 + number),
            text=make_sentences(number, 6),
            face_ratio=0.55,
        )
        part.rename(path)
