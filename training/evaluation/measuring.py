"""Measuring: the curation run over clips, started as a command and read through its manifest.

The very stages that filtered the training data measure generated clips. Training imports neither
stages nor curation, so the run is a process of its own (`curate run --recipe generated`), and what
comes back is its tables and its ledger. A run that is there and still fits is not repeated.

Shape letters: T frames in which the face was found, P mesh points.
"""

from __future__ import annotations

import csv
import io
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from manifests.errors import ManifestError
from manifests.ids import content_id
from manifests.inspection.place import Place, find_place
from manifests.ledger import Ledger
from manifests.storage import Folder
from training.errors import InputError

RECIPE = "generated"
CURATE = (sys.executable, "-m", "curation")
"""The command, in this very environment; nothing of it is imported."""


@dataclass(frozen=True)
class FaceEvidence:
    """The face track of a clip, as the ledger holds it.

    Attributes:
        times_s: (T,) seconds from the first frame of the file.
        points_TPC: (T, P, 3) mesh points in shown pixels, x right, y down, z away.
        point_index: (P,) their numbers in the 478-point MediaPipe mesh.
        sharpness: (T,) edge energy of the face at 128 px.
        size_px: width and height of the picture as shown.
    """

    times_s: np.ndarray
    points_TPC: np.ndarray
    point_index: np.ndarray
    sharpness: np.ndarray
    size_px: tuple[int, int]


@dataclass(frozen=True)
class MeasuredClip:
    """What the run says of one file.

    Attributes:
        path: the file.
        source_id: id of its content.
        clip_id: id of the clip of its main face; ``None`` if no clip came of it.
        reason: why no clip came of it, as a typed reason and in words; ``None`` if one did.
        columns: measurements by name; empty if there is no clip.
        num_tracks: faces that were followed.
        face: the main face; ``None`` if there is no clip.
    """

    path: Path
    source_id: str
    clip_id: str | None
    reason: str | None
    columns: dict[str, Any]
    num_tracks: int
    face: FaceEvidence | None


@dataclass(frozen=True)
class MeasuredRun:
    """A run over a set of files.

    Attributes:
        folder: address of the run.
        recipe_name: recipe it was made with.
        recipe_digest: digest of that recipe.
        versions: versions of the packages that measured.
        fingerprints: fingerprint of each stage: version, settings and digests of its weights.
        clips: one entry a file, by path.
    """

    folder: str
    recipe_name: str
    recipe_digest: str
    versions: dict[str, str]
    fingerprints: dict[str, str]
    clips: dict[Path, MeasuredClip]


def measure(
    paths: Sequence[Path],
    run: Path,
    *,
    num_workers: int = 1,
    sets: Sequence[str] = (),
    renew: bool = False,
    quiet: bool = True,
    command: Sequence[str] = CURATE,
) -> MeasuredRun:
    """Measure files, as far as a run over them is not there yet.

    Args:
        paths: the files.
        run: run directory, made if need be.
        num_workers: worker processes; 1 measures in the process of the command, without Ray.
        sets: overrides of the recipe, `key=value`.
        renew: call the command even where a run is there; it measures only what has changed.
        quiet: keep the command's progress to ourselves.
        command: the `curate` command.

    Returns:
        What the run says of each file.

    Raises:
        InputError: the command is not installed or failed.
    """
    if sets or renew or not _covers(run, paths):
        _curate(paths, run, num_workers, sets, quiet, command)
    return read_run(run, paths)


def read_run(run: Path, paths: Sequence[Path]) -> MeasuredRun:
    """Read what a finished run says of files.

    Args:
        run: run directory.
        paths: files that were its inputs.

    Returns:
        What it says.

    Raises:
        InputError: there is no finished run, or it knows nothing of one of the files.
    """
    try:
        place = find_place(str(run))
        sources = {row["uri"]: row for row in place.sources().to_pylist()}
        rows = place.clips().to_pylist()
    except ManifestError as error:
        raise InputError(f"{run}: cannot be read as a run of `curate run`: {error}") from error
    by_source: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_source.setdefault(row["source_id"], []).append(row)
    clips = {}
    for path in paths:
        source = sources.get(str(path.absolute()))
        if source is None:
            raise InputError(
                f"{run}: the run has no input {path.absolute()}; measure it there with "
                f"`curate run {path} --out {run} --recipe {RECIPE}`, or give another run"
            )
        clips[path] = _measured(place, path, source, by_source.get(source["source_id"], []))
    record = place.run_record
    return MeasuredRun(
        str(run),
        record.get("recipe", {}).get("name", ""),
        record.get("recipe_digest", ""),
        record.get("versions", {}),
        _fingerprints(place, clips),
        clips,
    )


