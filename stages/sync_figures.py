"""Figures of held-out trials, and the calibration of the confidence from them.

Intervals are bootstrapped over speakers, because the segments of one speaker are alike.
"""

from collections.abc import Callable, Sequence

import numpy as np

from stages.landmarks import FloatArray
from stages.sync_trials import LENGTHS_S, Trial

PENALTY = 1e-3
NUM_RESAMPLES = 400
FRAME_MS = 40.0


def logistic(judged: Sequence[Trial]) -> FloatArray:
    """Fit the confidence by penalised maximum likelihood (Newton), own and other voices even.

    The own voice from elsewhere is no stranger's and is left out.
    """
    judged = [trial for trial in judged if trial.voice != "shifted"]
    x = np.stack([trial.evidence for trial in judged])
    y = np.array([trial.voice == "own" for trial in judged], float)
    weight = np.where(y == 1, 0.5 / y.sum(), 0.5 / (1 - y).sum())
    w = np.zeros(x.shape[1])
    for _ in range(100):
        p = 1 / (1 + np.exp(-x @ w))
        gradient = x.T @ (weight * (y - p)) - PENALTY * w
        hessian = (x * (weight * p * (1 - p))[:, None]).T @ x + PENALTY * np.eye(len(w))
        w = w + np.linalg.solve(hessian, gradient)
    return w


def confidence_of(logit: FloatArray, trial: Trial) -> float:
    """Return the confidence in a trial by given weights."""
    return float(1 / (1 + np.exp(-trial.evidence @ logit)))


def confidence_held_out(judged: Sequence[Trial], num_folds: int = 5) -> Callable[[Trial], float]:
    """Return the confidence whose weights were fitted without the trial's speaker."""
    speakers = sorted({trial.speaker for trial in judged})
    fold_of = {speaker: place % num_folds for place, speaker in enumerate(speakers)}
    logits = [
        logistic([t for t in judged if fold_of[t.speaker] != fold]) for fold in range(num_folds)
    ]
    return lambda trial: confidence_of(logits[fold_of[trial.speaker]], trial)


def auc(positive: FloatArray, negative: FloatArray) -> float:
    """Return the probability that a positive scores above a negative (ties count half)."""
    order = np.sort(negative)
    below = np.searchsorted(order, positive, side="left")
    upto = np.searchsorted(order, positive, side="right")
    return float((below + upto).mean() / (2 * len(negative)))


def with_interval(
    judged: Sequence[Trial], figure: Callable[[Sequence[Trial]], float]
) -> tuple[float, float, float]:
    """Return a figure and its 95 % interval, resampling speakers."""
    rng = np.random.default_rng(0)
    by_speaker: dict[str, list[Trial]] = {}
    for trial in judged:
        by_speaker.setdefault(trial.speaker, []).append(trial)
    names = sorted(by_speaker)
    values = []
    for _ in range(NUM_RESAMPLES):
        chosen = rng.integers(len(names), size=len(names))
        values.append(figure([t for k in chosen for t in by_speaker[names[k]]]))
    low, high = np.nanquantile(values, [0.025, 0.975])
    return figure(judged), float(low), float(high)


def within_a_frame(judged: Sequence[Trial], min_reference_margin: float = 0.0) -> float:
    """Return the share of offsets of own voices that are within 40 ms of the truth."""
    errors = _errors_ms(judged, min_reference_margin)
    return float((errors <= FRAME_MS).mean()) if len(errors) else float("nan")


def median_error_ms(judged: Sequence[Trial], min_reference_margin: float = 0.0) -> float:
    """Return the median error of the offsets of own voices."""
    errors = _errors_ms(judged, min_reference_margin)
    return float(np.median(errors)) if len(errors) else float("nan")


def auc_against(judged: Sequence[Trial], voice: str, confidence: Callable[[Trial], float]) -> float:
    """Return the AUC of the confidence in own voices against others."""
    own = np.array([confidence(t) for t in judged if t.voice == "own"])
    other = np.array([confidence(t) for t in judged if t.voice == voice])
    return auc(own, other) if len(own) and len(other) else float("nan")


def table(
    judged: Sequence[Trial],
    confidence: Callable[[Trial], float],
    sure_margin: float,
    lengths_s: Sequence[float] = LENGTHS_S,
) -> str:
    """Return held-out figures by length, each with its 95 % interval over speakers."""
    asked = {id(trial): confidence(trial) for trial in judged}  # Once, as they are resampled often.

    def said(trial: Trial) -> float:
        return asked[id(trial)]

    lines = [
        "| length | segments (speakers) | within 40 ms, all (n) | within 40 ms, sure (n) "
        "| median error, sure | AUC random | AUC matching | AUC shifted |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for length_s in lengths_s:
        rows = [t for t in judged if t.length_s == length_s]
        own = [t for t in rows if t.voice == "own"]
        if not own:
            continue

        def figure(make: Callable[[Sequence[Trial]], float], of: Sequence[Trial]) -> str:
            if np.isnan(make(of)):
                return "-"
            value, low, high = with_interval(of, make)
            return f"{value:.3f} [{low:.3f}, {high:.3f}]"

        sure = [t for t in own if t.reference_margin >= sure_margin]
        lines.append(
            f"| {length_s:g} s | {len(own)} ({len({t.speaker for t in own})}) "
            f"| {figure(within_a_frame, own)} ({len(_errors_ms(own, 0.0))}) "
            f"| {figure(within_a_frame, sure)} ({len(_errors_ms(sure, 0.0))}) "
            f"| {f'{median_error_ms(sure):.0f} ms' if len(_errors_ms(sure, 0.0)) else '-'} | "
            + " | ".join(
                figure(lambda of, v=voice: auc_against(of, v, said), rows)  # type: ignore[misc]
                for voice in ("random", "matching", "shifted")
            )
            + " |"
        )
    return "\n".join(lines)


def calibration(judged: Sequence[Trial], confidence: Callable[[Trial], float]) -> str:
    """Return what is accepted at each confidence, and how often it is right, as text."""
    said = {
        voice: np.array([confidence(t) for t in judged if t.voice == voice])
        for voice in ("own", "random", "matching")
    }
    lines = ["| accept at | own | random | matching |", "|---|---|---|---|"]
    for limit in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95):
        shares = [float((p >= limit).mean()) for p in said.values()]
        lines.append(f"| {limit:g} | " + " | ".join(f"{share:.1%}" for share in shares) + " |")
    lines += ["", "| confidence said | share of own voices, at even odds |", "|---|---|"]
    others = np.concatenate([said["random"], said["matching"]])
    for low in np.arange(0, 1, 0.1):
        yes, no = (((p >= low) & (p < low + 0.1)).mean() for p in (said["own"], others))
        lines.append(f"| {low:.1f} to {low + 0.1:.1f} | {yes / max(yes + no, 1e-9):.2f} |")
    return "\n".join(lines)


def _errors_ms(judged: Sequence[Trial], min_reference_margin: float) -> FloatArray:
    return np.abs(
        [
            t.error_ms
            for t in judged
            if t.error_ms is not None and t.reference_margin >= min_reference_margin
        ]
    )
