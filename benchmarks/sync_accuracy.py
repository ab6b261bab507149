"""How well lip-sync offsets and foreign voices are told, on footage nobody learned from.

    python -m benchmarks.sync_accuracy RUN... [--speakers FILE.csv] [--weights FILE.npz]

RUN are run directories of measured footage (`curate run FOLDER --out RUN`): the landmarks and the
sound in their commits are all that is needed. Sources that the weights were learned from are left
out; clips of the same people in other files have to be kept away by whoever gives the runs. Truth
and voices are as in `stages.sync_trials`, intervals over speakers. Beside the estimator stands
the plain correlation of mouth opening with loudness, which is the floor. SyncNet needs pictures,
which a run does not keep; its agreement with its reference is tested, not its accuracy.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from manifests.storage import Folder
from stages.landmarks import FloatArray
from stages.sync_estimator import Streams, SyncEstimator
from stages.sync_examples import TalkingClip, read_run, read_speakers
from stages.sync_features import GRID_FPS, MAX_LAG_FRAMES, mouth_shape
from stages.sync_figures import calibration, confidence_held_out, confidence_of, table
from stages.sync_trials import Judge, trials, whole_clip

LENGTHS_S = (3.0, 5.0, 8.0)


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


def cost_ms(judge: Judge, clips: Sequence[TalkingClip]) -> float:
    """Return milliseconds of CPU for each second of video, after the landmarks and bands."""
    streams = [whole_clip(clip) for clip in clips]
    began = time.process_time()
    judge.agreements(streams)
    return 1000 * (time.process_time() - began) / sum(clip.length_s for clip in clips)


def main() -> None:
    """Print the figures of the estimator and of the floor."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+")
    parser.add_argument("--speakers", type=Path)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    estimator = SyncEstimator.load(arguments.weights)
    known = read_speakers(arguments.speakers) if arguments.speakers else []
    found = [clip for run in arguments.runs for clip in read_run(Folder(run), known)]
    clips = [clip for clip in found if clip.source_id[:16] not in estimator.learned_from]
    print(
        f"{len(clips)} clips of {len({clip.speaker for clip in clips})} speakers, "
        f"{sum(clip.length_s for clip in clips):.0f} s; {len(found) - len(clips)} clips left out, "
        "the estimator was learned from them"
    )
    for name, judge in (("network", estimator), ("opening and loudness", OpeningAndLoudness())):
        judged = list(trials(clips, lambda clip, judge=judge: judge, arguments.seed, LENGTHS_S))  # type: ignore[misc]
        own = [t.reference_margin for t in judged if t.voice == "own" and t.reference_margin > 0]
        print(f"\n## {name}: {cost_ms(judge, clips[:8]):.1f} ms of CPU a second of video\n")
        confidence = confidence_held_out(judged)
        print(table(judged, confidence, 0.4 * float(np.median(own)), LENGTHS_S))
        if judge is estimator:
            print("\nWith the calibration that the weights carry:\n")
            print(calibration(judged, lambda trial: confidence_of(estimator.logit, trial)))


if __name__ == "__main__":
    main()