def _measured(
    place: Place, path: Path, source: dict[str, Any], rows: list[dict[str, Any]]
) -> MeasuredClip:
    """The clip of the face that is seen longest and largest: a poster is often seen in full."""
    if not rows:
        reason = f"{source['reason'] or source['state']}: {source['detail'] or 'no clip was found'}"
        return MeasuredClip(path, source["source_id"], None, reason, {}, 0, None)
    main = max(
        rows,
        key=lambda row: (
            (row.get("faces.presence_ratio") or 0.0) * (row.get("faces.height_px") or 0.0),
            -row["track"],
        ),
    )
    ledger = Ledger(place.needs_run(f"the face track of {path.name}"))
    evidence = ledger.evidence(main["source_id"], main["clip_id"])
    columns = {name: value for name, value in main.items() if "." in name}
    return MeasuredClip(
        path, source["source_id"], main["clip_id"], None, columns, len(rows), _face(evidence)
    )


def _fingerprints(place: Place, clips: dict[Path, MeasuredClip]) -> dict[str, str]:
    """Those of the first file; a run holds no commit that others made."""
    ledger = Ledger(place.needs_run("its commits"))
    for clip in clips.values():
        for commit in ledger.read(clip.source_id):
            return commit.header.fingerprints
    return {}


def _face(evidence: dict[str, Any]) -> FaceEvidence:
    """Unpack a track; points are stored in integer steps of face height / 8192."""
    base = Fraction(evidence["time_base_num"], evidence["time_base_den"])
    with np.load(io.BytesIO(evidence["face_track_npz"]), allow_pickle=False) as arrays:
        points_TPC = arrays["steps"] * (arrays["height_px"][:, None, None] / np.float32(8192))
        points_TPC[..., :2] += arrays["corner_px"][:, None]
        times_s = (arrays["pts"] - evidence["start_pts"]) * float(base)
        index, sharpness = arrays["point_index"].astype(int), arrays["sharpness"]
    video = evidence["facts"]["video"]
    return FaceEvidence(
        times_s, points_TPC, index, sharpness, (video["width_px"], video["height_px"])
    )


def _covers(run: Path, paths: Sequence[Path]) -> bool:
    """Tell whether a finished run of the right recipe knows these files as they are now."""
    folder = Folder(str(run))
    if not folder.exists("clips.parquet") or not folder.exists("sources.parquet"):
        return False
    place = find_place(str(run))
    if place.run_record.get("recipe", {}).get("name") != RECIPE:
        return False
    known = {row["uri"]: row["source_id"] for row in place.sources().to_pylist()}
    return all(
        known.get(str(path.absolute())) == content_id(*Folder.split(str(path.absolute())))
        for path in paths
    )


def _curate(
    paths: Sequence[Path],
    run: Path,
    num_workers: int,
    sets: Sequence[str],
    quiet: bool,
    command: Sequence[str],
) -> None:
    run.parent.mkdir(parents=True, exist_ok=True)
    inputs = run.with_name(f"{run.name}-inputs.csv")
    with inputs.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["uri"])
        writer.writerows([str(path.absolute())] for path in paths)
    engine = ["--engine", "inline"] if num_workers == 1 else ["--workers", str(num_workers)]
    call = [*command, "run", str(inputs), "--out", str(run), "--recipe", RECIPE, *engine]
    call += ["--json"] if quiet else []
    call += [part for one in sets for part in ("--set", one)]
    if sets:
        call.append("--change-recipe")
    # Loud, all it prints goes to our stderr: stdout is for results.
    heard = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} if quiet else {"stdout": 2}
    done = subprocess.run(call, text=True, check=False, **heard)  # type: ignore[call-overload]
    # 1: some inputs are dead letters; they are told clip by clip. 2: nothing was measured.
    if done.returncode not in (0, 1) or not (run / "clips.parquet").exists():
        told = [line for line in (done.stderr or "").splitlines() if line.strip()]
        raise InputError(
            f"`{' '.join(call[:2])} ... run` over {len(paths)} clips failed with exit code "
            f"{done.returncode}: {told[-1] if told else 'see what it printed'}; if curation is not "
            "installed here (pip install 'talkreel[curate]'), run "
            f"`curate run CLIPS --out RUN --recipe {RECIPE}` where it is, and give the run with "
            "--generated-run and --reference-run"
        )
