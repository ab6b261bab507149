"""What a talking face does over time: lips from phonemes, and the small motion of a living head.

In this room: curves over seconds, without a pixel. Not here: how a photograph is bent to follow
them (``talking_photo``).
"""

# ruff: noqa: RUF001 - IPA letters are meant
from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from curation.synth_voice import VOICELESS_CLOSURE_S, Speech

_STEP_S = 0.005
# Lips need some 50 ms from one shape to the next; a symmetric filter adds no delay.
_SHAPE_SMOOTHING_S = 0.024
# p, b and m shut the lips fully although they last only 50 ms, so they are smoothed less.
_CLOSURE_SMOOTHING_S = 0.013
# A shape is reached as its sound begins, so the lips set out before it: in running speech lips lead
# the voice by some tens of ms (Schwartz and Savariaux, PLoS Comput. Biol. 2014). A closure cannot
# lead: sound would still come through. Value ours.
_SHAPE_LEAD_S = 0.035
_LOUDNESS_SMOOTHING_S = 0.040
_MIN_BLINK_GAP_S, _MAX_BLINK_GAP_S, _BLINK_S = 1.6, 4.0, 0.24

# IPA letter -> (gap, width, rounding): gap 0 shut to 1 wide open, width -1 drawn in to 1 spread,
# rounding 0 to 1. Ours, after the usual viseme charts; relative sizes matter, not the last digit.
_SHAPES: dict[str, tuple[float, float, float]] = {
    "a": (0.95, 0.15, 0.0),
    "æ": (0.95, 0.35, 0.0),
    "ɑ": (1.0, 0.0, 0.0),
    "ɒ": (0.8, -0.3, 0.4),
    "ɐ": (0.55, 0.0, 0.0),
    "ʌ": (0.7, 0.0, 0.0),
    "ɛ": (0.7, 0.4, 0.0),
    "e": (0.6, 0.6, 0.0),
    "ə": (0.4, 0.0, 0.0),
    "ɚ": (0.35, -0.3, 0.3),
    "ɜ": (0.4, -0.3, 0.3),
    "ɪ": (0.4, 0.5, 0.0),
    "ᵻ": (0.35, 0.4, 0.0),
    "i": (0.3, 0.9, 0.0),
    "ɔ": (0.75, -0.5, 0.6),
    "o": (0.5, -0.8, 0.9),
    "ʊ": (0.3, -0.8, 0.9),
    "u": (0.2, -1.0, 1.0),
    "w": (0.14, -1.0, 1.0),
    "ɹ": (0.22, -0.5, 0.5),
    "j": (0.25, 0.7, 0.0),
    "l": (0.32, 0.2, 0.0),
    "t": (0.18, 0.3, 0.0),
    "d": (0.2, 0.3, 0.0),
    "ɾ": (0.22, 0.2, 0.0),
    "n": (0.2, 0.3, 0.0),
    "s": (0.14, 0.5, 0.0),
    "z": (0.14, 0.5, 0.0),
    "ʃ": (0.2, -0.5, 0.7),
    "ʒ": (0.2, -0.5, 0.7),
    "θ": (0.2, 0.2, 0.0),
    "ð": (0.2, 0.2, 0.0),
    "k": (0.3, 0.1, 0.0),
    "ɡ": (0.3, 0.1, 0.0),
    "ŋ": (0.3, 0.1, 0.0),
    "h": (0.4, 0.1, 0.0),
    "ʔ": (0.3, 0.0, 0.0),
    "f": (0.1, 0.2, 0.0),
    "v": (0.1, 0.2, 0.0),
    "p": (0.0, 0.0, 0.0),
    "b": (0.0, 0.0, 0.0),
    "m": (0.0, 0.0, 0.0),
}
_CLOSED, _BITTEN = frozenset("pbm"), frozenset("fv")
_REST = (0.03, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class LipCurves:
    """Lip shapes over time, one row each 5 ms from time 0 of the speech.

    Attributes:
        shapes: float64 [num_steps, 4]: gap (0 shut to 1 wide open), width (-1 to 1), rounding
            (0 to 1), bite (0 to 1: the lower lip under the upper teeth).
    """

    shapes: NDArray[np.float64]

    def at(self, times_s: NDArray[np.float64]) -> NDArray[np.float64]:
        """Shapes [num_times, 4] at times of the speech; the ends are held."""
        grid_s = np.arange(len(self.shapes)) * _STEP_S
        columns = [np.interp(times_s, grid_s, column) for column in self.shapes.T]
        return np.stack(columns, axis=1)


def lips_for(speech: Speech) -> LipCurves:
    """Lip shapes that belong to a speech: targets from phonemes, sized by loudness, smoothed."""
    num_steps = int(np.ceil(len(speech.pcm) / speech.sample_rate_hz / _STEP_S)) + 1
    targets = np.tile(np.array([*_REST, 0.0]), (num_steps, 1))
    closed = np.zeros(num_steps)
    for phoneme in speech.phonemes:
        letters = [letter for letter in phoneme.ipa if letter in _SHAPES]
        if not letters:
            continue
        edges_s = np.linspace(phoneme.start_s, phoneme.end_s, len(letters) + 1)
        for letter, start_s, end_s in zip(letters, edges_s[:-1], edges_s[1:], strict=True):
            shape_steps = _steps(start_s - _SHAPE_LEAD_S, end_s - _SHAPE_LEAD_S, num_steps)
            targets[shape_steps] = (*_SHAPES[letter], float(letter in _BITTEN))
            if letter in _CLOSED:
                # After its closure a "p" is breath through lips that already part.
                opens_s = start_s + VOICELESS_CLOSURE_S if letter == "p" else end_s
                closed[_steps(start_s, min(opens_s, end_s), num_steps)] = 1
    shapes = gaussian_filter1d(targets, _SHAPE_SMOOTHING_S / _STEP_S, axis=0, mode="nearest")
    closed = gaussian_filter1d(closed, _CLOSURE_SMOOTHING_S / _STEP_S)
    # A loud syllable opens wider than a swallowed one; the phonemes alone do not tell them apart.
    shapes[:, 0] *= (0.7 + 0.4 * _loudness(speech, num_steps)) * (1 - np.clip(1.15 * closed, 0, 1))
    return LipCurves(shapes)


def _steps(start_s: float, end_s: float, num_steps: int) -> slice:
    """The steps of the curves from one time to another."""
    first, last = (round(min(max(at_s / _STEP_S, 0), num_steps)) for at_s in (start_s, end_s))
    return slice(first, last)


def _loudness(speech: Speech, num_steps: int) -> NDArray[np.float64]:
    """Loudness [num_steps], about 0 in pauses and 1 in the loudest syllables."""
    edges = np.round(np.arange(num_steps + 1) * _STEP_S * speech.sample_rate_hz).astype(int)
    energy = np.concatenate(([0.0], np.cumsum(speech.pcm.astype(np.float64) ** 2)))
    edges = np.minimum(edges, len(speech.pcm))
    power = np.diff(energy[edges]) / np.maximum(np.diff(edges), 1)
    rms: NDArray[np.float64] = np.sqrt(gaussian_filter1d(power, _LOUDNESS_SMOOTHING_S / _STEP_S))
    return np.asarray(np.clip(rms / max(float(np.percentile(rms, 95)), 1e-9), 0, 1))


@dataclass(frozen=True, slots=True)
class HeadMotion:
    """Sway, turning and blinking of one head; every curve is a function of the seed and the time.

    Attributes:
        seed: of phases, speeds and blink times.
        amount: 1.0 moves like someone who reads aloud, 0.0 not at all (blinks remain).
    """

    seed: int
    amount: float = 1.0

    def at(self, times_s: NDArray[np.float64]) -> NDArray[np.float64]:
        """Pose [num_times, 6]: shift x, y (face heights), roll (rad), growth, yaw, pitch (rad)."""
        rng = np.random.default_rng(self.seed)
        sizes = np.array([0.035, 0.022, 0.030, 0.018, 0.075, 0.050]) * self.amount
        pose = np.zeros((len(times_s), len(sizes)))
        # Two slow swings and one faster nod each; the sum does not repeat within a clip.
        for share, low_hz, high_hz in ((0.6, 0.12, 0.25), (0.3, 0.35, 0.6), (0.12, 0.9, 1.4)):
            rate_hz = rng.uniform(low_hz, high_hz, len(sizes))
            phase = rng.uniform(0, 2 * np.pi, len(sizes))
            pose += share * np.sin(2 * np.pi * rate_hz * times_s[:, None] + phase)
        return pose * sizes

    def blinks_at(self, times_s: NDArray[np.float64]) -> NDArray[np.float64]:
        """How far the lids are down [num_times], 0 open to 1 shut."""
        rng = np.random.default_rng(self.seed + 1)
        lids = np.zeros(len(times_s))
        last_s = float(times_s[-1]) if len(times_s) else 0.0
        at_s = float(rng.uniform(0.5, 2.0))
        while at_s < last_s + _BLINK_S:
            phase = np.clip(np.abs(times_s - at_s) / (_BLINK_S / 2), 0, 1)
            lids = np.maximum(lids, 0.5 + 0.5 * np.cos(np.pi * phase))
            at_s += float(rng.uniform(_MIN_BLINK_GAP_S, _MAX_BLINK_GAP_S))
        return lids
