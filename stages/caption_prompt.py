"""What a vision-language model is asked about a clip, and which of its answers are believed.

In the room: the prompt, the form of the answer, its checks, the one repetition with a sterner
hint. Both ways to reach a model (:mod:`stages.caption_server`, :mod:`stages.caption_vlm`) go
through :func:`describe`, so that the same answer gives the same record. Not in the room: how a
prompt gets to a model.

What was measured is told to the model instead of being guessed from a few pictures: length,
people, motion of camera and head, share of speech.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stages.caption_composed import HANDHELD_CAMERA, LIVELY_HEAD, MOVING_CAMERA, CaptionFacts


class CaptionFailure(StrEnum):
    """Why a clip has no caption; each is a fact about the answer, or about why there is none."""

    REFUSED = "REFUSED"
    EMPTY = "EMPTY"
    NOT_JSON = "NOT_JSON"
    WRONG_FIELDS = "WRONG_FIELDS"
    TOO_LONG = "TOO_LONG"
    NAMES_SOMEBODY = "NAMES_SOMEBODY"
    NO_PICTURE = "NO_PICTURE"
    TIMED_OUT = "TIMED_OUT"
    SERVER_BUSY = "SERVER_BUSY"
    SERVER_ERROR = "SERVER_ERROR"
    BUDGET_SPENT = "BUDGET_SPENT"


HINTS: dict[CaptionFailure, str] = {
    CaptionFailure.REFUSED: (
        "Nobody is to be recognised: describe clothes, hair, gestures, light and place, as one "
        "would of a stranger."
    ),
    CaptionFailure.EMPTY: "The last answer was empty. Write the JSON object.",
    CaptionFailure.NOT_JSON: (
        "The last answer was not JSON. Begin with { and end with }, with no word before or after."
    ),
    CaptionFailure.WRONG_FIELDS: (
        "The last answer had other keys or values. Use exactly the keys above, each with a string."
    ),
    CaptionFailure.TOO_LONG: "The last answer was too long. Write a few words a key.",
    CaptionFailure.NAMES_SOMEBODY: (
        "The last answer had a proper name or said whom somebody looks like. Use no proper names, "
        "and capitals only at the start."
    ),
}
"""Failures that are worth a second question, and what is added to it."""

_QUOTES = str.maketrans({0x2018: "'", 0x2019: "'", 0x201C: '"', 0x201D: '"'})
_REFUSAL = re.compile(
    r"\W*(?:(?:i'?m|i am) (?:sorry|unable|not able)|sorry\b(?=[,.!]| but)"
    r"|i (?:can't|cannot|can not|won't)|as an ai\b|unable to (?:help|assist|describe))",
    re.IGNORECASE,
)
_STARTER = re.compile(
    r"(?:An?|The|In|On|At|With|Against|Behind|Before|Beside|Near|One|Two|Three|This|Their|\w+ing)\b"
)
"""Words that begin a sentence more often than a name does."""

_LIKENESS = re.compile(
    r"\b(?:named|called|known as|identified as|recogni[sz]ed as|resembl\w+|look(?:s|ing)? like) "
    r"[^\W\d_a-z]|\b(?:celebrity|famous|lookalike)\b"
)
_FENCE = re.compile(r"```(?:json)?\s*(\{.*\})\s*```", re.DOTALL)


class CaptionAnswer(BaseModel):
    """What a model says of a clip; the empty string where nothing can be told.

    Attributes:
        subject: who.
        appearance: what they look like.
        expression: their face.
        motion: what they do.
        camera: framing and motion of the camera.
        setting: where.
        speech_manner: how they speak.
        caption: all of it in a sentence.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    subject: str = Field(description="the person, in two to five words")
    appearance: str = Field(description="hair, clothes and what is worn, as far as it is seen")
    expression: str = Field(description="facial expression, and how it changes")
    motion: str = Field(description="gestures, and how head and body move")
    camera: str = Field(description="framing, angle, and whether the camera moves")
    setting: str = Field(description="place, background and light")
    speech_manner: str = Field(description="how the person speaks: pace, pauses, energy")
    caption: str = Field(description="everything that matters in one sentence")


@dataclass(frozen=True)
class CaptionRequest:
    """One clip to describe.

    Attributes:
        jpegs: pictures of the clip in order.
        facts: what was measured of it.
        duration_s: its length.
    """

    jpegs: tuple[bytes, ...]
    facts: CaptionFacts
    duration_s: float


@dataclass(frozen=True)
class Prompt:
    """What is shown and said to a model.

    Attributes:
        jpegs: pictures in order.
        text: the words after them.
    """

    jpegs: tuple[bytes, ...]
    text: str


Complete = Callable[[Sequence[Prompt]], Sequence["str | CaptionFailure"]]
"""Asks a model: for each prompt its answer as it came, or why there is none."""


def describe(
    complete: Complete, requests: Sequence[CaptionRequest], max_words: int
) -> list[CaptionAnswer | CaptionFailure]:
    """Describe clips; what is wrong with an answer is asked once again with a hint.

    Args:
        complete: asks the model.
        requests: the clips.
        max_words: longest caption.

    Returns:
        For each clip what was said of it, or why nothing is believed.
    """
    results: list[CaptionAnswer | CaptionFailure] = [CaptionFailure.NO_PICTURE] * len(requests)
    todo = {index: "" for index, request in enumerate(requests) if request.jpegs}
    for _ in range(2):
        prompts = [build_prompt(requests[index], max_words, hint) for index, hint in todo.items()]
        read = [
            said if isinstance(said, CaptionFailure) else read_answer(said, max_words)
            for said in (complete(prompts) if prompts else ())
        ]
        for index, result in zip(todo, read, strict=True):
            results[index] = result
        todo = {
            index: HINTS[result]
            for index in todo
            if isinstance(result := results[index], CaptionFailure) and result in HINTS
        }
    return results


