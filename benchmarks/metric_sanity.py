"""Do the sync metrics order what a person would order?

    python -m benchmarks.metric_sanity FOLDER --out RUN [--workers N]

FOLDER holds real clips, an ``INDEX.csv`` and ``speech/``. Clips are chosen by their properties,
never by results: every real clip of the index that is usable and lasts 5 s, the first few of
``speech/`` that do, and every one of ``speech/`` of 3 s that the shipped estimator did not learn
from. Those it learned from are shown apart: they say that nothing is broken, not how good it is
with strangers (its card, ``stages/sync_net.md``, does). Of speech clips, what it did not learn from
is what showed it no clear offset, so that they are the hardest of their kind. Each clip is made
into versions whose truth is known:

    real           re-encoded, nothing else
    late 200       its sound 200 ms later        early 200     its sound 200 ms earlier
    late 400       its sound 400 ms later        late 1000     beyond every search range
    other voice    the sound of the next clip
    still mouth    the lower face of the first frame laid over every frame, following the head

and measured by `curate run --recipe generated`, as `talk evaluate` does. Printed: every figure by
version, how often a clip is ordered as it should be, and how far measured shifts are from true
ones; exit code 1 if anything is not as it should be. SyncNet's figures appear where its weights are
in the cache.

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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

import stages
from manifests.ids import content_id
from manifests.storage import Folder
from training.evaluation.frames import shown_at
from training.evaluation.intervals import estimate
from training.evaluation.landmarks import LIPS, RIGID
from training.evaluation.measuring import FaceEvidence, measure
from training.evaluation.summary import interval_text
from training.evaluation.sync import sync_of

MIN_S, MAX_S = 5.0, 10.0
MIN_UNSEEN_S = 3.0
GROUPS = ("not learned from", "learned from")
ID_LENGTH = 16
"""Characters of an id that the estimator's file keeps."""
NUM_SPEECH = 4
MAX_SIDE_PX = 512
RATE_HZ = 16_000
SHIFTS_MS = {"late 200": 200, "early 200": -200, "late 400": 400, "late 1000": 1000}
VERSIONS = ("real", *SHIFTS_MS, "other voice", "still mouth")
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
CHIN = (152, 148, 176, 149, 150, 377, 400, 378, 379)


@dataclass(frozen=True)
class Take:
    """A real clip, read once.

    Attributes:
        name: name of the file without its extension.
        group: as in `GROUPS`.
        pictures: frames (H, W, 3) uint8.
        fps: frames a second.
        sound: mono, 16 kHz, int16, from the first frame on.
    """

    name: str
    group: str
    pictures: list[np.ndarray]
    fps: Fraction
    sound: np.ndarray


def choose(folder: Path, learned_from: frozenset[str] = frozenset()) -> list[tuple[str, Path]]:
    """Clips by their properties: group and path.

    Args:
        folder: clips, ``INDEX.csv`` and ``speech/``.
        learned_from: beginnings of the ids of the sources that the estimator learned from.

    Returns:
        Group, as in `GROUPS`, and path of each.
    """
    with (folder / "INDEX.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    chosen = [
        folder / row["file"]
        for row in rows
        if row["kind"] == "real"
        and float(row["duration_s"] or 0) >= MIN_S
        and int(row["expected_usable_min"] or 0) >= 1
    ]
    speech = sorted((folder / "speech").glob("*.mp4"))
    chosen += [path for path in speech if length_s(path) >= MIN_S][:NUM_SPEECH]

    def is_known(path: Path) -> bool:
        return content_id(*Folder.split(str(path.absolute())))[:ID_LENGTH] in learned_from

    groups = {path: GROUPS[is_known(path)] for path in chosen}
    groups |= {
        path: GROUPS[0] for path in speech if length_s(path) >= MIN_UNSEEN_S and not is_known(path)
    }
    return [(group, path) for path, group in groups.items()]


def learned_from() -> frozenset[str]:
    """Beginnings of the ids of the sources that the estimator which ships learned from."""
    with np.load(Path(stages.__file__).parent / "sync_net.npz", allow_pickle=False) as arrays:
        return frozenset(map(str, arrays["learned_from"]))


def length_s(path: Path) -> float:
    with av.open(str(path)) as container:
        return (container.duration or 0) / av.time_base


def read_take(group: str, path: Path) -> Take:
    """Read a clip, at most 10 s of it and 512 px."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        fps = stream.average_rate or Fraction(25)
        start_s = float((stream.start_time or 0) * stream.time_base)
        ratio = min(1.0, MAX_SIDE_PX / max(stream.width, stream.height))
    size = (round(stream.width * ratio) // 2 * 2, round(stream.height * ratio) // 2 * 2)
    num = int(min(MAX_S, length_s(path)) * fps)
    times_s = [float(n / fps) for n in range(num)]
    pictures = [shown.picture_HWC for shown in shown_at(path, times_s, size)]
    sound = read_sound(path, start_s)[: int(num / fps * RATE_HZ)]
    return Take(path.stem, group, pictures, fps, sound)


def read_sound(path: Path, start_s: float) -> np.ndarray:
    """Sound at 16 kHz from a time of the container's clock on."""
    resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE_HZ)
    parts, first_s = [], None
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            first_s = frame.time if first_s is None else first_s
            parts += [one.to_ndarray()[0] for one in resampler.resample(frame)]
    sound = np.concatenate(parts)
    lead = round(((first_s or 0.0) - start_s) * RATE_HZ)
    return np.concatenate([np.zeros(max(lead, 0), np.int16), sound[max(-lead, 0) :]])


