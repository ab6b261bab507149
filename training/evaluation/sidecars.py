"""Sidecars: what the generator says of a clip beside it: its windows and what it was to edit.

`STEM.json` may hold ``{"windows": [[first_frame, frame_after_last], ...]}``, or the same in latent
frames, ``{"latent_windows": [[first_latent, latent_after_last], ...]}``; any other key is the
generator's own business. `STEM.region.npz` may hold ``region``, (T, H, W) or (H, W), above zero
where the edit was allowed to change the picture, feathered border included.

Shape letters: T frames, H W picture.
"""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from training.errors import InputError
from training.evaluation.seams import borders_of, window_borders
from training.model.audio_windows import frames_of_latent


@dataclass(frozen=True)
class WindowLength:
    """Windows at equal distance, where no sidecar lists them.

    Attributes:
        window_frames: frames of a window.
        overlap_frames: frames that neighbours share.
    """

    window_frames: int
    overlap_frames: int


@dataclass(frozen=True)
class EditRegion:
    """Where an edit was allowed to change the picture.

    Attributes:
        region_THW: bool; T is 1 for a region that stands still.
    """

    region_THW: np.ndarray

    def outside(self, frame: int, size_px: tuple[int, int]) -> np.ndarray:
        """Pixels that had to stay, (H, W) bool, at a picture's size.

        Args:
            frame: number of the frame.
            size_px: width and height of the picture.

        Returns:
            True where nothing may have changed.
        """
        region_HW = self.region_THW[min(frame, len(self.region_THW) - 1)]
        if region_HW.shape[::-1] == size_px:
            return ~region_HW
        # A cell of a coarser mask covers every pixel it touches.
        rows = np.arange(size_px[1]) * region_HW.shape[0] // size_px[1]
        columns = np.arange(size_px[0]) * region_HW.shape[1] // size_px[0]
        return ~region_HW[np.ix_(rows, columns)]


def read_borders(
    clip: Path, num_frames: int, length: WindowLength | None
) -> tuple[int, ...] | None:
    """Find the borders of the windows that a clip was made of.

    Args:
        clip: the generated file.
        num_frames: its frames.
        length: windows to assume where the sidecar lists none.

    Returns:
        Borders as `seams.borders_of` gives them; ``None`` if nothing is known of windows.

    Raises:
        InputError: the sidecar is not JSON, or its windows are not pairs of frames.
    """
    sidecar = clip.with_suffix(".json")
    if sidecar.is_file():
        try:
            told = json.loads(sidecar.read_text(encoding="utf-8"))
            latents, windows = told.get("latent_windows"), told.get("windows")
            if windows is None and latents is not None:
                windows = [
                    (frames_of_latent(int(first)).start, frames_of_latent(int(end) - 1).stop)
                    for first, end in latents
                ]
            if windows is not None:
                return borders_of([(int(first), int(end)) for first, end in windows])
        except (ValueError, TypeError, AttributeError) as error:
            raise InputError(
                f"{sidecar}: 'windows' must be a list of [first_frame, frame_after_last], "
                f"'latent_windows' the same in latent frames: {error}"
            ) from error
    if length is None:
        return None
    return window_borders(num_frames, length.window_frames, length.overlap_frames)


def read_region(clip: Path) -> EditRegion | None:
    """Read the edit region beside a clip.

    Args:
        clip: the generated file.

    Returns:
        The region; ``None`` if there is none.

    Raises:
        InputError: the file holds no `region` of two or three axes.
    """
    sidecar = clip.with_suffix(".region.npz")
    if not sidecar.is_file():
        return None
    try:
        with np.load(sidecar, allow_pickle=False) as arrays:
            region = np.asarray(arrays["region"]) > 0
    except (KeyError, ValueError, OSError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{sidecar}: holds no array 'region': {error}; write it with "
            "numpy.savez_compressed(path, region=mask)"
        ) from error
    if region.ndim not in (2, 3):
        raise InputError(
            f"{sidecar}: 'region' has {region.ndim} axes; it must be (T, H, W) or (H, W)"
        )
    return EditRegion(region[None] if region.ndim == 2 else region)
