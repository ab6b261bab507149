"""Sidecars: what the generator says of a clip beside it: its windows and what it was to edit.

`STEM.json` may hold ``{"windows": [[first_frame, frame_after_last], ...]}``, or the same in latent
frames, ``{"latent_windows": [[first_latent, latent_after_last], ...]}``; any other key is the
generator's own business, but for ``source`` and ``source_id``: what it was given, by its way from
the clip and by its content. `STEM.region.npz` may hold ``region``, (T, H, W) or (H, W), above zero
where the edit was allowed to change the picture, feathered border included; or, as `talk edit`
writes it, ``region_bits``, (T, H, ceil(W / 8)) as ``numpy.packbits`` makes them, and ``width_px``,
which is read a frame at a time.

Shape letters: T frames, H W picture.
"""

from __future__ import annotations

import json
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from manifests.errors import ManifestError
from manifests.ids import content_id
from manifests.storage import Folder
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


class EditRegion:
    """Where an edit was allowed to change the picture.

    Args:
        frames: begins to read the region anew, (H, W) bool a frame; the last holds for ever.
    """

    def __init__(self, frames: Callable[[], Iterator[np.ndarray]]) -> None:
        self._frames = frames

    def outside(self, numbers: Sequence[int], size_px: tuple[int, int]) -> Iterator[np.ndarray]:
        """Pixels that had to stay, (H, W) bool, at a picture's size.

        Args:
            numbers: of the frames, ascending.
            size_px: width and height of the picture.

        Yields:
            True where nothing may have changed, one a frame.
        """
        frames, read = self._frames(), -1
        region_HW = np.zeros((1, 1), bool)
        for number in numbers:
            while read < number and (following := next(frames, None)) is not None:
                region_HW, read = following, read + 1
            yield ~_brought_to(region_HW, size_px)


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


def read_source(clip: Path) -> tuple[Path | None, str | None]:
    """Find what a clip was made of, as its generator tells it.

    Args:
        clip: the generated file.

    Returns:
        The source, if it is where it is said to be and still the same file; else why it is not,
        or nothing where nothing is told.
    """
    try:
        told = json.loads(clip.with_suffix(".json").read_text(encoding="utf-8"))
        name, told_id = told["source"], told["source_id"]
        source = Path(os.path.normpath(clip.absolute().parent / name))
    except (OSError, ValueError, TypeError, KeyError):
        return None, None
    if not source.is_file():
        return None, f"{source}, of which the clip was made, is not there; give --source"
    try:
        is_same = content_id(*Folder.split(str(source))) == told_id
    except ManifestError as error:
        return None, str(error)
    if not is_same:
        return None, f"{source} is another file than the one the clip was made of"
    return source, None


def read_region(clip: Path) -> EditRegion | None:
    """Read the edit region beside a clip.

    Args:
        clip: the generated file.

    Returns:
        The region; ``None`` if there is none.

    Raises:
        InputError: the file holds no `region` of two or three axes, and no packed one.
    """
    sidecar = clip.with_suffix(".region.npz")
    if not sidecar.is_file():
        return None
    try:
        with np.load(sidecar, allow_pickle=False) as arrays:
            if "region_bits" in arrays.files:
                width_px = int(arrays["width_px"])
                return EditRegion(lambda: _unpacked(sidecar, width_px))
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
    return EditRegion(lambda: iter(region[None] if region.ndim == 2 else region))


def _unpacked(sidecar: Path, width_px: int) -> Iterator[np.ndarray]:
    try:
        with zipfile.ZipFile(sidecar) as archive, archive.open("region_bits.npy") as member:
            np.lib.format.read_magic(member)
            shape, _, _ = np.lib.format.read_array_header_1_0(member)
            num_frames, height_px, num_bytes = shape
            for _ in range(num_frames):
                packed = np.frombuffer(member.read(height_px * num_bytes), np.uint8)
                rows = packed.reshape(height_px, num_bytes)
                yield np.unpackbits(rows, axis=1, count=width_px).astype(bool)
    except (ValueError, OSError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        raise InputError(
            f"{sidecar}: 'region_bits' cannot be read: {error}; make the edit again"
        ) from error


def _brought_to(region_HW: np.ndarray, size_px: tuple[int, int]) -> np.ndarray:
    """The region at a picture's size; a cell of a coarser one covers every pixel it touches."""
    if region_HW.shape[::-1] == size_px:
        return region_HW
    rows = np.arange(size_px[1]) * region_HW.shape[0] // size_px[1]
    columns = np.arange(size_px[0]) * region_HW.shape[1] // size_px[0]
    return region_HW[np.ix_(rows, columns)]