def build_prompt(request: CaptionRequest, max_words: int, hint: str = "") -> Prompt:
    """Build the prompt of one clip.

    Args:
        request: the clip.
        max_words: longest caption.
        hint: what was wrong with the last answer; empty for the first question.

    Returns:
        The prompt.
    """
    count = len(request.jpegs)
    shown = "a picture" if count == 1 else f"{count} pictures, in order and evenly spaced,"
    facts = "".join(f"- {fact}\n" for fact in _facts(request.facts))
    text = _TEMPLATE.format(
        shown=shown,
        duration_s=request.duration_s,
        facts=f"Measured, to be taken as given:\n{facts}" if facts else "",
        keys="\n".join(
            f'"{name}": {field.description}' for name, field in CaptionAnswer.model_fields.items()
        ),
        max_words=max_words,
    )
    return Prompt(request.jpegs, f"{text}\n{hint}" if hint else text)


def read_answer(text: str, max_words: int) -> CaptionAnswer | CaptionFailure:
    """Check an answer.

    Names are found by their capitals: two capitalised words in a row, or one after words of
    likeness. A first name alone at the start of a sentence is not found.

    Args:
        text: the answer as it came: a JSON object, or one in a code fence.
        max_words: longest value.

    Returns:
        What it says, or what is wrong with it.
    """
    text = text.strip()
    if not text:
        return CaptionFailure.EMPTY
    fenced = _FENCE.fullmatch(text)
    try:
        answer = CaptionAnswer.model_validate_json(fenced.group(1) if fenced else text)
    except ValidationError as error:
        if any(item["type"] != "json_invalid" for item in error.errors()):
            return CaptionFailure.WRONG_FIELDS
        return CaptionFailure.REFUSED if _is_refusal(text) else CaptionFailure.NOT_JSON
    values = {name: " ".join(value.split()) for name, value in answer.model_dump().items()}
    if not values["caption"]:
        return CaptionFailure.EMPTY
    if _is_refusal(values["caption"]):
        return CaptionFailure.REFUSED
    if any(len(value.split()) > max_words for value in values.values()):
        return CaptionFailure.TOO_LONG
    if any(_names_somebody(value) for value in values.values()):
        return CaptionFailure.NAMES_SOMEBODY
    return CaptionAnswer(**values)


def answer_schema() -> dict[str, Any]:
    """JSON schema of an answer, for servers that hold a model to one."""
    return CaptionAnswer.model_json_schema()


def prompt_digest() -> str:
    """Digest of all that is asked, so that another wording is another fingerprint."""
    text = json.dumps([_TEMPLATE, HINTS, answer_schema()], sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


_TEMPLATE = """\
You see {shown} from a video clip of {duration_s:.1f} seconds. A person in it speaks.
{facts}Describe that person and the scene in English. Answer with one JSON object and nothing \
else, with exactly these keys, each with a string:
{keys}
Say only what is seen in the pictures or was measured; write "" where nothing can be told. Do not \
name, identify or recognise anybody, however well known, nor say whom somebody looks like. No \
proper names, and no guesses about origin, religion, health or opinions. The caption is one \
sentence of at most {max_words} words that does not mention pictures, frames or measurements."""


def _facts(facts: CaptionFacts) -> list[str]:
    lines = []
    if facts.num_faces is not None and facts.num_faces > 1:
        lines.append(f"{facts.num_faces} people are in view; the one in front speaks.")
    if facts.camera_motion is not None:
        if facts.camera_motion >= MOVING_CAMERA:
            lines.append("The camera moves.")
        elif facts.camera_motion >= HANDHELD_CAMERA:
            lines.append("The camera sways slightly.")
        else:
            lines.append("The camera stands still.")
    if facts.head_speed is not None:
        is_lively = facts.head_speed >= LIVELY_HEAD
        lines.append(f"The head moves {'a lot' if is_lively else 'little'}.")
    if facts.speech_ratio is not None:
        lines.append(f"The voice is heard {100 * facts.speech_ratio:.0f} % of the time.")
    if facts.snr_db is not None and facts.snr_db < 10:
        lines.append("There is noise behind the voice.")
    return lines


def _is_refusal(text: str) -> bool:
    return bool(_REFUSAL.match(text.translate(_QUOTES)))


def _names_somebody(text: str) -> bool:
    plain = text.translate(_QUOTES)
    if _LIKENESS.search(plain):
        return True
    for sentence in re.split(r"[.!?]\s+", plain):
        words = re.findall(r"[^\W\d_][\w'-]*|[,;:]", _without_starter(sentence))
        names = [len(word) > 1 and word.split("'")[0].istitle() for word in words]
        if any(both == (True, True) for both in pairwise(names)):
            return True
    return False


def _without_starter(sentence: str) -> str:
    starter = _STARTER.match(sentence)
    return sentence[starter.end() :] if starter else sentence
