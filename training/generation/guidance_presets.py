"""Guidance rules by name: the orders in which published systems take text and audio.

``c`` is the prompt, ``n`` the negative prompt, ``a`` the audio, ``0`` no audio:

    multitalk   e(n,0) + t (e(c,a) - e(n,a)) + a (e(n,a) - e(n,0))     MultiTalk, InfiniteTalk,
                                                                       SkyReels-V3, StableAvatar
    echomimic   e(n,0) + t (e(c,0) - e(n,0)) + a (e(c,a) - e(c,0))     EchoMimicV3, OmniAvatar
    audio_only  e(c,0) + a (e(c,a) - e(c,0))                           two passes
    joint       e(n,0) + a (e(c,a) - e(n,0))                           Wan-S2V, HunyuanVideo-Avatar
    none        e(c,a)                                                 distilled weights

The order of SkyReels-Audio is not published; which one is the default is ours. Not in the room:
what a rule does (`guidance`).
"""

from __future__ import annotations

from dataclasses import replace

from training.errors import SettingError
from training.generation.guidance import Branch, Condition, Difference, Guidance, Weight

PRESETS = ("multitalk", "echomimic", "audio_only", "joint", "none")

TEXT_WEIGHT = 5.0
AUDIO_WEIGHT = 4.0
"""MultiTalk's defaults (its `generate_multitalk.py`)."""

_NOTHING = Branch(Condition.NEGATIVE, Condition.OFF)
_TEXT = Branch(Condition.ON, Condition.OFF)
_AUDIO = Branch(Condition.NEGATIVE, Condition.ON)
_BOTH = Branch()


def preset(
    name: str,
    text: Weight | float = TEXT_WEIGHT,
    audio: Weight | float = AUDIO_WEIGHT,
) -> Guidance:
    """Return a published rule with weights of one's own.

    Args:
        name: one of `PRESETS`.
        text: weight of the prompt; without effect for ``audio_only``, ``joint`` and ``none``.
        audio: weight of the audio; for ``joint`` that of both.

    Returns:
        The rule. ``multitalk`` with a text weight of one is ``audio_only``, as in MultiTalk, whose
        own three branches would measure audio beside the negative prompt to no purpose.

    Raises:
        SettingError: If there is no such rule.
    """
    text = text if isinstance(text, Weight) else Weight(text)
    audio = audio if isinstance(audio, Weight) else Weight(audio)
    if name == "multitalk" and text != Weight(1.0):
        return Guidance(
            _NOTHING,
            (Difference(text, _BOTH, _AUDIO), Difference(audio, _AUDIO, _NOTHING, True)),
        )
    if name == "echomimic":
        return Guidance(
            _NOTHING,
            (Difference(text, _TEXT, _NOTHING), Difference(audio, _BOTH, _TEXT, True)),
        )
    if name in {"audio_only", "multitalk"}:
        return Guidance(_TEXT, (Difference(audio, _BOTH, _TEXT, True),))
    if name == "joint":
        return Guidance(_NOTHING, (Difference(audio, _BOTH, _NOTHING),))
    if name == "none":
        return Guidance(_BOTH)
    raise SettingError(f"guidance {name!r}: there is none of this name; use {', '.join(PRESETS)}")


def with_image(rule: Guidance, image: Weight | float) -> Guidance:
    """Add guidance towards the reference picture's states.

    ``+ w (e(c,a,i) - e(c,a,0i))`` in the manner of Sonic's image weight, around the rule's target,
    so that a weight of one changes nothing.

    Args:
        rule: any rule.
        image: weight; above one holds more to the picture.

    Returns:
        The rule with one more difference.
    """
    image = image if isinstance(image, Weight) else Weight(image)
    target = rule.target()
    without = target._replace(image=Condition.OFF)
    extra = (Difference(image, target, without), Difference(Weight(1.0), without, target))
    return replace(rule, differences=rule.differences + extra)
