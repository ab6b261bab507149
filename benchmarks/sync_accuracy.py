"""How well lip-sync offsets and foreign voices are told, on footage nobody learned from.

    python -m benchmarks.sync_accuracy RUN... [--weights FILE.npz...] [--speakers FILE.csv]
        [--leave-out PATTERN]... [--one-face] [--groups] [--syncnet FILE]

RUN are run directories of measured footage (`curate run FOLDER --out RUN`): the landmarks and the
sound in their commits are all that is needed. Sources that the weights were learned from are left
out; with several weights, such as the folds of `curate learn-sync --held-out FOLDER`, each clip is
judged by the first that has not learned from its source. Clips of the same people in other files
have to be kept away by whoever gives the runs, or be named in `--speakers`. Truth and voices are
as in `stages.sync_trials`, intervals over speakers; "all" is without any gate.

A run has every face of every shot, so that among its clips are faces that listen while another
speaks: nobody has told that the voice is not theirs, and they count against the judge.
``--one-face`` keeps the longest clip of each source, whatever was measured of it, which is the
population of experiments that followed one face a file.

Beside the estimator stands the plain correlation of mouth opening with loudness, which is the
floor, and SyncNet where its weights are on this machine (`curate weights fetch syncnet`): its
pictures come from the sources, decoded once more (`benchmarks.syncnet_trials`).
"""

from __future__ import annotations

import argparse
import fnmatch
import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.syncnet_trials import SyncNetJudge, embed_runs
from manifests.ledger import Ledger
from manifests.storage import Folder
from stages.environment import INSTALL_TORCH, check_weights, lacks, weights_path
from stages.landmarks import NUM_LANDMARKS, FloatArray, canonical_face
from stages.sync_estimator import Streams, SyncEstimator, SyncInput
from stages.sync_examples import TalkingClip, read_run, read_speakers
from stages.sync_features import GRID_FPS, MAX_LAG_FRAMES, SAMPLE_RATE_HZ, mouth_shape
from stages.sync_figures import calibration, confidence_held_out, confidence_of, table
from stages.sync_trials import Cut, Judge, Trial, cut, trials
from stages.syncnet import SyncNet

LENGTHS_S = (3.0, 5.0, 8.0)
COST_S = 8
GROUP_LENGTHS_S = (3.0, 5.0)
GROUPS: dict[str, tuple[str, tuple[float, ...]]] = {
    "faces.abs_yaw_median_deg": ("head turned, degrees:", (10, 25, 45)),
    "speech.snr_db": ("signal to noise, dB:", (10, 20, 30)),
    "faces.height_px": ("face height, px:", (100, 200)),
}
"""Measurements that clips are dealt by, and the bounds of the groups."""
NAMED_GROUPS = {"transcript.language": "language:"}


class OpeningAndLoudness:
    """The floor: correlation of the inner lips' distance with the mean log-mel band.

    Both are less their mean over 1 s, which slow changes of face and level ask for, and scaled to
    unit spread.
    """

    def agreements(self, streams: Sequence[Streams]) -> list[FloatArray]:
        """Return the product of both at each offset, (D, N) of each input."""
        return [_products(each) for each in streams]


def _products(each: Streams) -> FloatArray:
    opening = _detrended(mouth_shape(each.points_NPC)[:, 0])
    opening[~each.known_N] = np.nan
    loudness = _detrended(each.bands_HB.reshape(-1, 4, each.bands_HB.shape[1]).mean(axis=(1, 2)))
    windows = np.lib.stride_tricks.sliding_window_view(loudness, len(opening))
    assert len(windows) == 2 * MAX_LAG_FRAMES + 1
    return np.asarray(windows * opening)


def _detrended(signal: FloatArray) -> FloatArray:
    known = np.isfinite(signal)
    if not known.any():
        return signal
    filled = np.where(known, signal, signal[known].mean())
    size = min(GRID_FPS, len(filled))
    ones = np.convolve(np.ones(len(filled)), np.ones(size), mode="same")
    flat = filled - np.convolve(filled, np.ones(size), mode="same") / ones
    return np.where(known, flat / max(float(flat[known].std()), 1e-9), np.nan)


