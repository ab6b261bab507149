"""Figures of a pair: mouth, likeness, what an edit left alone, identity.

Rates, lengths and sizes that differ are handled and noted: files are compared at equal times over
the time they share, the other picture brought to the generated one's size. Pictures of another
shape are not compared pixel by pixel, for they show another part of the scene.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from training.errors import InputError
from training.evaluation.drift import edges, slope_per_min
from training.evaluation.frames import shown_at
from training.evaluation.identity import FaceEmbedder, embed_clip
from training.evaluation.landmarks import compare_mouths
from training.evaluation.likeness import Likeness
from training.evaluation.measuring import MeasuredClip
from training.evaluation.pairing import IMAGE_SUFFIXES
from training.evaluation.portrait import embed_portrait
from training.evaluation.results import ClipResult
from training.evaluation.sidecars import EditRegion, read_region
from training.evaluation.traces import Trace
from training.evaluation.weights import Shelf

WELL_MATCHED_RATIO = 0.9
"""Below this share of matched frames the figure says so; ours."""

SHAPE_SLACK = 0.05
"""Sides are cut to multiples of 16 for the model; ours: half of that at 320 px."""


class Looks:
    """How often pictures are looked at, and the network that looks.

    Args:
        every_s: seconds between looks.
        shelf: weights there are.
        device: where the network runs.
    """

    def __init__(self, every_s: float, shelf: Shelf, device: str = "cpu") -> None:
        self.every_s = every_s
        self._shelf = shelf
        self.device = device

    @cached_property
    def lpips(self) -> Any:
        """Network of LPIPS; ``None`` without its weights."""
        from training.evaluation.frechet import load_network

        file = self._shelf.there.get("vgg16-lpips")
        return None if file is None else load_network(file.path, self.device)

    def frames(self, seen: Trace, until_s: float | None = None) -> np.ndarray:
        """Numbers of the frames that are looked at.

        Args:
            seen: trace of the clip.
            until_s: no frame from here on.

        Returns:
            Every n-th frame, the first included, so that looks are `every_s` apart or closer.
        """
        rate_fps = seen.frame_rate_fps
        step = max(1, int(self.every_s * rate_fps + 1e-6)) if np.isfinite(rate_fps) else 1
        chosen = np.arange(0, len(seen.times_s), step)
        return chosen if until_s is None else chosen[seen.times_s[chosen] < until_s - 1e-6]


def add_mouth(clip: ClipResult, generated: MeasuredClip, reference: MeasuredClip) -> None:
    """Distance of the lips and whether they open together.

    Args:
        clip: where the figures go.
        generated: the measured generated clip.
        reference: the measured reference.
    """
    if generated.face is None or reference.face is None:
        return
    found = compare_mouths(generated.face, reference.face)
    if found is None:
        clip.notes.append("too few frames show both faces at equal times to compare the mouths")
        return
    if found.num_frames < WELL_MATCHED_RATIO * len(generated.face.times_s):
        clip.notes.append(
            f"mouths compared in {found.num_frames} of the {len(generated.face.times_s)} frames "
            "that show the generated face"
        )
    clip.put("mouth_landmark_distance", found.distance)
    clip.put("mouth_opening_correlation", found.opening_correlation)


def add_likeness(clip: ClipResult, seen: Trace, reference: Trace | None, looks: Looks) -> None:
    """PSNR, SSIM and LPIPS with the reference, and outside the edit region with the source.

    Args:
        clip: where the figures go.
        seen: trace of the generated clip.
        reference: trace of the reference; ``None`` if there is none that decodes.
        looks: which frames, and the network of LPIPS.
    """
    if clip.reference is not None and reference is not None:
        _note_differences(clip, seen, reference)
    if (
        clip.reference is not None
        and reference is not None
        and has_shape_of(seen.size_px, reference.size_px)
    ):
        chosen = looks.frames(seen, min(seen.duration_s, reference.duration_s))
        likeness = Likeness(looks.lpips, looks.device)
        _sum_up(likeness, clip.generated, clip.reference, seen, chosen, None)
        for name, value in zip(("psnr_db", "ssim", "lpips"), likeness.means(), strict=True):
            clip.put(name, value)
    region = read_region(clip.generated)
    kept = clip.source or clip.reference
    if region is None or kept is None or kept.suffix.lower() in IMAGE_SUFFIXES:
        return
    try:
        outside = Likeness()
        _sum_up(outside, clip.generated, kept, seen, looks.frames(seen), region)
    except InputError as error:
        clip.notes.append(f"source: {error}")
        return
    psnr_db, ssim, _ = outside.means()
    clip.put("outside_psnr_db", psnr_db)
    clip.put("outside_ssim", ssim)


def add_identity(
    clip: ClipResult,
    generated: MeasuredClip,
    reference: MeasuredClip | None,
    looks: Looks,
    embed: FaceEmbedder,
) -> None:
    """Likeness of the face to the portrait that was given, and to the clip's own beginning.

    The portrait is the source's first picture; without a source, the reference's first face.

    Args:
        clip: where the figures go.
        generated: the measured generated clip.
        reference: the measured reference, if there is one.
        looks: how often.
        embed: the network.
    """
    for which, measured in (("generated", generated), ("reference", reference)):
        if measured is None or measured.face is None or not len(measured.face.times_s):
            continue
        times_s = np.arange(0.0, float(measured.face.times_s[-1]) + 1e-6, looks.every_s)
        found_s, vectors_TD = embed_clip(measured, times_s.tolist(), embed)
        if which == "generated" and len(found_s):
            portrait_D = _portrait(clip, reference, embed)
            if portrait_D is not None:
                clip.put("identity_similarity", float((vectors_TD @ portrait_D).mean()))
        ends = edges(found_s)
        if ends is None:
            continue
        own_D = vectors_TD[ends[0]].mean(axis=0)
        likeness_T = vectors_TD @ (own_D / np.linalg.norm(own_D))
        drifted = float(likeness_T[ends[1]].mean() - likeness_T[ends[0]].mean())
        clip.put("identity_drift", drifted, of_reference=which == "reference")
        slope = slope_per_min(found_s, likeness_T)
        clip.put("identity_drift_per_min", slope, of_reference=which == "reference")


def _portrait(
    clip: ClipResult, reference: MeasuredClip | None, embed: FaceEmbedder
) -> np.ndarray | None:
    if clip.source is not None:
        found = embed_portrait(clip.source, embed)
        if isinstance(found, str):
            clip.notes.append(f"identity: {found}")
            return None
        return found
    if reference is None or reference.face is None or not len(reference.face.times_s):
        return None
    first_s = float(reference.face.times_s[0])
    _, vectors_TD = embed_clip(reference, [first_s], embed)
    return vectors_TD[0] if len(vectors_TD) else None


def _note_differences(clip: ClipResult, seen: Trace, reference: Trace) -> None:
    if abs(seen.frame_rate_fps - reference.frame_rate_fps) > 0.01 * reference.frame_rate_fps:
        clip.notes.append(
            f"{seen.frame_rate_fps:.3f} frames a second, the reference has "
            f"{reference.frame_rate_fps:.3f}; compared at equal times"
        )
    if abs(seen.duration_s - reference.duration_s) > 1.5 / reference.frame_rate_fps:
        clip.notes.append(
            f"lasts {seen.duration_s:.2f} s, the reference {reference.duration_s:.2f} s; compared "
            "over the time they share"
        )
    if seen.size_px != reference.size_px:
        is_alike = has_shape_of(seen.size_px, reference.size_px)
        clip.notes.append(
            f"{seen.size_px[0]} x {seen.size_px[1]} px, the reference has {reference.size_px[0]} x "
            f"{reference.size_px[1]}; "
            + (
                "it was brought to the generated size"
                if is_alike
                else "another shape, so no PSNR, SSIM and LPIPS"
            )
        )


def has_shape_of(one_px: tuple[int, int], other_px: tuple[int, int]) -> bool:
    """Tell whether two pictures have one shape, but for the rounding of their sides.

    Args:
        one_px: width and height.
        other_px: width and height.

    Returns:
        Whether the sides' ratios agree to within `SHAPE_SLACK`.
    """
    ratio = one_px[0] * other_px[1] / (one_px[1] * other_px[0])
    return abs(ratio - 1) <= SHAPE_SLACK


def _sum_up(
    likeness: Likeness,
    generated: Path,
    other: Path,
    seen: Trace,
    chosen: np.ndarray,
    region: EditRegion | None,
) -> None:
    times_s = seen.times_s[chosen].tolist()
    mine, theirs = shown_at(generated, times_s), shown_at(other, times_s, seen.size_px)
    outside: Iterable[np.ndarray | None] = itertools.repeat(None)
    if region is not None:
        outside = region.outside(chosen.tolist(), seen.size_px)
    for one, two, kept_HW in zip(mine, theirs, outside, strict=False):
        likeness.add(one.picture_HWC, two.picture_HWC, outside_HW=kept_HW)
