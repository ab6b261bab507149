"""The composed caption: one or two sentences from what was measured, and from nothing else.

No age, gender, identity or mood is guessed: none of them is measured. The wording varies with the
clip id, so that a model does not learn one template; the same clip always gets the same words.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

CLOSE_UP_RATIO = 0.5
HEAD_AND_SHOULDERS_RATIO = 0.28
HALF_BODY_RATIO = 0.14
"""Face height over picture height, from chin to brow or hairline as detectors box it. A head is
about an eighth of a standing person and its box three quarters of the head; the bounds are ours."""

PROFILE_DEG = 50.0
THREE_QUARTER_DEG = 20.0
TILT_DEG = 15.0

MOVING_CAMERA = 0.06
HANDHELD_CAMERA = 0.02
"""Speed of the background in picture heights a second; still cameras measure below 0.01."""

_DARK, _DIM, _BRIGHT = 30.0, 55.0, 185.0
_COLOURLESS = 3.0
LIVELY_HEAD = 0.5


@dataclass(frozen=True)
class CaptionFacts:
    """What a caption may speak of; ``None`` is not spoken of.

    Attributes:
        face_height_ratio: height of the face over that of the picture.
        yaw_deg: median yaw of the head, positive if it turns to the right edge of the picture.
        pitch_deg: median pitch, positive if it looks up.
        head_speed: median speed of the head, in face heights a second.
        camera_motion: speed of the background, in picture heights a second.
        luma_median: brightness, 0 to 255.
        colourfulness: mean of largest minus smallest of R, G, B, 0 to 255.
        speech_ratio: share of the clip with speech.
        snr_db: level of the voice over the noise.
        num_faces: people in the picture, the speaker included.
    """

    face_height_ratio: float | None = None
    yaw_deg: float | None = None
    pitch_deg: float | None = None
    head_speed: float | None = None
    camera_motion: float | None = None
    luma_median: float | None = None
    colourfulness: float | None = None
    speech_ratio: float | None = None
    snr_db: float | None = None
    num_faces: int | None = None


def compose(clip_id: str, facts: CaptionFacts) -> str:
    """Compose the caption of a clip.

    Args:
        clip_id: id of the clip; chooses between wordings.
        facts: what was measured.

    Returns:
        One or two English sentences.
    """
    choose = _Chooser(clip_id)
    person = choose(("a person", "someone", "one person"))
    shot = _shot(facts, choose)
    look = _look(facts, choose)
    speaks = _speech(facts, choose)
    head = _head(facts, choose)
    first = choose(
        (
            f"{shot} of {person} {speaks}{_comma(head)}",
            f"{shot} shows {person} {speaks}{_comma(head)}",
            f"In {_lowered(shot)}, {person} is {speaks}{_comma(head)}",
        )
    )
    sentences = [first, look] if look else [first]
    return " ".join(f"{_raised(sentence)}." for sentence in sentences)


class _Chooser:
    """Chooses among wordings: the n-th choice of a clip depends on its id and on n."""

    def __init__(self, clip_id: str) -> None:
        self._clip_id = clip_id
        self._count = 0

    def __call__(self, wordings: Sequence[str]) -> str:
        self._count += 1
        text = f"{self._clip_id}/{self._count}".encode()
        digest = hashlib.blake2b(text, digest_size=4).digest()
        return wordings[int.from_bytes(digest, "big") % len(wordings)]


def _shot(facts: CaptionFacts, choose: _Chooser) -> str:
    ratio = facts.face_height_ratio
    if ratio is None:
        size = choose(("A shot", "A video"))
    elif ratio >= CLOSE_UP_RATIO:
        size = choose(("A close-up", "A tight close-up"))
    elif ratio >= HEAD_AND_SHOULDERS_RATIO:
        size = choose(("A head-and-shoulders shot", "A portrait shot from the shoulders up"))
    elif ratio >= HALF_BODY_RATIO:
        size = choose(("A half-body shot", "A medium shot"))
    else:
        size = choose(("A wide shot", "A shot from some distance"))
    if facts.colourfulness is not None and facts.colourfulness < _COLOURLESS:
        size = size.replace("A ", "A black-and-white ", 1)
    return size


def _head(facts: CaptionFacts, choose: _Chooser) -> str:
    parts = []
    if facts.yaw_deg is not None:
        side = "right" if facts.yaw_deg > 0 else "left"
        turned = abs(facts.yaw_deg)
        if turned >= PROFILE_DEG:
            parts.append(choose((f"in profile, facing {side}", f"seen in profile to the {side}")))
        elif turned >= THREE_QUARTER_DEG:
            parts.append(
                choose((f"turned three-quarters to the {side}", f"facing partly to the {side}"))
            )
        else:
            parts.append(choose(("facing the camera", "looking towards the camera")))
    if facts.pitch_deg is not None and abs(facts.pitch_deg) >= TILT_DEG:
        parts.append("with the head raised" if facts.pitch_deg > 0 else "with the head lowered")
    if facts.num_faces is not None and facts.num_faces > 1:
        parts.append(choose(("next to someone else", "with others in view")))
    return ", ".join(parts)


def _speech(facts: CaptionFacts, choose: _Chooser) -> str:
    ratio = facts.speech_ratio
    if ratio is None:
        manner = choose(("talking", "speaking"))
    elif ratio >= 0.85:
        manner = choose(("speaking almost without a pause", "talking continuously"))
    elif ratio >= 0.6:
        manner = choose(("speaking with short pauses", "talking at an easy pace"))
    else:
        manner = choose(("speaking with long pauses", "talking now and then"))
    if facts.snr_db is not None and facts.snr_db < 10:
        manner += choose((" over background noise", " in noisy surroundings"))
    return manner


def _look(facts: CaptionFacts, choose: _Chooser) -> str:
    parts = []
    speed = facts.camera_motion
    if speed is not None:
        if speed >= MOVING_CAMERA:
            parts.append(choose(("the camera moves", "the camera is in motion")))
        elif speed >= HANDHELD_CAMERA:
            parts.append(choose(("the camera sways slightly", "the camera moves a little")))
        else:
            parts.append(choose(("the camera is still", "the camera does not move")))
    light = facts.luma_median
    if light is not None:
        if light < _DARK:
            parts.append(choose(("the picture is very dark", "there is hardly any light")))
        elif light < _DIM:
            parts.append(choose(("the light is low", "the scene is dimly lit")))
        elif light >= _BRIGHT:
            parts.append(choose(("the picture is bright", "the scene is brightly lit")))
    if facts.head_speed is not None and facts.head_speed >= LIVELY_HEAD:
        parts.append(choose(("the head moves a lot", "the head is in lively motion")))
    if len(parts) > 1:
        return ", ".join(parts[:-1]) + " and " + parts[-1]
    return parts[0] if parts else ""


def _comma(text: str) -> str:
    return f", {text}" if text else ""


def _lowered(text: str) -> str:
    return text[0].lower() + text[1:]


def _raised(text: str) -> str:
    return text[0].upper() + text[1:]