def estimate_cost_ms(estimator: SyncEstimator, fps: int = 25) -> float:
    """Return milliseconds of CPU for each second of video, all that comes after the landmarks.

    Of a made face and voice: what they say does not change the cost.
    """
    rng = np.random.default_rng(0)
    times_s = np.arange(COST_S * fps) / fps
    noise_TPC = rng.normal(0, 0.01, (len(times_s), NUM_LANDMARKS, 3))
    pcm = rng.normal(0, 0.1, (COST_S + 2) * SAMPLE_RATE_HZ).astype(np.float32)
    given = SyncInput(100 * (canonical_face() + noise_TPC), times_s, pcm, -1.0)
    began = time.process_time()
    estimator.estimate([given])
    return 1000 * (time.process_time() - began) / COST_S


def comparison_cost_ms(
    judge: Judge, clips: Sequence[TalkingClip], cut_of: Cut = cut, num: int = 8
) -> float:
    """Return milliseconds of CPU for each second of video, of comparing alone."""
    few = clips[:num]
    whole = [cut_of(c, c, c.times_s[0], c.length_s + 1e-6, c.times_s[0], 1.0) for c in few]
    began = time.process_time()
    judge.agreements(whole)
    return 1000 * (time.process_time() - began) / sum(clip.length_s for clip in few)


def unseen(
    clips: Sequence[TalkingClip], estimators: Sequence[SyncEstimator]
) -> dict[str, SyncEstimator]:
    """Return for each clip the first estimator that has not learned from its source."""
    found = {}
    for clip in clips:
        fresh = (e for e in estimators if clip.source_id[:16] not in e.learned_from)
        if (estimator := next(fresh, None)) is not None:
            found[clip.name] = estimator
    return found


def longest_of_each_source(clips: Sequence[TalkingClip]) -> list[TalkingClip]:
    """Return one clip a source, that which lasts longest, in the given order."""
    best: dict[str, TalkingClip] = {}
    for clip in clips:
        if clip.source_id not in best or clip.length_s > best[clip.source_id].length_s:
            best[clip.source_id] = clip
    return [clip for clip in clips if best[clip.source_id] is clip]


def report(
    name: str,
    clips: Sequence[TalkingClip],
    judge_of: Callable[[TalkingClip], Judge],
    seed: int,
    cut_of: Cut = cut,
) -> tuple[list[Trial], Callable[[Trial], float]]:
    """Print the figures of one method; return its trials and its confidence in them."""
    judged = list(trials(clips, judge_of, seed, LENGTHS_S, cut_of))
    print(f"\n## {name}\n")
    confidence = confidence_held_out(judged)
    own = [t.reference_margin for t in judged if t.voice == "own" and t.reference_margin > 0]
    sure = 0.4 * float(np.median(own)) if own else 0.0
    print(table(judged, confidence, sure, LENGTHS_S), flush=True)
    return judged, confidence


def groups_of(
    judged: Sequence[Trial], rows: Mapping[str, Mapping[str, Any]]
) -> Iterator[tuple[str, list[Trial]]]:
    """Deal trials by what a run measured of their clips.

    Args:
        judged: trials.
        rows: measurements by clip.

    Yields:
        What a group has in common, and its trials.
    """
    for field, (text, edges) in GROUPS.items():
        bounds = [-np.inf, *edges, np.inf]
        for low, high in itertools.pairwise(bounds):
            chosen = [
                t
                for t in judged
                if (value := rows.get(t.clip, {}).get(field)) is not None and low <= value < high
            ]
            if chosen:
                yield f"{text} {_between(low, high)}", chosen
    for field, text in NAMED_GROUPS.items():
        names = {str(v) for row in rows.values() if (v := row.get(field)) is not None}
        for name in sorted(names):
            chosen = [t for t in judged if str(rows.get(t.clip, {}).get(field)) == name]
            if chosen:
                yield f"{text} {name}", chosen


