"""Metrics: their names, units, directions and definitions; the one list that everything prints by.

Not in the room: how they are computed (a file each) and averaged (`intervals`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Better = Literal["higher", "lower", "near zero", "near one", "as reference"]


@dataclass(frozen=True)
class Metric:
    """One figure.

    Attributes:
        name: column name.
        title: what the field calls it.
        unit: unit, empty for ratios and scores.
        better: which way is good; ``as reference``: neither more nor less than real footage has.
        meaning: definition in a sentence, with its source.
        is_of_set: one figure for all clips together, and not one a clip.
    """

    name: str
    title: str
    unit: str
    better: Better
    meaning: str
    is_of_set: bool = False


METRICS: tuple[Metric, ...] = (
    Metric(
        "sync_c",
        "Sync-C",
        "",
        "higher",
        "SyncNet v2: median over shifts less minimum of the mean distance of lips and sound "
        "(LSE-C; joonson/syncnet_python, SyncNetInstance.evaluate)",
    ),
    Metric(
        "sync_d",
        "Sync-D",
        "",
        "lower",
        "SyncNet v2: minimum over shifts of the mean distance of lips and sound (LSE-D)",
    ),
    Metric(
        "sync_confidence",
        "lip-sync confidence",
        "",
        "higher",
        "probability that the voice belongs to the lips, of the estimator that ships with the "
        "curation stages; not Sync-C",
    ),
    Metric(
        "sync_score",
        "lip-sync score",
        "",
        "higher",
        "height of that estimator's curve at its best offset",
    ),
    Metric(
        "sync_score_at_zero",
        "lip-sync score, unshifted",
        "",
        "higher",
        "height of that estimator's curve at offset 0: high only if voice and lips go together as "
        "they are in the file",
    ),
    Metric(
        "av_offset_ms",
        "AV offset",
        "ms",
        "near zero",
        "+ = audio later than picture; SyncNet's where it measured, else the embedded estimator's; "
        "says nothing where the voice does not belong to the lips",
    ),
    Metric("abs_av_offset_ms", "|AV offset|", "ms", "lower", "size of the AV offset"),
    Metric(
        "face_presence_ratio",
        "face present",
        "",
        "higher",
        "share of the frames in which the face was found (faces.presence_ratio)",
    ),
    Metric(
        "mouth_motion",
        "mouth motion",
        "eye distances",
        "as reference",
        "spread of the opening of the lips over the clip (faces.mouth_motion)",
    ),
    Metric(
        "face_sharpness",
        "face sharpness",
        "",
        "as reference",
        "fine detail over contrast of the face at 128 px (faces.sharpness)",
    ),
    Metric(
        "picture_sharpness",
        "picture sharpness",
        "",
        "as reference",
        "of the sharpest parts of the picture (picture.sharpness)",
    ),
    Metric(
        "sharpness_drift_ratio",
        "sharpness drift",
        "",
        "near one",
        "median face sharpness of the last second over that of the first; ours",
    ),
    Metric(
        "colour_drift",
        "colour drift",
        "delta E",
        "lower",
        "distance of the mean LAB colour of the last second from that of the first; ours",
    ),
    Metric(
        "colour_drift_per_min",
        "colour drift slope",
        "delta E / min",
        "near zero",
        "least-squares slope of the distance of a frame's mean LAB colour from that of the first "
        "second; ours",
    ),
    Metric(
        "contrast_drift",
        "contrast drift",
        "delta E",
        "lower",
        "distance of the standard deviations of L, a and b of the last second from those of the "
        "first; ours",
    ),
    Metric(
        "identity_similarity",
        "identity similarity",
        "",
        "higher",
        "cosine of ArcFace embeddings of the given portrait and of each frame, mean (CSIM)",
    ),
    Metric(
        "identity_drift",
        "identity drift",
        "",
        "near zero",
        "identity similarity to the clip's own first second, last second less first; ours",
    ),
    Metric(
        "identity_drift_per_min",
        "identity drift slope",
        "/ min",
        "near zero",
        "least-squares slope of the similarity of a frame to the clip's own first second; ours",
    ),
    Metric(
        "seam_ratio",
        "seam at window joins",
        "",
        "near one",
        "largest change from frame to frame within one frame of a window's border over the median "
        "change around it, mean over borders; ours",
    ),
    Metric(
        "mouth_landmark_distance",
        "mouth landmark distance",
        "eye distances",
        "lower",
        "mean distance of the 40 lip points after a similarity fit on points that speech does not "
        "move, in distances of the outer eye corners (LMD, normalisation ours)",
    ),
    Metric(
        "mouth_opening_correlation",
        "mouth opening correlation",
        "",
        "higher",
        "Pearson correlation over time of the opening of the lips, generated with reference",
    ),
    Metric(
        "psnr_db", "PSNR", "dB", "higher", "of the whole picture; for reconstruction pairs only"
    ),
    Metric(
        "ssim",
        "SSIM",
        "",
        "higher",
        "Wang et al. 2004, 11 px Gaussian window; for reconstruction pairs only",
    ),
    Metric(
        "lpips",
        "LPIPS",
        "",
        "lower",
        "Zhang et al. 2018, VGG16 of stylegan2-ada; for reconstruction pairs only",
    ),
    Metric(
        "outside_psnr_db",
        "PSNR outside the edit",
        "dB",
        "higher",
        "of the pixels outside the edit region, generated with source",
    ),
    Metric(
        "outside_ssim",
        "SSIM outside the edit",
        "",
        "higher",
        "mean of the SSIM map outside the edit region, generated with source",
    ),
    Metric(
        "fid",
        "FID",
        "",
        "lower",
        "Frechet distance of Inception-v3 features (2015-12-05) of whole frames, generated with "
        "reference; biased upwards for few frames",
        is_of_set=True,
    ),
    Metric(
        "fvd",
        "FVD",
        "",
        "lower",
        "Frechet distance of I3D features (Kinetics-400, StyleGAN-V torchscript) of 16-frame "
        "pieces squeezed to 224 x 224 px, generated with reference; biased upwards for few pieces",
        is_of_set=True,
    ),
)

BY_NAME: dict[str, Metric] = {metric.name: metric for metric in METRICS}

ON_BOTH: tuple[str, ...] = (
    "sync_c",
    "sync_d",
    "sync_confidence",
    "sync_score",
    "sync_score_at_zero",
    "av_offset_ms",
    "abs_av_offset_ms",
    "face_presence_ratio",
    "mouth_motion",
    "face_sharpness",
    "picture_sharpness",
    "sharpness_drift_ratio",
    "colour_drift",
    "colour_drift_per_min",
    "contrast_drift",
    "identity_drift",
    "identity_drift_per_min",
    "seam_ratio",
)
"""Metrics that need no reference and are measured on the reference as well, for comparison."""


@dataclass(frozen=True)
class Missing:
    """A metric that was not computed at all.

    Attributes:
        metric: its name.
        why: what is not there.
        how: how to get it.
    """

    metric: str
    why: str
    how: str
