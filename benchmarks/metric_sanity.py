"""Do the sync metrics order what a person would order?

    python -m benchmarks.metric_sanity FOLDER --out RUN [--workers N] [--held-out FILE.npz]...

FOLDER holds real clips, an ``INDEX.csv`` and ``speech/``. Clips are chosen by their properties,
never by results: every real clip of the index that is usable and lasts 5 s, and the first few of
``speech/`` that do. Each clip is made into versions whose truth is known:

    real           re-encoded, nothing else
    late 200       its sound 200 ms later        early 200     its sound 200 ms earlier
    late 400       its sound 400 ms later        late 1000     beyond every search range
    other voice    the sound of the next clip
    still mouth    the lower face of the first frame laid over every frame, following the head

and measured by `curate run --recipe generated`, as `talk evaluate` does. Printed: every figure by
version, how often a clip is ordered as it should be, and how far measured shifts are from true
ones; exit code 1 if anything is not as it should be. SyncNet's figures appear where its weights are
in the cache.

Clips that the shipped estimator learned from are shown apart: with them the set says that nothing
is broken, not how good it is with strangers (its card, ``stages/sync_net.md``, does). With
``--held-out``, weights of folds as `curate learn-sync` makes them on the way, each clip is judged
by the first file that did not learn from it.

Sync-C, Sync-D and the confidence look for the best shift within 0.6 s, so they cannot and must not
tell a clip from itself shifted by 0.2 s: that is what the AV offset is for. They have to tell the
last three versions from the real one. The score at shift zero has to tell all of a clip that is in
sync to begin with; of the others, whose own offsets are printed, a shifted version may well be the
better one. The motion of the mouth has to tell the still mouth.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.sanity_versions import (
    SHIFTS_MS,
    VERSIONS,
    Take,
    length_s,
    make_versions,
    read_take,
)
from manifests.storage import Folder
from stages.sync_estimator import SyncEstimator
from stages.sync_examples import read_run
from stages.sync_trials import whole_clip
from training.evaluation.intervals import estimate
from training.evaluation.measuring import MeasuredClip, measure
from training.evaluation.summary import interval_text
from training.evaluation.sync import sync_of

MIN_S = 5.0
NUM_SPEECH = 4
MUST_DIFFER = ("late 1000", "other voice", "still mouth")
FIGURES: dict[str, tuple[str, ...]] = {
    "sync_c": MUST_DIFFER,
    "sync_d": MUST_DIFFER,
    "sync_confidence": MUST_DIFFER,
    "sync_score": MUST_DIFFER,
    "sync_score_at_zero": VERSIONS[1:],
    "mouth_motion": ("still mouth",),
}
"""Versions that each figure has to tell from the real one."""
IN_SYNC_MS = 80.0
"""Two frames; ours: a clip further off is not judged by its score at shift 0."""
WORST_SHIFT_MS = 40.0
"""A frame: a shift has to be measured to within it."""
LOWER_IS_BETTER = frozenset({"sync_d"})
ID_LENGTH = 16
"""Characters of an id that the estimator's file keeps."""

Figures = dict[str, float | None]
Paths = dict[tuple[str, str], Path]


