"""What a model is told, and which of its answers are believed."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from stages.caption_composed import CaptionFacts
from stages.caption_prompt import (
    HINTS,
    CaptionAnswer,
    CaptionFailure,
    CaptionRequest,
    Prompt,
    answer_schema,
    build_prompt,
    describe,
    read_answer,
)
from tests.stages.chat_server import GOOD

REQUEST = CaptionRequest((b"1", b"2", b"3"), CaptionFacts(), 4.25)


def answer(**change: object) -> str:
    return json.dumps({**GOOD, **change}, ensure_ascii=False)


def text_for(facts: CaptionFacts) -> str:
    return build_prompt(CaptionRequest((b"1",), facts, 5.0), 60).text


def test_every_key_of_the_answer_is_asked_for_and_explained() -> None:
    text = build_prompt(REQUEST, 60).text
    for name, field in CaptionAnswer.model_fields.items():
        assert f'"{name}": {field.description}' in text
    assert answer_schema()["required"] == list(CaptionAnswer.model_fields)
    assert answer_schema()["additionalProperties"] is False


def test_length_and_number_of_pictures_are_told() -> None:
    text = build_prompt(REQUEST, 33).text
    assert "3 pictures" in text
    assert "4.2 seconds" in text
    assert "at most 33 words" in text


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        (CaptionFacts(num_faces=3), "3 people"),
        (CaptionFacts(camera_motion=0.2), "The camera moves"),
        (CaptionFacts(camera_motion=0.03), "camera sways"),
        (CaptionFacts(camera_motion=0.001), "camera stands still"),
        (CaptionFacts(head_speed=0.9), "head moves a lot"),
        (CaptionFacts(head_speed=0.1), "head moves little"),
        (CaptionFacts(speech_ratio=0.5), "50 %"),
        (CaptionFacts(snr_db=3.0), "noise"),
    ],
)
def test_what_was_measured_is_told(facts: CaptionFacts, words: str) -> None:
    assert words in text_for(facts)
    assert words not in text_for(CaptionFacts())


def test_what_was_not_measured_is_not_told() -> None:
    assert "Measured" not in text_for(CaptionFacts())


def test_a_good_answer_is_taken_word_for_word() -> None:
    found = read_answer(answer(), 60)
    assert isinstance(found, CaptionAnswer)
    assert found.model_dump() == GOOD


def test_a_code_fence_and_line_breaks_are_taken_off() -> None:
    broken = answer(caption="Someone\n  talks.")
    found = read_answer(f"```json\n{broken}\n```", 60)
    assert isinstance(found, CaptionAnswer)
    assert found.caption == "Someone talks."


@pytest.mark.parametrize(
    ("text", "failure"),
    [
        ("", CaptionFailure.EMPTY),
        (" \n", CaptionFailure.EMPTY),
        (answer(caption="  "), CaptionFailure.EMPTY),
        ("A person talks.", CaptionFailure.NOT_JSON),
        (f"Here it is: {answer()}", CaptionFailure.NOT_JSON),
        (answer()[:-9], CaptionFailure.NOT_JSON),
        (answer().replace("calm", "\\ud800"), CaptionFailure.NOT_JSON),
        ("[]", CaptionFailure.WRONG_FIELDS),
        ("null", CaptionFailure.WRONG_FIELDS),
        (answer(mood="calm"), CaptionFailure.WRONG_FIELDS),
        (answer(subject=None), CaptionFailure.WRONG_FIELDS),
        (answer(caption=["A person talks."]), CaptionFailure.WRONG_FIELDS),
        (json.dumps({"caption": "A person talks."}), CaptionFailure.WRONG_FIELDS),
        (answer(caption="word " * 61), CaptionFailure.TOO_LONG),
        (answer(setting="word " * 61), CaptionFailure.TOO_LONG),
        ("I'm sorry, but I can't help with that.", CaptionFailure.REFUSED),
        ("I\u2019m unable to describe real people.", CaptionFailure.REFUSED),
        (answer(caption="I cannot identify the person."), CaptionFailure.REFUSED),
        (answer(caption="Barack Obama talks to the camera."), CaptionFailure.NAMES_SOMEBODY),
        (answer(caption="In a studio, Jean-Luc Picard talks."), CaptionFailure.NAMES_SOMEBODY),
        (answer(caption="The speech is held by Ólafur Þórsson."), CaptionFailure.NAMES_SOMEBODY),
        (answer(subject="a woman who looks like Madonna"), CaptionFailure.NAMES_SOMEBODY),
        (answer(appearance="a famous singer"), CaptionFailure.NAMES_SOMEBODY),
    ],
)
def test_what_is_wrong_with_an_answer_is_said_by_its_kind(
    text: str, failure: CaptionFailure
) -> None:
    assert read_answer(text, 60) is failure


@pytest.mark.parametrize(
    "caption",
    [
        "A person with a T-shirt and a TV behind talks. The Christmas tree is lit.",
        "Sorry-looking flowers stand beside a person who talks.",
        "Speaking softly, a person looks like winning a game.",
        "Close to the camera, someone talks; I-beams are behind.",
    ],
)
def test_capitals_and_words_of_regret_alone_are_no_fault(caption: str) -> None:
    assert isinstance(read_answer(answer(caption=caption), 60), CaptionAnswer)


class Script:
    """A model that gives prepared answers and remembers what it was asked."""

    def __init__(self, *rounds: list[str | CaptionFailure]) -> None:
        self.rounds = list(rounds)
        self.asked: list[Sequence[Prompt]] = []

    def __call__(self, prompts: Sequence[Prompt]) -> list[str | CaptionFailure]:
        self.asked.append(prompts)
        return self.rounds.pop(0)


@pytest.mark.parametrize("failure", sorted(HINTS))
def test_a_wrong_answer_is_asked_once_again_with_its_hint(failure: CaptionFailure) -> None:
    script = Script([failure], [answer()])
    [found] = describe(script, [REQUEST], 60)
    assert isinstance(found, CaptionAnswer)
    first, second = (asked[0].text for asked in script.asked)
    assert second == f"{first}\n{HINTS[failure]}"


def test_twice_wrong_is_missing_with_the_last_reason() -> None:
    script = Script(["no"], ["{}"])
    assert describe(script, [REQUEST], 60) == [CaptionFailure.WRONG_FIELDS]
    assert len(script.asked) == 2


def test_only_the_wrong_ones_are_asked_again() -> None:
    script = Script([answer(), "no", CaptionFailure.TIMED_OUT], [answer(subject="again")])
    first, second, third = describe(script, [REQUEST] * 3, 60)
    assert isinstance(first, CaptionAnswer)
    assert isinstance(second, CaptionAnswer)
    assert (first.subject, second.subject) == (GOOD["subject"], "again")
    assert third is CaptionFailure.TIMED_OUT
    assert [len(asked) for asked in script.asked] == [3, 1]


def test_a_clip_without_pictures_is_not_asked_about() -> None:
    script = Script()
    blind = CaptionRequest((), CaptionFacts(), 4.0)
    assert describe(script, [blind], 60) == [CaptionFailure.NO_PICTURE]
    assert script.asked == []