def shifted(sound: np.ndarray, shift_ms: int) -> np.ndarray:
    """Sound moved in time, + = later; silence where there is none."""
    num = shift_ms * RATE_HZ // 1000
    silence = np.zeros(abs(num), np.int16)
    if num >= 0:
        return np.concatenate([silence, sound[: len(sound) - num]])
    return np.concatenate([sound[-num:], silence])


def write_take(
    path: Path, pictures: Iterator[np.ndarray] | list[np.ndarray], fps: Fraction, sound: np.ndarray
) -> None:
    """Write H.264 and FLAC, whose time stamps are exact."""
    with av.open(str(path), "w") as container:
        video = None
        audio = container.add_stream("flac", rate=RATE_HZ, layout="mono")
        for number, one in enumerate(pictures):
            if video is None:
                video = container.add_stream("libx264", rate=fps)
                video.height, video.width = one.shape[:2]
                video.pix_fmt = "yuv420p"
                video.options = {"crf": "14", "preset": "veryfast", "threads": "1"}
            frame = av.VideoFrame.from_ndarray(one, format="rgb24")
            frame.pts, frame.time_base = number, 1 / fps
            container.mux(video.encode(frame))
        assert video is not None
        container.mux(video.encode())
        for first in range(0, len(sound), RATE_HZ):
            part = av.AudioFrame.from_ndarray(
                np.ascontiguousarray(sound[None, first : first + RATE_HZ]), "s16", "mono"
            )
            part.sample_rate, part.pts, part.time_base = RATE_HZ, first, Fraction(1, RATE_HZ)
            container.mux(audio.encode(part))
        container.mux(audio.encode())


def still_mouth(take: Take, face: FaceEvidence) -> Iterator[np.ndarray]:
    """Lay the lower face of the first frame over every frame, where the head is."""
    at = {int(number): place for place, number in enumerate(face.point_index)}
    rigid = face.points_TPC[:, [at[number] for number in RIGID], :2]
    lower = face.points_TPC[:, [at[n] for n in (*LIPS, *CHIN) if n in at], :2]
    for number, one in enumerate(take.pictures):
        near = int(np.abs(face.times_s - float(number / take.fps)).argmin())
        height, width = one.shape[:2]
        scale = np.array([width / face.size_px[0], height / face.size_px[1]])
        fit, _ = cv2.estimateAffinePartial2D(
            rigid[0] * scale, rigid[near] * scale, method=cv2.LMEDS
        )
        moved = cv2.warpAffine(
            take.pictures[0], fit, (width, height), flags=cv2.INTER_CUBIC,
            borderMode=cv2.BORDER_REPLICATE,
        )  # fmt: skip
        region = np.zeros((height, width), np.float32)
        both = np.concatenate(
            [lower[near] * scale, cv2.transform((lower[0] * scale)[None], fit)[0]]
        )
        hull = cv2.convexHull(np.rint(both).astype(np.int32))
        cv2.fillConvexPoly(region, hull, 1.0)
        wide = max(3, int(0.12 * np.ptp(both[:, 0])))
        region = cv2.GaussianBlur(cv2.dilate(region, np.ones((wide, wide))), (0, 0), wide / 3)
        yield np.rint(one + region[..., None] * (moved.astype(np.float32) - one)).astype(np.uint8)


def make_versions(
    folder: Path, takes: Sequence[Take], out: Path, workers: int
) -> dict[tuple[str, str], Path]:
    """Write all versions; the face that the still mouth follows is measured on the real ones."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {
        (take.name, version): folder / f"{take.name}__{version.replace(' ', '_')}.mkv"
        for take in takes
        for version in VERSIONS
    }
    for number, take in enumerate(takes):
        other = np.resize(takes[(number + 1) % len(takes)].sound, len(take.sound))
        sounds = {name: shifted(take.sound, shift) for name, shift in SHIFTS_MS.items()}
        sounds |= {"real": take.sound, "other voice": other}
        for version, sound in sounds.items():
            if not paths[take.name, version].exists():
                write_take(paths[take.name, version], take.pictures, take.fps, sound)
    real = {take.name: paths[take.name, "real"] for take in takes}
    run = measure(list(real.values()), out / "real-run", num_workers=workers)
    for take in takes:
        path, face = paths[take.name, "still mouth"], run.clips[real[take.name]].face
        if face is not None and not path.exists():
            write_take(path, still_mouth(take, face), take.fps, take.sound)
    return paths


def main() -> int:
    """Choose, make, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--set", action="append", default=[], dest="sets")
    arguments = parser.parse_args()
    takes = [read_take(group, path) for group, path in choose(arguments.folder, learned_from())]
    print(f"{len(takes)} clips: " + ", ".join(take.name for take in takes), flush=True)
    paths = make_versions(arguments.out / "clips", takes, arguments.out, arguments.workers)
    run = measure(
        list(paths.values()),
        arguments.out / "run",
        num_workers=arguments.workers,
        sets=arguments.sets,
    )
    found = {
        key: {
            **sync_of(run.clips[path].columns).figures,
            "mouth_motion": run.clips[path].columns.get("faces.mouth_motion"),
        }
        for key, path in paths.items()
    }
    num_wrong = 0
    for group in GROUPS:
        names = [take.name for take in takes if take.group == group]
        if not names:
            continue
        print(f"\n{group}: {len(names)} clips: {', '.join(names)}")
        print_figures(names, found)
        num_wrong += print_order(names, found) + print_shifts(names, found)
    print(f"\n{num_wrong} not as they should be")
    return int(num_wrong > 0)


def print_figures(names: list[str], found: dict[tuple[str, str], dict[str, float | None]]) -> None:
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


def print_order(names: list[str], found: dict[tuple[str, str], dict[str, float | None]]) -> int:
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


def print_shifts(names: list[str], found: dict[tuple[str, str], dict[str, float | None]]) -> int:
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