def main() -> int:
    """Choose, make, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--set", action="append", default=[], dest="sets")
    parser.add_argument("--held-out", action="append", default=[], type=Path)
    arguments = parser.parse_args()
    takes = [read_take(path) for path in choose(arguments.folder)]
    print(f"{len(takes)} clips: " + ", ".join(take.name for take in takes), flush=True)
    paths = make_versions(arguments.out / "clips", takes, arguments.out, arguments.workers)
    run = measure(
        list(paths.values()),
        arguments.out / "run",
        num_workers=arguments.workers,
        sets=arguments.sets,
    )
    found = {key: figures_of(run.clips[path]) for key, path in paths.items()}
    strangers = {
        take.name
        for take in takes
        if SyncEstimator.load().learned_from.isdisjoint({take.source_id[:ID_LENGTH]})
    }
    if arguments.held_out:
        estimators = [SyncEstimator.load(path) for path in arguments.held_out]
        strangers |= judge_anew(takes, paths, run.clips, arguments.out / "run", estimators, found)
    num_wrong = 0
    for group, names in (
        ("not learned from", [take.name for take in takes if take.name in strangers]),
        ("learned from", [take.name for take in takes if take.name not in strangers]),
    ):
        if not names:
            continue
        print(f"\n{group}: {len(names)} clips: {', '.join(names)}")
        print_figures(names, found)
        num_wrong += print_order(names, found) + print_shifts(names, found)
    print(f"\n{num_wrong} not as they should be")
    return int(num_wrong > 0)


def choose(folder: Path) -> list[Path]:
    """Clips by their properties."""
    with (folder / "INDEX.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    chosen = [
        folder / row["file"]
        for row in rows
        if row["kind"] == "real"
        and float(row["duration_s"] or 0) >= MIN_S
        and int(row["expected_usable_min"] or 0) >= 1
    ]
    speech = [path for path in sorted((folder / "speech").glob("*.mp4")) if length_s(path) >= MIN_S]
    return chosen + speech[:NUM_SPEECH]


def figures_of(clip: MeasuredClip) -> Figures:
    """Figures of a measured clip by name."""
    motion = clip.columns.get("faces.mouth_motion")
    return {**sync_of(clip.columns).figures, "mouth_motion": motion}


def judge_anew(
    takes: Sequence[Take],
    paths: Paths,
    measured: dict[Path, MeasuredClip],
    run: Path,
    estimators: Sequence[SyncEstimator],
    found: dict[tuple[str, str], Figures],
) -> set[str]:
    """Judge each clip by an estimator that did not learn from it, on what the run keeps of it.

    Args:
        takes: the clips.
        paths: their versions.
        measured: what the run says of them.
        run: its folder.
        estimators: the first that did not learn from a clip judges it.
        found: figures, renewed.

    Returns:
        Names of the clips that were judged.
    """
    kept = {clip.name: clip for clip in read_run(Folder(str(run)))}
    judged = set()
    for take in takes:
        judge = next(
            (each for each in estimators if take.source_id[:ID_LENGTH] not in each.learned_from),
            None,
        )
        if judge is None:
            continue
        for version in VERSIONS:
            clip = kept[measured[paths[take.name, version]].clip_id]
            (agreement,) = judge.agreements([whole_clip(clip)])
            told = judge.judge(agreement)
            at_zero = np.interp(0.0, told.offsets_ms, told.curve)
            found[take.name, version] |= {
                "sync_confidence": told.confidence,
                "sync_score": told.score,
                "sync_score_at_zero": float(at_zero) if told.score is not None else None,
                "av_offset_ms": told.offset_ms,
            }
        judged.add(take.name)
    return judged


def print_figures(names: list[str], found: dict[tuple[str, str], Figures]) -> None:
    """Mean of every figure by version, with its interval over clips."""
    for figure in FIGURES:
        rows = {version: [found[name, version][figure] for name in names] for version in VERSIONS}
        if all(value is None for row in rows.values() for value in row):
            print(f"  {figure}: not measured")
            continue
        print(f"  {figure}")
        for version, row in rows.items():
            one = estimate(row)
            told = "no clip has it" if one is None else interval_text(vars(one))
            print(f"    {version:12} {told}  ({0 if one is None else one.num_clips} clips)")


def print_order(names: list[str], found: dict[tuple[str, str], Figures]) -> int:
    """How many clips have the real version better than each other one; return how many have not.

    Missing counts as worst.
    """
    num_wrong = 0
    for figure, versions in FIGURES.items():
        sign = -1 if figure in LOWER_IS_BETTER else 1
        real = {name: found[name, "real"][figure] for name in names}
        if all(value is None for value in real.values()):
            continue
        judged = [
            name
            for name in names
            if figure != "sync_score_at_zero" or is_in_sync(found[name, "real"]["av_offset_ms"])
        ]
        told = []
        for version in versions:
            num = 0
            for name in judged:
                mine, theirs = real[name], found[name, version][figure]
                num += mine is not None and (theirs is None or sign * (mine - theirs) > 0)
            num_wrong += len(judged) - num
            told.append(f"{version} {num}/{len(judged)}")
        left_out = sorted(set(names) - set(judged))
        note = f" (not in sync, so not judged: {', '.join(left_out)})" if left_out else ""
        print(f"  real is better by {figure}: {', '.join(told)}{note}")
    return num_wrong


def is_in_sync(offset_ms: float | None) -> bool:
    """Whether a clip is in sync as it is."""
    return offset_ms is not None and abs(offset_ms) <= IN_SYNC_MS


def print_shifts(names: list[str], found: dict[tuple[str, str], Figures]) -> int:
    """Measured less true shift, clip by clip; return how many are a frame off."""
    num_wrong = 0
    for version, shift_ms in SHIFTS_MS.items():
        if abs(shift_ms) > 500:
            continue
        wrong = []
        for name in names:
            mine, theirs = (found[name, v]["av_offset_ms"] for v in (version, "real"))
            error_ms = None if mine is None or theirs is None else mine - theirs - shift_ms
            wrong.append("?" if error_ms is None else f"{error_ms:+.0f}")
            num_wrong += error_ms is None or abs(error_ms) > WORST_SHIFT_MS
        print(f"  {version}: measured shift less the true one [ms]: {' '.join(wrong)}")
    native = (found[name, "real"]["av_offset_ms"] for name in names)
    print("  real: offset [ms]: " + " ".join("?" if v is None else f"{v:+.0f}" for v in native))
    return num_wrong


if __name__ == "__main__":
    sys.exit(main())
