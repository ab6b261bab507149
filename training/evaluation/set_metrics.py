"""Figures of all clips together: FID over frames, FVD over 16-frame pieces.

Only pairs count, so that both sets show the same people saying the same; a clip more on one side
would be a difference of the sets and not of the pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from training.errors import InputError
from training.evaluation.frames import iter_frames, picture
from training.evaluation.results import Results, SetFigure
from training.evaluation.weights import Shelf

if TYPE_CHECKING:
    from training.evaluation.frechet import FrechetDistance

_BATCH = 16


def add_fid(
    results: Results, shelf: Shelf, every_s: float, device: str, tell: Callable[[str], None]
) -> None:
    """FID of frames `every_s` apart.

    Args:
        results: where the figure goes; its clips name the files.
        shelf: weights there are; without Inception's nothing is done.
        every_s: seconds between frames.
        device: where the network runs.
        tell: told what is being done.
    """
    if "inception-fid" not in shelf.there:
        return
    from training.evaluation.frechet import FrameFeatures, FrechetDistance, as_batch, load_network

    tell("FID")
    network = load_network(shelf.there["inception-fid"].path, device)
    distance = FrechetDistance(FrameFeatures(network), device)
    for stem, path, is_reference in _paired(results):
        held: list[np.ndarray] = []
        for one in _pictures(results, path, every_s):
            held.append(one)
            if len(held) == _BATCH:
                distance.add(as_batch(held), stem, is_reference=is_reference)
                held = []
        if held:
            distance.add(as_batch(held), stem, is_reference=is_reference)
    _put(results, "fid", distance)


def add_fvd(results: Results, shelf: Shelf, device: str, tell: Callable[[str], None]) -> None:
    """FVD of pieces of 16 successive frames, squeezed to 224 x 224 px.

    Args:
        results: where the figure goes; its clips name the files.
        shelf: weights there are; without I3D's nothing is done.
        device: where the network runs.
        tell: told what is being done.
    """
    if "i3d-fvd" not in shelf.there:
        return
    from training.evaluation.frechet import (
        PIECE_PX,
        FrechetDistance,
        PieceFeatures,
        load_network,
        pieces_of,
    )

    tell("FVD")
    network = load_network(shelf.there["i3d-fvd"].path, device)
    distance = FrechetDistance(PieceFeatures(network), device)
    for stem, path, is_reference in _paired(results):
        for piece in pieces_of(_pictures(results, path, 0.0, (PIECE_PX, PIECE_PX))):
            distance.add(piece, stem, is_reference=is_reference)
    _put(results, "fvd", distance)


def _put(results: Results, name: str, distance: FrechetDistance) -> None:
    value = distance.value()
    if value is not None and np.isfinite(value):
        half = distance.half_width()
        nums = (distance.num(is_reference=False), distance.num(is_reference=True))
        results.of_set[name] = SetFigure(
            value,
            None if half is None else max(0.0, value - half),
            None if half is None else value + half,
            *nums,
        )


def _paired(results: Results) -> Iterator[tuple[str, Path, bool]]:
    for clip in results.clips:
        if clip.reference is not None:
            yield clip.stem, clip.generated, False
            yield clip.stem, clip.reference, True


def _pictures(
    results: Results, path: Path, every_s: float, size_px: tuple[int, int] | None = None
) -> Iterator[np.ndarray]:
    """Frames at least `every_s` apart; a file that breaks off gives those before."""
    due_s = 0.0
    try:
        for time_s, frame in iter_frames(path):
            if time_s >= due_s - 1e-6:
                due_s = time_s + every_s
                yield picture(frame, size_px)
    except InputError as error:
        clip = next(clip for clip in results.clips if path in (clip.generated, clip.reference))
        if str(error) not in clip.notes:
            clip.notes.append(str(error))
