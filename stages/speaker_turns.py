"""Who speaks when: from how well each face is in sync, window by window, to turns and a verdict.

The likeliest sequence of speakers is found, where in each window one of the faces speaks or nobody
who is seen. A face's evidence is the log-odds of its sync; nobody has none for or against; a change
of speaker costs, so that one unlucky window does not make a turn. Pure functions; sync itself is
elsewhere (:mod:`stages.sync`).

Shape letters: W windows, K faces.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

NOBODY = -1
"""State in which nobody speaks who is seen."""

CHANGE_COST = 2.5
"""Log-odds that a change of speaker costs (ours): one window of 3 s with a probability of 0.92."""

MAX_EVIDENCE = 4.0
"""Log-odds beyond which a single window is not believed (ours): 0.98."""

MIN_TURN_RATIO = 0.2
"""Share of the voice from which a speaker counts for the verdict (ours)."""


class Verdict(StrEnum):
    """What the voice of a clip has to do with its face."""

    SPEAKS = "speaks"
    TURNS = "turns"
    ANOTHER_FACE = "another_face"
    OFF_SCREEN = "off_screen"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Shares:
    """How the voiced time is shared out, in [0, 1]; the three add up to one.

    Attributes:
        own: this face speaks.
        other: another face in the picture speaks.
        nobody: nobody speaks who is seen: voice-over, dubbing, somebody beside the camera.
    """

    own: float
    other: float
    nobody: float


def speakers(confidence_WK: np.ndarray, overlap: float = 1.0) -> np.ndarray:
    """The likeliest speaker of every window.

    Args:
        confidence_WK: probability that the voice belongs to the face; NaN where nothing can be
            told, which is no evidence either way.
        overlap: windows that see the same moment; their evidence is shared out among them.

    Returns:
        (W,) number of the face, or ``NOBODY``.
    """
    num_windows, num_faces = confidence_WK.shape
    bounded = np.clip(confidence_WK, 1e-6, 1 - 1e-6)
    evidence_WK = np.clip(np.log(bounded / (1 - bounded)), -MAX_EVIDENCE, MAX_EVIDENCE)
    evidence_WS = np.zeros((num_windows, num_faces + 1))
    evidence_WS[:, :num_faces] = np.nan_to_num(evidence_WK) / overlap
    # Of a face that cannot be judged nothing is known; it must not win against nobody by a tie.
    evidence_WS[:, :num_faces] -= np.isnan(confidence_WK) * 1e-9
    change_SS = CHANGE_COST * (1 - np.eye(num_faces + 1))
    best_S = np.zeros(num_faces + 1)
    came_from_WS = np.zeros((num_windows, num_faces + 1), np.int64)
    for window in range(num_windows):
        reached_SS = best_S[:, None] - change_SS
        came_from_WS[window] = reached_SS.argmax(axis=0)
        best_S = reached_SS.max(axis=0) + evidence_WS[window]
    path = np.zeros(num_windows, np.int64)
    if num_windows:
        path[-1] = int(best_S.argmax())
    for window in range(num_windows - 1, 0, -1):
        path[window - 1] = came_from_WS[window, path[window]]
    return np.where(path == num_faces, NOBODY, path)


def share_out(speaker_W: np.ndarray, voiced_W: np.ndarray, own: int) -> Shares | None:
    """Share out the voiced time.

    Args:
        speaker_W: speaker of every window.
        voiced_W: seconds of voice in it.
        own: number of the clip's own face.

    Returns:
        The shares; ``None`` if there is no voice.
    """
    total_s = float(voiced_W.sum())
    if total_s <= 0:
        return None
    own_ratio = float(voiced_W[speaker_W == own].sum()) / total_s
    nobody_ratio = float(voiced_W[speaker_W == NOBODY].sum()) / total_s
    return Shares(own_ratio, max(0.0, 1 - own_ratio - nobody_ratio), nobody_ratio)


def verdict_of(shares: Shares | None, *, is_known: bool) -> Verdict:
    """Put the shares into one word.

    Args:
        shares: how the voiced time is shared out.
        is_known: some face could be judged in some window.

    Returns:
        The verdict.
    """
    if shares is None or not is_known:
        return Verdict.UNKNOWN
    if shares.own >= MIN_TURN_RATIO and shares.other >= MIN_TURN_RATIO:
        return Verdict.TURNS
    best = max(shares.own, shares.other, shares.nobody)
    if best == shares.own:
        return Verdict.SPEAKS
    return Verdict.ANOTHER_FACE if best == shares.other else Verdict.OFF_SCREEN