def _between(low: float, high: float) -> str:
    if low == -np.inf:
        return f"below {high:g}"
    return f"from {low:g}" if high == np.inf else f"{low:g} to {high:g}"


def main() -> None:
    """Print the figures of the estimator, of the floor, and of SyncNet where it is."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+")
    parser.add_argument("--speakers", type=Path)
    parser.add_argument("--weights", type=Path, nargs="+", default=[None])
    parser.add_argument("--leave-out", action="append", default=[], metavar="PATTERN")
    parser.add_argument("--one-face", action="store_true", help="the longest clip of each source")
    parser.add_argument("--groups", action="store_true", help="by head pose, noise, language, ...")
    parser.add_argument("--syncnet", default="syncnet", help="weights of SyncNet, or a file")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    estimators = [SyncEstimator.load(path) for path in arguments.weights]
    known = read_speakers(arguments.speakers) if arguments.speakers else []
    found = [clip for run in arguments.runs for clip in read_run(Folder(run), known)]
    patterns = arguments.leave_out
    wanted = [c for c in found if not any(fnmatch.fnmatchcase(c.uri, f"*{p}") for p in patterns)]
    num_left_out = len(found) - len(wanted)
    if arguments.one_face:
        wanted = longest_of_each_source(wanted)
    judge_of = unseen(wanted, estimators)
    clips = [clip for clip in wanted if clip.name in judge_of]
    print(
        f"{len(clips)} clips of {len({clip.speaker for clip in clips})} speakers, "
        f"{sum(clip.length_s for clip in clips):.0f} s; {num_left_out} clips left out "
        f"by pattern, {len(found) - num_left_out - len(wanted)} as further faces of a source, "
        f"{len(wanted) - len(clips)} because the estimator was learned from them"
    )
    if not clips:
        return
    cost_ms = estimate_cost_ms(judge_of[clips[0].name])
    title = f"network: {cost_ms:.1f} ms of CPU a second of video, after the landmarks"
    judged, confidence = report(title, clips, lambda clip: judge_of[clip.name], arguments.seed)
    print("\nWith the calibration that the weights carry:\n")
    print(calibration(judged, lambda trial: confidence_of(judge_of[trial.clip].logit, trial)))
    if arguments.groups:
        for name, part in groups_of(judged, measurements(arguments.runs)):
            print(f"\n### {name}\n\n{table(part, confidence, 0.0, GROUP_LENGTHS_S)}")
    floor = OpeningAndLoudness()
    title = f"opening and loudness: {comparison_cost_ms(floor, clips):.1f} ms, features given"
    report(title, clips, lambda _: floor, arguments.seed)
    syncnet(arguments.runs, clips, arguments.syncnet, arguments.seed)


def measurements(runs: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """Return what runs measured, by clip."""
    return {
        row["clip_id"]: row
        for run in runs
        for commit in Ledger(Folder(run)).read_all()
        for row in commit.clips.to_pylist()
    }


def syncnet(runs: Sequence[str], clips: Sequence[TalkingClip], weights: str, seed: int) -> None:
    """Print the figures of SyncNet, or why there are none."""
    choice = check_weights(weights)
    missing = lacks(("torch",), (choice,), INSTALL_TORCH)
    if missing:
        print(f"\n## SyncNet: not measured, {missing}")
        return
    network = SyncNet.load(weights_path(choice))
    began = time.process_time()
    embedded, lost = embed_runs(runs, frozenset(clip.name for clip in clips), network)
    spent_s = time.process_time() - began
    for line in lost:
        print(f"SyncNet: {line}")
    seen = [clip for clip in clips if clip.name in embedded]
    if not seen:
        print("\n## SyncNet: not measured, no source of these runs can be read any more")
        return
    judge = SyncNetJudge(embedded)
    seconds = sum(clip.length_s for clip in seen)
    title = (
        f"SyncNet, {len(seen)} of {len(clips)} clips: {1000 * spent_s / seconds:.0f} ms of CPU "
        "a second of video, decode and embeddings"
    )
    report(title, seen, lambda _: judge, seed, judge.cut)


if __name__ == "__main__":
    main()
