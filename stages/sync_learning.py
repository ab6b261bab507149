"""Learning the lip-sync estimator from measured runs, in rounds.

The audio of real clips is not in sync to begin with, so a network cannot simply be told that the
native offset is right. In each round networks are learned on the folds that a speaker is not in,
these say where the speaker's voice really lies, and the next round learns from that; clips that
show no offset are left out. A network that is asked about clips it has learned from returns what
it was told, so only held-out answers count.

In the room: folds, rounds, the absolute zero, and joining networks and calibration into an
estimator. Not in the room: batches, the loss, trials, figures.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from stages.errors import StageError
from stages.landmarks import FloatArray
from stages.sync_curve import can_tell, curve_of, peak_of
from stages.sync_estimator import SyncEstimator
from stages.sync_examples import TalkingClip
from stages.sync_figures import logistic
from stages.sync_network import TwoTowers
from stages.sync_training import train
from stages.sync_trials import SPARE_S, Judge, Trial, cut, trials, whole_clip

CLARITY_S, CLEAR_QUANTILE = 4.0, 0.05
KEEP_OFFSET_MS = 480.0
"""A clip whose peak lies at the end of the search is not learned from."""


@dataclass(frozen=True)
class LearningSettings:
    """How an estimator is learned.

    Attributes:
        num_folds: folds over speakers.
        round_steps: steps of learning in each round; the last round is the one that is judged.
        margin_ratio: how much a held-out curve must stand out for its clip to be learned from, as
            a share of the median over all clips.
        num_networks: networks whose curves are averaged in the end.
        final_steps: steps of learning of those.
        seed: where all chance comes from.
    """

    num_folds: int = 4
    round_steps: tuple[int, ...] = (420, 600)
    margin_ratio: float = 0.4
    num_networks: int = 2
    final_steps: int = 800
    seed: int = 0


@dataclass(frozen=True)
class Learned:
    """What learning gives.

    Attributes:
        estimator: learned on all speakers, calibrated on held-out ones.
        held_out: one estimator a fold, which has seen no speaker of it; `learned_from` of each is
            everything by the speakers that it has seen.
        trials: trials of estimators that had not seen the speaker.
        offsets_ms: where each clip's voice lies, by held-out estimators.
    """

    estimator: SyncEstimator
    held_out: tuple[SyncEstimator, ...]
    trials: tuple[Trial, ...]
    offsets_ms: dict[str, float]


def learn(
    clips: Sequence[TalkingClip],
    first_offsets_ms: Mapping[str, float],
    is_anchor: Callable[[TalkingClip], bool],
    settings: LearningSettings,
    tell: Callable[[str], None],
) -> Learned:
    """Learn an estimator and judge it on speakers that it was not learned from.

    Args:
        clips: clips of many speakers.
        first_offsets_ms: offsets to begin with.
        is_anchor: whether a clip is known to be in sync; the median of those is taken as zero.
        settings: how.
        tell: told of progress.

    Returns:
        The estimator and its held-out trials.

    Raises:
        StageError: there are fewer speakers than folds.
    """
    fold_of = folds(clips, settings)
    offsets_ms = dict(first_offsets_ms)
    held_out: dict[str, SyncEstimator] = {}
    for number in range(len(settings.round_steps)):
        held_out = _held_out(clips, offsets_ms, fold_of, number, settings, tell)
        offsets_ms = relabel(clips, held_out, is_anchor, settings.margin_ratio)
        tell(f"round {number + 1}: {len(offsets_ms)} of {len(clips)} clips show an offset")
    judged = tuple(trials(clips, lambda clip: held_out[clip.speaker], settings.seed))
    networks: list[TwoTowers] = []
    for number in range(settings.num_networks):
        seed = settings.seed + 1000 + number
        networks.append(train(clips, offsets_ms, settings.final_steps, seed, tell))
    learned_from = frozenset(clip.source_id[:16] for clip in clips if clip.name in offsets_ms)
    estimator = SyncEstimator(tuple(networks), logistic(judged), 1.0, learned_from)
    clear = clear_voice(estimator, [clip for clip in clips if clip.name in offsets_ms])
    return Learned(
        replace(estimator, clear_voice=clear),
        _by_fold(clips, held_out, fold_of, estimator.logit),
        judged,
        offsets_ms,
    )


def _by_fold(
    clips: Sequence[TalkingClip],
    held_out: Mapping[str, SyncEstimator],
    fold_of: Mapping[str, int],
    logit: FloatArray,
) -> tuple[SyncEstimator, ...]:
    """Return the estimator of each fold, with the calibration and what it has seen."""
    by_fold = {fold: held_out[speaker] for speaker, fold in fold_of.items()}
    seen = {
        fold: frozenset(c.source_id[:16] for c in clips if fold_of[c.speaker] != fold)
        for fold in by_fold
    }
    return tuple(
        replace(by_fold[fold], logit=logit, learned_from=seen[fold]) for fold in sorted(by_fold)
    )


def clear_voice(estimator: SyncEstimator, clips: Sequence[TalkingClip]) -> float:
    """Return the 5th percentile of the strength of voices, over the first 4 s of clips."""
    strengths = []
    for clip in clips:
        first_s = float(clip.times_s[0])
        streams = cut(clip, clip, first_s, CLARITY_S, first_s, SPARE_S)
        strengths.append(estimator.voice_strength(streams))
    return float(np.quantile(strengths, CLEAR_QUANTILE))


def _held_out(
    clips: Sequence[TalkingClip],
    offsets_ms: Mapping[str, float],
    fold_of: Mapping[str, int],
    number: int,
    settings: LearningSettings,
    tell: Callable[[str], None],
) -> dict[str, SyncEstimator]:
    """Learn one network a fold; give for every speaker the one that has not seen them."""
    by_fold = []
    for fold in range(settings.num_folds):
        seen = [clip for clip in clips if fold_of[clip.speaker] != fold]
        seed = settings.seed + 100 * number + fold
        network = train(seen, offsets_ms, settings.round_steps[number], seed, tell)
        by_fold.append(SyncEstimator((network,), np.zeros(6)))
        tell(f"round {number + 1}, fold {fold + 1} of {settings.num_folds}: learned")
    return {speaker: by_fold[fold] for speaker, fold in fold_of.items()}


def folds(clips: Sequence[TalkingClip], settings: LearningSettings) -> dict[str, int]:
    """Deal speakers into folds of about the same length, the longest first."""
    length_s: dict[str, float] = {}
    for clip in clips:
        length_s[clip.speaker] = length_s.get(clip.speaker, 0.0) + clip.length_s
    if len(length_s) < 2 * settings.num_folds:
        raise StageError(
            f"learning lip sync in {settings.num_folds} folds wants at least "
            f"{2 * settings.num_folds} speakers, there are {len(length_s)}: give more runs"
        )
    total_s = [0.0] * settings.num_folds
    dealt: dict[str, int] = {}
    for speaker in sorted(length_s, key=lambda name: (-length_s[name], name)):
        fold = int(np.argmin(total_s))
        dealt[speaker] = fold
        total_s[fold] += length_s[speaker]
    return dealt


def relabel(
    clips: Sequence[TalkingClip],
    held_out: Mapping[str, Judge],
    is_anchor: Callable[[TalkingClip], bool],
    margin_ratio: float,
) -> dict[str, float]:
    """Return held-out offsets in ms of the clips that show one, with the anchors' median at 0."""
    found: dict[str, tuple[float, float]] = {}
    for clip in clips:
        curve = curve_of(held_out[clip.speaker].agreements([whole_clip(clip)])[0])
        if can_tell(curve):
            offset_ms, _, margin = peak_of(curve)
            found[clip.name] = (offset_ms, margin)
    limit = margin_ratio * float(np.median([margin for _, margin in found.values()]))
    kept = {
        name: offset_ms
        for name, (offset_ms, margin) in found.items()
        if margin >= limit and abs(offset_ms) < KEEP_OFFSET_MS
    }
    anchors = [kept[clip.name] for clip in clips if clip.name in kept and is_anchor(clip)]
    zero_ms = float(np.median(anchors or list(kept.values())))
    return {name: offset_ms - zero_ms for name, offset_ms in kept.items()}
