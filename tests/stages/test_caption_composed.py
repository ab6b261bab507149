"""Captions say what was measured, in words that vary, and nothing else."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from stages.caption_composed import CaptionFacts, compose

TYPICAL = CaptionFacts(
    face_height_ratio=0.35,
    yaw_deg=4.0,
    pitch_deg=0.0,
    head_speed=0.1,
    camera_motion=0.003,
    luma_median=100.0,
    colourfulness=30.0,
    speech_ratio=0.7,
    snr_db=25.0,
    num_faces=1,
)
IDS = [f"{number:020x}" for number in range(40)]


def captions(facts: CaptionFacts) -> list[str]:
    return [compose(clip_id, facts) for clip_id in IDS]


def test_same_clip_same_words_and_other_clips_other_words() -> None:
    assert captions(TYPICAL) == captions(TYPICAL)
    assert len(set(captions(TYPICAL))) > 10


@pytest.mark.parametrize("facts", [TYPICAL, CaptionFacts(), replace(TYPICAL, num_faces=3)])
def test_one_or_two_whole_sentences(facts: CaptionFacts) -> None:
    for text in captions(facts):
        assert re.fullmatch(r"[A-Z][^.]*\.( [A-Z][^.]*\.)?", text)
        assert "  " not in text
        assert ", ," not in text


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"face_height_ratio": 0.6}, "close-up"),
        ({"face_height_ratio": 0.35}, "shoulders"),
        ({"face_height_ratio": 0.2}, "half-body|medium"),
        ({"face_height_ratio": 0.05}, "wide|distance"),
        ({"yaw_deg": -30.0}, "left"),
        ({"yaw_deg": 70.0}, "profile.*right|right.*profile"),
        ({"yaw_deg": 5.0}, "camera"),
        ({"pitch_deg": -20.0}, "lowered"),
        ({"camera_motion": 0.2}, "moves|motion"),
        ({"luma_median": 10.0}, "dark|hardly"),
        ({"luma_median": 40.0}, "low|dimly"),
        ({"luma_median": 220.0}, "bright"),
        ({"colourfulness": 0.0}, "black-and-white"),
        ({"speech_ratio": 0.95}, "without a pause|continuously"),
        ({"speech_ratio": 0.3}, "long pauses|now and then"),
        ({"snr_db": 3.0}, "nois"),
        ({"num_faces": 2}, "else|others"),
        ({"head_speed": 1.0}, "head"),
    ],
)
def test_what_was_measured_is_said(change: dict[str, float], words: str) -> None:
    assert all(re.search(words, text.lower()) for text in captions(replace(TYPICAL, **change)))


def test_what_was_not_measured_is_not_said() -> None:
    silent = re.compile(r"camera|dark|light|profile|pause|noise|black-and-white|head")
    assert not any(silent.search(text) for text in captions(CaptionFacts()))


def test_nothing_is_guessed() -> None:
    guess = re.compile(r"\b(man|woman|girl|boy|young|old|he|she|his|her|happy|sad)\b")
    assert not any(guess.search(text.lower()) for text in captions(TYPICAL))
