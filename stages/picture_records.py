"""What the picture stage leaves: the trace of a source, and the measurement of a clip."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from manifests.measurement import measured
from manifests.reasons import Reason
from manifests.span import Span
from stages.picture_quality import PictureSample
from stages.stillness import frozen_runs


@dataclass(frozen=True)
class PictureTrace:
    """What every frame of a source was like.

    Attributes:
        time_base: seconds a tick.
        pts: presentation times (T,), int64.
        time_s: the same in seconds (T,).
        end_pts: end of the last frame.
        luma_mean: mean of the small picture (T,), in grey levels.
        is_frozen: the frame equals the one before, up to encoder noise (T,).
        is_corrupt: flagged by the decoder (T,).
        sample_pts: times of the examined pictures (S,).
        samples: what they were like, in order.
        camera_pts: times at which the motion of the camera was taken (C,).
        camera_speed: picture heights a second (C,).
    """

    time_base: Fraction
    pts: np.ndarray
    time_s: np.ndarray
    end_pts: int
    luma_mean: np.ndarray
    is_frozen: np.ndarray
    is_corrupt: np.ndarray
    sample_pts: np.ndarray
    samples: tuple[PictureSample, ...]
    camera_pts: np.ndarray
    camera_speed: np.ndarray

    def frozen_spans(self, min_s: float) -> tuple[Span, ...]:
        """Stretches in which the picture stands still.

        Args:
            min_s: shortest stretch.

        Returns:
            Spans in order, each from the first of equal frames to the first that differs.
        """
        ends = np.append(self.pts[1:], self.end_pts)
        spans = (
            Span(int(self.pts[first]), int(ends[last]), self.time_base)
            for first, last in frozen_runs(self.is_frozen)
        )
        return tuple(span for span in spans if span.duration_s >= min_s)


@dataclass(frozen=True)
class PictureMeasurement:
    """What the picture of a clip is like: medians over the clip unless said otherwise."""

    sharpness: float | None = measured(
        "detail of 1 to 2 pixels over that of 4 to 8 where the focus is; about 0.1 if blurred",
        low=Reason.PICTURE_BLURRED,
    )
    fine_detail: float | None = measured(
        "detail below 1 pixel over that of 2 to 4; low if upscaled", low=Reason.PICTURE_BLURRED
    )
    luma_median: float | None = measured(
        "median brightness, 0 to 255, without bars",
        low=Reason.PICTURE_TOO_DARK,
        high=Reason.PICTURE_TOO_BRIGHT,
    )
    luma_range: float | None = measured(
        "95th minus 5th percentile of brightness, 0 to 255", low=Reason.LOW_CONTRAST
    )
    crushed_ratio: float | None = measured(
        "share of pixels as good as black, without bars", high=Reason.PICTURE_TOO_DARK
    )
    burnt_ratio: float | None = measured(
        "share of pixels as good as white", high=Reason.PICTURE_TOO_BRIGHT
    )
    colourfulness: float | None = measured(
        "mean of largest minus smallest of R, G, B, 0 to 255", low=Reason.COLOURLESS
    )
    noise: float | None = measured(
        "standard deviation of noise in luma or chroma, 0 to 255", high=Reason.PICTURE_NOISY
    )
    blockiness: float | None = measured(
        "step across the 8 x 8 grid over the steps between; 1 without blocks",
        high=Reason.PICTURE_BLOCKY,
    )
    letterbox_ratio: float | None = measured(
        "share of the height that black bars take", high=Reason.LETTERBOXED
    )
    pillarbox_ratio: float | None = measured(
        "share of the width that black bars take", high=Reason.LETTERBOXED
    )
    blurred_fill_ratio: float | None = measured(
        "share of a side that a blurred copy of the picture fills", high=Reason.LETTERBOXED
    )
    frozen_ratio: float | None = measured(
        "share of the clip in which the picture stands still", high=Reason.PICTURE_FROZEN
    )
    longest_frozen_s: float | None = measured(
        "longest stretch of standing picture", unit="s", high=Reason.PICTURE_FROZEN
    )
    duplicate_ratio: float | None = measured(
        "share of frames that repeat the one before, frozen stretches apart",
        high=Reason.DUPLICATE_FRAMES,
    )
    camera_motion: float | None = measured(
        "median speed of the background", unit="picture heights/s", high=Reason.CAMERA_MOVES
    )
    corrupt_ratio: float | None = measured(
        "share of frames that are flagged as damaged, or shown soon after one",
        high=Reason.DAMAGED_PICTURE,
    )
