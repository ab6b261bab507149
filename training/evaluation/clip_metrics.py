"""Figures of a single file: sync, face, sharpness, drift, seams; no reference is needed."""

from __future__ import annotations

from training.evaluation.drift import distance_from_start, drift, ratio_of_edges, slope_per_min
from training.evaluation.measuring import MeasuredClip
from training.evaluation.results import ClipResult
from training.evaluation.seams import seam_ratios
from training.evaluation.sidecars import WindowLength, read_borders
from training.evaluation.sync import sync_of
from training.evaluation.traces import Trace

_COLUMNS = {
    "face_presence_ratio": "faces.presence_ratio",
    "mouth_motion": "faces.mouth_motion",
    "face_sharpness": "faces.sharpness",
    "picture_sharpness": "picture.sharpness",
}


def add_sync(clip: ClipResult, measured: MeasuredClip, *, of_reference: bool) -> None:
    """Take over what the stages measured.

    Args:
        clip: where the figures go.
        measured: the measured file.
        of_reference: it is the reference's.
    """
    sync = sync_of(measured.columns)
    for name, value in sync.figures.items():
        clip.put(name, value, of_reference=of_reference)
    for name, column in _COLUMNS.items():
        clip.put(name, measured.columns.get(column), of_reference=of_reference)
    if sync.curve is not None:
        clip.curves["reference" if of_reference else "generated"] = sync.curve
    if not of_reference:
        clip.offset_by = sync.offset_by
    which = "reference" if of_reference else "generated"
    if measured.num_tracks > 1:
        clip.notes.append(
            f"{which}: {measured.num_tracks} face tracks; the figures are those of the one seen "
            "longest and largest"
        )
    if measured.columns.get("shots.num_transitions_inside"):
        num = measured.columns["shots.num_transitions_inside"]
        clip.notes.append(f"{which}: {num} cuts or transitions inside the clip")


def add_no_reference(
    clip: ClipResult, measured: MeasuredClip, seen: Trace, *, of_reference: bool
) -> None:
    """Drift of colour, contrast and sharpness.

    Args:
        clip: where the figures go.
        measured: the measured file.
        seen: its trace.
        of_reference: it is the reference's.
    """
    moved_T = distance_from_start(seen.times_s, seen.lab_mean_T3)
    found = {
        "colour_drift": drift(seen.times_s, seen.lab_mean_T3),
        "colour_drift_per_min": slope_per_min(seen.times_s, moved_T),
        "contrast_drift": drift(seen.times_s, seen.lab_std_T3),
    }
    if measured.face is not None:
        found["sharpness_drift_ratio"] = ratio_of_edges(
            measured.face.times_s, measured.face.sharpness
        )
    for name, value in found.items():
        clip.put(name, value, of_reference=of_reference)


def add_seam(
    clip: ClipResult, seen: Trace, reference: Trace | None, windows: WindowLength | None
) -> None:
    """Change at the borders of windows over that around them.

    The same times are looked at in the reference, which has no windows: what is measured there is
    the scene's own.

    Args:
        clip: where the figure goes.
        seen: trace of the generated file.
        reference: trace of the reference, if there is one.
        windows: windows to assume where no sidecar lists them.
    """
    borders = read_borders(clip.generated, len(seen.times_s), windows) or ()
    ratios = seam_ratios(seen.change_T, borders)
    if not len(ratios):
        return
    clip.put("seam_ratio", float(ratios.mean()))
    if reference is not None:
        rate = reference.frame_rate_fps / seen.frame_rate_fps
        theirs = [at for border in borders if (at := round(border * rate)) < len(reference.times_s)]
        ratios = seam_ratios(reference.change_T, theirs)
        if len(ratios):
            clip.put("seam_ratio", float(ratios.mean()), of_reference=True)
